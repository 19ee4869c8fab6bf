"""Models of other servers at the page: offered and asked; what leaves is masked by the workspace's policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from tests.service.conftest import Serving
from tests.service.product.events import ask, finish, new_chat

from ziggurat.service.upstream.servers import Upstream

Open = Callable[..., httpx.Client]


class Far:
    """A small server that speaks OpenAI's API; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.app = FastAPI()
        self.app.add_api_route(
            "/v1/models", lambda: {"object": "list", "data": [{"id": "big", "object": "model"}]}
        )
        self.app.add_api_route("/v1/chat/completions", self.complete, methods=["POST"])

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        message = {"role": "assistant", "content": "From afar."}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse({"id": "x", "object": "chat.completion", "choices": [choice], "usage": {}})

        def chunks() -> Iterator[str]:
            deltas = ({"reasoning_content": "Hm."}, {"content": "From afar."}, {})
            for delta in deltas:
                choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            yield 'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}\n\n'
            yield "data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")


@pytest.fixture
def far(serving: Serving) -> Iterator[tuple[Far, str]]:
    made = Far()
    with serving(made.app) as address:
        yield made, address


@pytest.fixture
def client(open_house: Open, far: tuple[Far, str]) -> httpx.Client:
    return open_house(upstreams=[Upstream("far", f"{far[1]}/v1")])


def test_an_upstreams_model_is_offered_and_answers(client: httpx.Client, far: tuple[Far, str]) -> None:
    offered = client.get("/api/models").json()["models"]
    assert [(one["name"], one["upstream"]) for one in offered] == [("fake", ""), ("far/big", "far")]
    chat_id = new_chat(client, model="far/big")
    message = finish(client, chat_id, ask(client, chat_id, "Hello")["generation_id"])
    assert (message["content"], message["reasoning"]) == ("From afar.", "Hm.")
    assert message["usage"]["completion_tokens"] == 3
    body = {"model": "far/big", "messages": [{"role": "user", "content": "Hello"}]}
    assert '"text":"From afar."' in client.post("/api/chat", json=body).text


def test_private_data_is_masked_or_refused_for_the_page_and_the_api(
    client: httpx.Client, far: tuple[Far, str]
) -> None:
    client.get("/api/me")
    text = "Write to ana@example.org, please."
    masked = client.put("/api/admin/settings", json={"masking": {"policy": "mask"}})
    assert masked.status_code == 200, masked.text
    chat_id = new_chat(client, model="far/big")
    finish(client, chat_id, ask(client, chat_id, text)["generation_id"])
    body = {"model": "far/big", "messages": [{"role": "user", "content": text}]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert len(far[0].asked) == 2
    assert "ana@example.org" not in json.dumps(far[0].asked)
    client.put("/api/admin/settings", json={"masking": {"policy": "refuse"}})
    refused = client.post("/v1/chat/completions", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "private_data")
