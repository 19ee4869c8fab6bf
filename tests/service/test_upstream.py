"""A server behind a server: ours behind ours, and one that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, failing, saying, wait_until

from ziggurat.errors import UsageError
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.server import create_app
from ziggurat.service.upstream.servers import Upstream


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


def test_what_it_says_of_when_to_come_back_is_handed_on_with_its_refusal(
    serving: Serving, tmp_path: Path
) -> None:
    """Its key is used up: who asked us hears for how long. Nothing else of its headers passes."""
    far = FastAPI()
    said = {
        "Retry-After": "7",
        "x-ratelimit-remaining-requests": "0",
        "x-inside": "secret",
        "set-cookie": "a=b",
    }

    @far.post("/v1/chat/completions")
    async def refuse() -> Response:
        return JSONResponse({"error": {"message": "slow down"}}, 429, said)

    keys = tmp_path / "keys.jsonl"
    key = {"authorization": f"Bearer {new_key(keys, 'ana', requests_per_minute=50)}"}
    body = {"model": "busy/x", "messages": [{"role": "user", "content": "x"}]}
    with serving(far) as there:
        busy = [Upstream("busy", f"{there}/v1")]
        with serving(create_app({}, upstreams=busy)) as address:
            for stream in (False, True):
                told = httpx.post(f"{address}/v1/chat/completions", json={**body, "stream": stream})
                assert (told.status_code, told.json()["error"]["message"]) == (429, "slow down")
                assert (told.headers["retry-after"], told.headers["x-ratelimit-remaining-requests"]) == (
                    "7",
                    "0",
                )
                assert not {"x-inside", "set-cookie"} & set(told.headers)
        busy = [Upstream("busy", f"{there}/v1")]
        with serving(create_app({}, keyring=Keyring(keys), upstreams=busy)) as address:
            told = httpx.post(f"{address}/v1/chat/completions", json=body, headers=key)
            assert told.headers["retry-after"] == "7"
            assert told.headers["x-ratelimit-remaining-requests"] == "49", "of the key here"


@pytest.mark.parametrize("text", ["cluster", "=http://a", "a b=http://a", "a=ftp://b"])
def test_what_is_no_upstream_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=URL"):
        Upstream.parse(text)


def test_a_first_name_of_ours_is_taken() -> None:
    with pytest.raises(UsageError, match="town/ppo-1 is served here"):
        create_app({"town/ppo-1": FakeChat(echo)}, upstreams=[Upstream("town", "http://127.0.0.1:9/v1")])


# --- tokens are counted ---------------------------------------------------------------------------------------------

FAR = "cluster/town/far"
A_MINUTE = 1_000


class Metered:
    """A server with a key of 1,000 tokens a minute before one far away; and what of them is left."""

    def __init__(self, address: str, key: str) -> None:
        self.address, self.headers = address, {"authorization": f"Bearer {key}"}

    def post(self, **changes: object) -> httpx.Response:
        body = {"model": FAR, "messages": [{"role": "user", "content": "one two"}], **changes}
        return httpx.post(f"{self.address}/v1/chat/completions", json=body, headers=self.headers)

    def used(self) -> int:
        """Of the minute's tokens; those that came back since are few."""
        told = httpx.get(f"{self.address}/v1/models", headers=self.headers)
        return A_MINUTE - int(told.headers["x-ratelimit-remaining-tokens"])

    def counted(self, what: str, model: str = FAR) -> float:
        lines = httpx.get(f"{self.address}/metrics", headers=self.headers).text.splitlines()
        name = f'app_{what}_tokens_total{{model="{model}"}} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def metered(near: str, keys: Path) -> Metered:
    made = Metered(near, new_key(keys, "ana", tokens_per_minute=A_MINUTE, concurrent=1))
    made.used()  # its models are listed now
    return made


@pytest.fixture
def near(serving: Serving, chat: FakeChat, tmp_path: Path) -> Iterator[Metered]:
    keys = tmp_path / "near.jsonl"
    new_key(keys, "first")
    with (
        serving(create_app({"town/far": chat})) as far,
        serving(create_app({}, keyring=Keyring(keys), upstreams=[Upstream("cluster", f"{far}/v1")])) as where,
    ):
        yield metered(where, keys)


LONG = "word " * 200


def test_tokens_of_a_whole_answer_count_for_the_key_and_in_the_metrics(near: Metered) -> None:
    told = near.post(messages=[{"role": "user", "content": LONG.strip()}], max_tokens=100)
    usage = told.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (200, 100)
    assert near.used() == pytest.approx(300, abs=40)
    assert (near.counted("prompt"), near.counted("generation")) == (200, 100)


@pytest.mark.parametrize("asks", [True, False])
def test_tokens_of_a_stream_count_whether_or_not_the_client_asks_for_them(near: Metered, asks: bool) -> None:
    more = {"stream_options": {"include_usage": True}} if asks else {}
    told = near.post(
        messages=[{"role": "user", "content": LONG.strip()}], max_tokens=100, stream=True, **more
    )
    events = [line[6:] for line in told.text.split("\n") if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(one) for one in events]
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said.count("word") == 99
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if not chunk["choices"]] == [300] * asks
    assert near.used() == pytest.approx(300, abs=40)
    assert (near.counted("prompt"), near.counted("generation")) == (200, 100)


def test_too_many_tokens_are_refused_before_anybody_is_asked(near: Metered, chat: FakeChat) -> None:
    assert near.post(max_tokens=900).status_code == 200
    asked = len(chat.requests)
    near.post(messages=[{"role": "user", "content": LONG.strip()}], max_tokens=600)
    refused = near.post(max_tokens=990)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert len(chat.requests) == asked + 1


def test_what_is_refused_over_there_costs_nothing(near: Metered) -> None:
    assert near.post(temperature=9).status_code == 400
    assert near.post(temperature=9, stream=True).status_code == 400
    assert near.post(model="cluster/none", max_tokens=500).status_code == 404
    assert near.used() <= 1
    assert near.counted("prompt", "cluster") == near.counted("prompt") == 0


def test_a_client_that_leaves_pays_for_what_was_written_and_frees_its_place(
    near: Metered, chat: FakeChat
) -> None:
    chat.answer, chat.delay_s = saying(*["word "] * 400), 0.02
    body = {"model": FAR, "stream": True, "messages": [{"role": "user", "content": LONG}], "max_tokens": 400}
    with httpx.stream(
        "POST", f"{near.address}/v1/chat/completions", json=body, headers=near.headers
    ) as stream:
        for number, _ in enumerate(stream.iter_lines()):
            if number == 20:
                break
    wait_until(lambda: near.counted("generation") > 0)
    assert 5 < near.counted("generation") < 100
    assert near.counted("prompt") == pytest.approx(len(json.dumps(body)) / 4, abs=20), "a guess"
    assert near.used() < 400
    chat.answer, chat.delay_s = echo, 0
    assert near.post().status_code == 200, "a key with one answer at once has it back"


def test_a_client_that_leaves_before_a_whole_answer_is_hung_up_on_over_there(
    near: Metered, chat: FakeChat
) -> None:
    """Without a stream nothing is sent until the end, so nothing but its own disconnect tells that it has left."""
    chat.answer, chat.delay_s = saying(*["word "] * 400), 0.02
    body = {"model": FAR, "messages": [{"role": "user", "content": LONG}], "max_tokens": 400}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{near.address}/v1/chat/completions", json=body, headers=near.headers, timeout=0.5)
    wait_until(lambda: chat.closed == 1)
    assert chat.told < 200, "400 had it been written to its end"
    wait_until(lambda: near.counted("prompt") > 0)
    assert near.counted("prompt") == pytest.approx(len(json.dumps(body)) / 4, abs=20), "a guess"
    chat.answer, chat.delay_s = echo, 0
    assert near.post().status_code == 200, "a key with one answer at once has it back"


def old_server(seen: list[dict[str, Any]]) -> FastAPI:
    """One that does not know `stream_options` and never tells its usage."""
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": "old"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.json()
        seen.append(body)
        if "stream_options" in body:
            return JSONResponse({"error": {"message": "unknown field stream_options"}}, 422)
        chunks = [{"choices": [{"delta": {"content": "a"}}]}] * 50
        text = "".join(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in chunks) + "data: [DONE]\r\n\r\n"
        return Response(text, media_type="text/event-stream")

    return app


def test_a_server_that_tells_no_usage_is_counted_by_its_pieces(serving: Serving, tmp_path: Path) -> None:
    keys, seen = tmp_path / "keys.jsonl", list[dict[str, Any]]()
    new_key(keys, "first")
    with serving(old_server(seen)) as far:
        app = create_app({}, keyring=Keyring(keys), upstreams=[Upstream("old", f"{far}/v1")])
        with serving(app) as where:
            near = metered(where, keys)
            for _ in range(2):
                told = near.post(model="old/old", stream=True)
                assert told.text.count("data: {") == 50
            assert ["stream_options" in body for body in seen] == [True, False, False], "it is asked once"
            assert near.counted("generation", "old/old") == 100
            assert near.used() == pytest.approx(100 + 2 * near.counted("prompt", "old/old") / 2, abs=20)
