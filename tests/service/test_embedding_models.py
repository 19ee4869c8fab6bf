"""An embedding model behind `/v1/embeddings`, beside models that write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import tokenizers as hf
import torch
from tests.model.worlds import reinitialise
from tests.service.test_swap import app_of, save_run
from transformers import BertConfig, BertModel

from ziggurat.cli.main import run
from ziggurat.places import models_home

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "bread",
    "is",
    "baked",
    "by",
    "ana",
    "a",
    "boat",
    "runs",
    "<",
    "|",
    ">",
    "end",
]
TEXTS = ["bread is baked by ana", "a boat", "ana runs a boat <|end|>"]


def save_encoder(folder: Path) -> None:
    """A BERT of two layers with random weights, and a tokenizer of whole words that adds [CLS] and [SEP]."""
    torch.manual_seed(3)
    model = BertModel(
        BertConfig(
            vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=48, max_position_embeddings=24,
        )
    ).eval()  # fmt: skip
    reinitialise(model)
    model.save_pretrained(folder)
    ids = {word: number for number, word in enumerate(WORDS)}
    tokenizer = hf.Tokenizer(hf.models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = hf.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = hf.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def address(ziggurat_home: Path, tmp_path: Path, serving: Any) -> Any:
    save_encoder(tmp_path / "small-encoder")
    assert run(["models", "import", str(tmp_path / "small-encoder"), "--name", "near"]) == 0
    save_run(ziggurat_home, "base/sft-1", 1)
    with serving(app_of("near", "base/sft-1")) as where:
        yield where


def test_its_vectors_are_those_of_transformers(address: str) -> None:
    """Mean of the last states over a text's tokens, of unit length; the tokens are counted."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any") as client:
        found = client.embeddings.create(model="near", input=TEXTS)
    folder = models_home() / "near"
    model = BertModel.from_pretrained(folder).eval()
    tokenizer = hf.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [tokenizer.encode(text).ids for text in TEXTS]
    assert found.usage.prompt_tokens == sum(map(len, rows))
    for row, one in zip(rows, found.data, strict=True):
        with torch.no_grad():
            states = model(torch.tensor([row])).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(0), dim=-1)
        torch.testing.assert_close(torch.tensor(one.embedding), expected, atol=1e-4, rtol=0)


def test_it_is_listed_as_what_it_is_and_never_offered_to_write(address: str) -> None:
    listed = {
        one["id"]: (one["kind"], one["root"]) for one in httpx.get(f"{address}/v1/models").json()["data"]
    }
    assert listed == {
        "base/sft-1": ("language_model", "base/sft-1"),
        "near": ("embedding_model", "near"),  # its name, and not where it lies on this machine
    }
    offered = httpx.get(f"{address}/api/models").json()["models"]
    assert [one["name"] for one in offered] == ["base/sft-1"]
    body = {"model": "near", "messages": [{"role": "user", "content": "hello"}]}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "near is an embedding model" in answer.json()["error"]["message"]
    assert "/v1/embeddings" in answer.json()["error"]["message"]
    assert (
        httpx.post(f"{address}/score", json={"model": "near", "text_1": "a", "text_2": "b"}).status_code
        == 400
    )


def test_it_is_replaced_by_its_like_only(address: str) -> None:
    again = httpx.post(f"{address}/admin/models/near/reload", json={}, timeout=30)
    assert again.status_code == 200, again.text
    other = httpx.post(f"{address}/admin/models", json={"run": "x=near"}, timeout=30)
    assert other.json().get("id") == "x", other.text


def test_a_text_longer_than_it_reads_is_cut_not_refused(address: str) -> None:
    body = {"model": "near", "input": "bread " * 90}
    answer = httpx.post(f"{address}/v1/embeddings", json=body).json()
    assert answer["usage"]["prompt_tokens"] == 24
