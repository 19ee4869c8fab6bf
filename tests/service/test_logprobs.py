"""Which log-probabilities are told: the model's at the asked temperature, before every rule; and those of a prompt."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import torch
from tests.service.tiny import MODEL
from torch import Tensor

from ziggurat.dialogue.chat import Chat
from ziggurat.records import Message

MESSAGES = [{"role": "user", "content": "Good morning, Ana! 你好"}]
TEXT = "The baker says 你好 to Ana"


def post(address: str, path: str, **body: Any) -> dict[str, Any]:
    told = httpx.post(f"{address}/v1/{path}", json={"model": MODEL, **body}, timeout=30)
    assert told.status_code == 200, told.text
    answer: dict[str, Any] = told.json()
    return answer


def ids_of(chat: Chat) -> list[int]:
    return chat.prompt_ids([Message.model_validate(message) for message in MESSAGES])


def logits(chat: Chat, ids: list[int]) -> Tensor:
    """(T, V), by the model itself."""
    with torch.no_grad():
        return chat.model(torch.tensor([ids]))[0]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"top_k": 1},
        {"logit_bias": {"70": 100}},
        {"structured_outputs": {"choice": ["Zebra", "zebu"]}},
        {"repetition_penalty": 3.0, "presence_penalty": 2.0, "min_p": 0.9},
    ],
)
@pytest.mark.parametrize("temperature", [0, 0.5, 2])
def test_log_probabilities_are_of_the_tempered_model_before_every_rule(
    address: str, chat: Chat, rules: dict[str, Any], temperature: float
) -> None:
    told = post(
        address,
        "completions",
        prompt=TEXT,
        max_tokens=4,
        temperature=temperature,
        seed=3,
        logprobs=2,
        return_token_ids=True,
        **rules,
    )["choices"][0]
    prompt, said = chat.raw_ids(TEXT), told["token_ids"]
    before = logits(chat, prompt + said)[len(prompt) - 1 : -1] / (temperature or 1)
    expected = before.log_softmax(-1)
    own = [float(expected[i, id]) for i, id in enumerate(said)]
    assert told["logprobs"]["token_logprobs"] == pytest.approx(own, abs=1e-4)
    for i, alternatives in enumerate(told["logprobs"]["top_logprobs"]):
        best = expected[i].topk(2)
        names = [chat.token_name(int(id)) for id in best.indices]
        assert [alternatives[name] for name in names] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_a_mask_would_show(address: str, chat: Chat) -> None:
    """The test above can fail: with the mask applied the forced tokens would have other numbers."""
    told = post(
        address,
        "chat/completions",
        messages=MESSAGES,
        max_tokens=1,
        temperature=1,
        logprobs=True,
        structured_outputs={"choice": ["Zebra"]},
    )["choices"][0]["logprobs"]["content"]
    prompt = ids_of(chat)
    last = logits(chat, prompt)[-1].log_softmax(-1)
    assert told[0]["logprob"] == pytest.approx(float(last[chat.raw_ids(told[0]["token"])[0]]), abs=1e-4)
    assert told[0]["logprob"] < -1, "a mask that leaves one token would have made it 0"


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_prompt_logprobs_are_those_of_the_model_at_temperature_1(address: str, chat: Chat, path: str) -> None:
    is_chat = path.startswith("chat")
    asked: dict[str, Any] = {"messages": MESSAGES} if is_chat else {"prompt": TEXT}
    told = post(address, path, **asked, prompt_logprobs=2, max_tokens=2, temperature=0.5, n=2)
    tables = (told if is_chat else told["choices"][1])["prompt_logprobs"]
    ids = ids_of(chat) if is_chat else chat.raw_ids(TEXT)
    expected = logits(chat, ids).log_softmax(-1)
    assert tables[0] is None
    assert len(tables) == len(ids)
    for i, (id, table) in enumerate(zip(ids[1:], tables[1:], strict=True)):
        assert table[str(id)]["logprob"] == pytest.approx(float(expected[i, id]), abs=1e-4)
        assert table[str(id)]["decoded_token"] == chat.token_name(id)
        rank = 1 + int((expected[i] > expected[i, id]).sum())
        assert table[str(id)]["rank"] == rank
        assert set(table) == {str(int(top)) for top in expected[i].topk(2).indices} | {str(id)}
        assert sorted(row["rank"] for row in table.values())[:2] == [1, 2]


def test_prompts_are_scored_without_a_word_written(address: str, chat: Chat) -> None:
    told = post(address, "completions", prompt=TEXT, prompt_logprobs=0, max_tokens=0)
    assert (told["choices"][0]["text"], told["usage"]["completion_tokens"]) == ("", 0)
    assert [len(table) for table in told["choices"][0]["prompt_logprobs"][1:]] == [1] * (
        len(chat.raw_ids(TEXT)) - 1
    )
    one = post(address, "completions", prompt=[5], prompt_logprobs=1, max_tokens=1)
    assert one["choices"][0]["prompt_logprobs"] == [None]
    both = post(address, "completions", prompt=TEXT, prompt_logprobs=5, max_tokens=0, echo=True, logprobs=1)[
        "choices"
    ][0]
    assert all(len(top) <= 2 for top in both["logprobs"]["top_logprobs"][1:])
    assert any(len(table) > 4 for table in both["prompt_logprobs"][1:])


def test_a_prompt_is_cut_to_its_last_tokens(address: str, chat: Chat) -> None:
    ids = chat.raw_ids(TEXT)
    asked = {"max_tokens": 6, "temperature": 0}
    cut = post(address, "completions", prompt=TEXT, truncate_prompt_tokens=4, **asked)
    same = post(address, "completions", prompt=ids[-4:], **asked)
    assert cut["choices"][0]["text"] == same["choices"][0]["text"]
    assert cut["usage"]["prompt_tokens"] == 4
    whole = post(address, "completions", prompt=TEXT, truncate_prompt_tokens=500, **asked)
    assert whole["usage"]["prompt_tokens"] == len(ids)
    turned = post(address, "chat/completions", messages=MESSAGES, truncate_prompt_tokens=3, **asked)
    told = post(address, "completions", prompt=ids_of(chat)[-3:], **asked)
    assert turned["choices"][0]["message"]["content"] == told["choices"][0]["text"]


def test_minus_1_keeps_as_much_as_leaves_room_for_the_answer(address: str, chat: Chat) -> None:
    long = [5] * 2_000
    for wanted, kept in ((10, 502), (2_048, 256)):
        told = post(address, "completions", prompt=long, truncate_prompt_tokens=-1, max_tokens=wanted)
        assert told["usage"]["prompt_tokens"] == kept


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"truncate_prompt_tokens": 513}, "the context is 512"),
        ({"truncate_prompt_tokens": 0}, "leaves no prompt"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "cannot be streamed"),
    ],
)
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_what_cannot_be_is_refused(address: str, path: str, body: dict[str, Any], says: str) -> None:
    asked = {"model": MODEL, "prompt": TEXT, "messages": MESSAGES, **body}
    told = httpx.post(f"{address}/v1/{path}", json=asked)
    assert told.status_code == 400
    assert says in told.json()["error"]["message"]
