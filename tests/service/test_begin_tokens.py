"""Raw text through HTTP begins as the model's own tokenizer begins it: with bos, once, for LLaMA's kin only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.needs import needs
from tests.tokenizer.styles import STYLES, make

from ziggurat.dialogue.chat import Chat
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.service.server import create_app
from ziggurat.tokenizer.bpe import Tokenizer

BOS = ["llama2", "mistral first", "plain first"]
NAMES = [*BOS, "qwen2.5", "plain"]
TEXT = "Yes Two 多远"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp("style"), STYLES[name]) for name in NAMES}


@pytest.fixture(scope="module")
def chats(folders: dict[str, Path]) -> dict[str, Chat]:
    def chat(name: str) -> Chat:
        tokenizer = Tokenizer.load(folders[name])
        sizes = {"layers": 1, "d_model": 16, "heads": 2, "kv_heads": 1, "d_head": 8, "d_ff": 24}
        return Chat(
            Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, context=128, **sizes)), tokenizer
        )

    return {name.replace(" ", "-"): chat(name) for name in NAMES}


@pytest.fixture
def address(serving: Callable[[Any], AbstractContextManager[str]], chats: dict[str, Chat]) -> Iterator[str]:
    with serving(create_app(chats)) as where:
        yield where


def source_ids(folder: Path, text: str, **options: Any) -> list[int]:
    """What the source's own tokenizer makes of a raw text."""
    ids: list[int] = needs("transformers").AutoTokenizer.from_pretrained(folder)(text, **options)["input_ids"]
    return ids


def post(address: str, path: str, name: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{address}{path}", json={"model": name.replace(" ", "-"), **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize("name", NAMES)
def test_raw_text_has_the_ids_of_the_source_on_every_endpoint(
    name: str, address: str, folders: dict[str, Path]
) -> None:
    ids = source_ids(folders[name], TEXT)
    assert (STYLES[name].config.get("bos_token") == "<s>") == (name in BOS)
    assert post(address, "/tokenize", name, prompt=TEXT)["tokens"] == ids
    assert post(address, "/v1/embeddings", name, input=TEXT)["usage"]["prompt_tokens"] == len(ids)
    told = post(address, "/v1/completions", name, prompt=TEXT, max_tokens=1, prompt_logprobs=0)
    assert told["usage"]["prompt_tokens"] == len(ids)
    assert [int(*table) for table in told["choices"][0]["prompt_logprobs"][1:]] == ids[1:]


@pytest.mark.parametrize("name", NAMES)
def test_a_client_can_leave_the_begin_token_out(name: str, address: str, folders: dict[str, Path]) -> None:
    """Evaluation harnesses ask `/tokenize` so."""
    ids = source_ids(folders[name], TEXT, add_special_tokens=False)
    bare = {"prompt": TEXT, "add_special_tokens": False}
    assert post(address, "/tokenize", name, **bare)["tokens"] == ids
    assert post(address, "/v1/completions", name, **bare, max_tokens=1)["usage"]["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("name", BOS)
def test_the_begin_token_is_never_doubled(name: str, address: str, chats: dict[str, Chat]) -> None:
    """A prompt that a chat template wrote begins with bos already; transformers would put a second one before it."""
    chat = chats[name.replace(" ", "-")]
    prompt = chat.prompt_ids([Message(role="user", content="So?")])
    assert prompt.count(chat.tokenizer.bos_id or -1) == 1
    written = chat.tokenizer.decode(prompt, skip_special=False)
    assert post(address, "/tokenize", name, prompt="<s>Yes")["tokens"].count(chat.tokenizer.bos_id) == 1
    assert chat.raw_ids(written).count(chat.tokenizer.bos_id or -1) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_echo_is_the_prompt_as_it_was_sent(name: str, address: str) -> None:
    body = {"prompt": TEXT, "echo": True, "max_tokens": 1, "temperature": 0, "logprobs": 0}
    (choice,) = post(address, "/v1/completions", name, **body)["choices"]
    assert choice["text"].startswith(TEXT)
    logprobs = choice["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["text_offset"])
    if name in BOS:
        assert logprobs["tokens"][0] == "<s>"
        assert logprobs["text_offset"][:2] == [0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_to_be_continued_begins_as_in_training(name: str, chats: dict[str, Chat]) -> None:
    chat = chats[name.replace(" ", "-")]
    first = chat.tokenizer.bos_id if name in BOS else chat.tokenizer.endoftext_id
    assert chat.prompts.raw([TEXT]) == [[first, *chat.tokenizer.encode(TEXT)]]
