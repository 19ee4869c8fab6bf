"""A server behind a server: ours behind ours, and one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, failing, saying, wait_until

from ziggurat.errors import UsageError
from ziggurat.service.keys import Keyring, new_key
from ziggurat.service.server import create_app
from ziggurat.service.upstream import Upstream


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(echo)


@pytest.fixture
def address(serving: Serving, chat: FakeChat, tmp_path: Path) -> Iterator[str]:
    """A server with one model of its own and one far away, which asks for a key that only the server knows."""
    keys = tmp_path / "keys.jsonl"
    secret = new_key(keys, "ours")
    with (
        serving(create_app({"town/far": chat}, keyring=Keyring(keys))) as far,
        serving(
            create_app(
                {"near": FakeChat(saying("near"))}, upstreams=[Upstream("cluster", f"{far}/v1", secret)]
            )
        ) as near,
    ):
        yield near


def test_its_models_are_listed_and_answer_whole_and_streamed(address: str, chat: FakeChat) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="the client's own", max_retries=0)
    assert [model.id for model in client.models.list().data] == ["near", "cluster/town/far"]
    assert client.models.retrieve("cluster/town/far").owned_by == "cluster"
    asked = {"model": "cluster/town/far", "messages": [{"role": "user", "content": "one two"}]}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "[1] one two"
    streamed = client.chat.completions.create(**asked, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices) == "[1] one two"
    near = client.chat.completions.create(**{**asked, "model": "near"})
    assert near.choices[0].message.content == "near"
    client.close()


def test_its_errors_are_handed_on_and_a_client_that_leaves_is_heard_of_there(
    address: str, chat: FakeChat
) -> None:
    def post(**changes: object) -> httpx.Response:
        body = {"model": "cluster/town/far", "messages": [{"role": "user", "content": "x"}], **changes}
        return httpx.post(f"{address}/v1/chat/completions", json=body)

    assert (post(temperature=9).status_code, post(model="cluster/none").status_code) == (400, 404)
    chat.answer = failing(RuntimeError("secret"))
    assert post().status_code == 503
    chat.answer, chat.delay_s, closed = saying(*["word "] * 400), 0.02, chat.closed
    with httpx.stream(
        "POST",
        f"{address}/v1/chat/completions",
        json={"model": "cluster/town/far", "stream": True, "messages": [{"role": "user", "content": "x"}]},
    ) as stream:
        for _ in stream.iter_lines():
            break
    wait_until(lambda: chat.closed > closed)


def test_one_that_is_not_there_is_a_503_and_hides_nobody(serving: Serving) -> None:
    app = create_app({"near": FakeChat(echo)}, upstreams=[Upstream("gone", "http://127.0.0.1:9/v1")])
    with serving(app) as address:
        listed = httpx.get(f"{address}/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["near"]
        told = httpx.post(f"{address}/v1/completions", json={"model": "gone/x", "prompt": "a"})
        assert (told.status_code, told.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("text", ["cluster", "=http://a", "a b=http://a", "a=ftp://b"])
def test_what_is_no_upstream_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=URL"):
        Upstream.parse(text)


def test_a_first_name_of_ours_is_taken() -> None:
    with pytest.raises(UsageError, match="town/ppo-1 is served here"):
        create_app({"town/ppo-1": FakeChat(echo)}, upstreams=[Upstream("town", "http://127.0.0.1:9/v1")])
