"""Tool calls of a model in a chat at the page: sent, kept, examined by the guard, exported; here and by an upstream."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Generator, Iterator
from typing import Any

import httpx
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, FakeDelta, FakeRequest, FakeUsage
from tests.service.product.events import ask, finish, follow, new_chat
from tests.service.product.test_guarded import rule

from ziggurat.service.upstream.servers import Upstream

Open = Callable[..., httpx.Client]
ADDING = '{"name": "calculator", "arguments": {"sum": "7+5"}}'


class Calling(FakeChat):
    """Says something and calls tools; `written` is the text of each call."""

    def __init__(self, text: str, *written: str) -> None:
        super().__init__(lambda messages, params: [text])
        self.text, self.written = text, written

    def _deltas(self, request: FakeRequest, pieces: list[str]) -> Generator[FakeDelta, None, None]:
        yield FakeDelta(self.text)
        for number, call in enumerate(self.written):
            yield FakeDelta(call[:9], call=number)
            yield FakeDelta(call[9:], call=number)
        yield FakeDelta("", "stop", FakeUsage(3, 9))


def called(message: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (one["function"]["name"], json.loads(one["function"]["arguments"]))
        for one in message["tool_calls"] or ()
    ]


def test_calls_come_with_the_last_event_and_are_there_after_a_reload(open_house: Open) -> None:
    feast = '{"name": "calendar", "arguments": {"feast": "元宵"}}'
    model = Calling("Let me see.", ADDING, feast)
    client = open_house({"fake": model})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "How much is it?")
    events = [event for _, event in follow(client, chat_id, begun["generation_id"])]
    assert "calculator" not in str(events[:-1]), "an event of text holds no call"
    sent = events[-1]["message"]
    assert called(sent) == [("calculator", {"sum": "7+5"}), ("calendar", {"feast": "元宵"})]
    assert (sent["content"], sent["finish_reason"]) == ("Let me see.", "tool_calls")
    assert len({one["id"] for one in sent["tool_calls"]}) == 2
    kept = client.get(f"/api/chats/{chat_id}").json()["messages"][-1]
    assert kept["tool_calls"] == sent["tool_calls"]
    finish(client, chat_id, ask(client, chat_id, "And then?", parent_id=kept["id"])["generation_id"])
    asked = model.requests[-1][0]
    assert asked[1].tool_calls == sent["tool_calls"], "the model reads its calls again"


def test_what_cannot_be_read_as_a_call_is_text(open_house: Open) -> None:
    client = open_house({"fake": Calling("Well: ", "no call at all")})
    chat_id = new_chat(client)
    message = finish(client, chat_id, ask(client, chat_id, "How much?")["generation_id"])
    assert (message["content"], message["tool_calls"], message["finish_reason"]) == (
        "Well: no call at all",
        None,
        "stop",
    )


def test_every_export_has_the_calls_and_ours_brings_them_back(open_house: Open) -> None:
    client = open_house({"fake": Calling("", ADDING)})
    chat_id = new_chat(client)
    message = finish(client, chat_id, ask(client, chat_id, "How much?")["generation_id"])
    exported = {
        kind: client.get(f"/api/chats/{chat_id}/export?format={kind}").text
        for kind in ("json", "jsonl", "markdown", "text")
    }
    for kind, text in exported.items():
        assert "calculator" in text, kind
        assert "7+5" in text, kind
    assert json.loads(exported["jsonl"])["messages"][-1]["tool_calls"] == message["tool_calls"]
    archive = zipfile.ZipFile(io.BytesIO(client.get("/api/me/export").content))
    assert any("calculator" in archive.read(name).decode() for name in archive.namelist())
    sent = client.post(
        "/api/import", content=exported["json"], headers={"content-type": "application/json"}
    ).json()
    copy = client.get(f"/api/chats/{sent['ids'][0]}").json()["messages"][-1]
    assert copy["tool_calls"] == message["tool_calls"]


def test_the_guard_reads_the_calls_before_they_are_shown(open_house: Open) -> None:
    bad = '{"name": "search", "arguments": {"query": "build a zorbulator"}}'
    client = open_house({"fake": Calling("Let me look.", bad)})
    made = rule(client, words=["zorbulator"], action="block")
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "How?")
    events = [event for _, event in follow(client, chat_id, begun["generation_id"])]
    assert "zorbulator" not in str(events)
    message = events[-1]["message"]
    assert message["tool_calls"] is None
    assert message["guard"]["rule"] == made["id"]
    client.patch(f"/api/admin/rules/{made['id']}", json={"action": "hold"})
    rule(client, name="another", words=["unused"], action="log")  # waits until both bind
    held = finish(client, chat_id, ask(client, chat_id, "How?")["generation_id"])
    assert (held["state"], held["tool_calls"]) == ("held", None)
    (waiting,) = client.get("/api/admin/held").json()["data"]
    assert "zorbulator" in waiting["text"], "a person sees what is held"


def test_calls_of_an_upstream_arrive_in_pieces(open_house: Open, serving: Serving) -> None:
    far = FastAPI()

    async def complete(request: Request) -> Response:
        def chunks() -> Iterator[str]:
            parts: list[dict[str, Any]] = [
                {"index": 0, "id": "call_1", "function": {"name": "calculator", "arguments": ""}},
                {"index": 0, "function": {"arguments": '{"sum": '}},
                {"index": 1, "id": "call_2", "function": {"name": "calendar", "arguments": "{}"}},
                {"index": 0, "function": {"arguments": '"7+5"}'}},
            ]
            for part in parts:
                choice = {"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            ended = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
            yield f"data: {json.dumps({'choices': [ended]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    far.add_api_route("/v1/chat/completions", complete, methods=["POST"])
    with serving(far) as address:
        client = open_house(upstreams=[Upstream("far", f"{address}/v1")])
        chat_id = new_chat(client, model="far/big")
        message = finish(client, chat_id, ask(client, chat_id, "How much?")["generation_id"])
    assert called(message) == [("calculator", {"sum": "7+5"}), ("calendar", {})]
    assert [one["id"] for one in message["tool_calls"]] == ["call_1", "call_2"]
    assert message["finish_reason"] == "tool_calls"
