"""Tool calls of a model in a chat at the page: sent, kept, examined by the guard, exported; here and by an upstream."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Generator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, FakeDelta, FakeRequest, FakeUsage
from tests.service.product.events import ask, finish, follow, new_chat
from tests.service.product.test_guarded import rule
from tests.service.tiny import MODEL, TEXT, tiny_chat

from ziggurat.service.upstream.servers import Upstream
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

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
    asked = model.requests[-1][0][1]
    assert asked.tool_calls is None, "no tool has answered them, and no tools are offered"
    assert asked.content == (
        'Let me see.\n\nTool call calculator:\n{"sum": "7+5"}\n\nTool call calendar:\n{"feast": "元宵"}'
    )


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
    made = rule(client, words=["zorbulator"], action="block", templates={"en": ["That is not for me."]})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "How?")
    events = [event for _, event in follow(client, chat_id, begun["generation_id"])]
    assert "zorbulator" not in str(events)
    message = events[-1]["message"]
    assert message["tool_calls"] is None
    assert message["content"] == "Let me look.\n\nThat is not for me."
    assert events[-2] == {"type": "replaced", "text": message["content"]}
    assert message["guard"]["rule"] == made["id"]
    client.patch(f"/api/admin/rules/{made['id']}", json={"action": "hold"})
    rule(client, name="another", words=["unused"], action="log")  # waits until both bind
    held = finish(client, chat_id, ask(client, chat_id, "How?")["generation_id"])
    assert (held["state"], held["tool_calls"]) == ("held", None)
    (waiting,) = client.get("/api/admin/held").json()["data"]
    assert waiting["text"] == 'Let me look.\n\nTool call search:\n{"query": "build a zorbulator"}'


def test_a_long_call_is_read_to_its_beginning(open_house: Open) -> None:
    """A text that arrives in one piece was compared with the rules in its last 480 characters only."""
    written = json.dumps({"name": "search", "arguments": {"query": "a zorbulator " + "and more " * 200}})
    client = open_house({"fake": Calling("Let me look.", written)})
    made = rule(client, words=["zorbulator"], action="block")
    chat_id = new_chat(client)
    message = finish(client, chat_id, ask(client, chat_id, "How?")["generation_id"])
    assert (message["tool_calls"], (message["guard"] or {}).get("rule")) == (None, made["id"])
    body = {"model": "fake", "messages": [{"role": "user", "content": "How?"}]}
    (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
    assert (choice["finish_reason"], choice["guard"]["rule"]) == ("content_filter", made["id"])


NO_CALLS = (
    "{%- for message in messages -%}{{- message.role + ': ' + message.content + '\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
)


def test_a_model_whose_template_shows_no_calls_goes_on_after_them(open_house: Open) -> None:
    template = ChatTemplate(Tokenizer.train([TEXT], 320), NO_CALLS)
    assert not template.shows_calls
    client = open_house({MODEL: tiny_chat(template=template)})
    chat_id = with_calls(client)
    begun = ask(client, chat_id, "And then?", parent_id=leaf_of(client, chat_id), settings={"max_tokens": 4})
    message = finish(client, chat_id, begun["generation_id"])
    assert message["state"] == "complete", message
    assert message["usage"]["prompt_tokens"] > 20


def test_an_answer_with_calls_is_not_continued(open_house: Open) -> None:
    client = open_house()
    chat_id = with_calls(client, finish_reason="length")
    refused = client.post(f"/api/chats/{chat_id}/messages/{leaf_of(client, chat_id)}/continue", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "calls_tools")


def with_calls(client: httpx.Client, **more: Any) -> str:
    """A chat whose answer calls a tool."""
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"sum": "7+5"}'}}
    said = [
        {"id": "1", "role": "user", "content": "How much?"},
        {"id": "2", "parent": "1", "role": "assistant", "content": "", "tool_calls": [call], **more},
    ]
    chat = {"kind": "ziggurat.chat", "title": "Sums", "messages": said, "active_leaf": "2"}
    return str(client.post("/api/import", json=chat).json()["ids"][0])


def leaf_of(client: httpx.Client, chat_id: str) -> str:
    return str(client.get(f"/api/chats/{chat_id}").json()["messages"][-1]["id"])


def piece(name: str | None = None, arguments: Any = None, **where: Any) -> dict[str, Any]:
    return {**where, "function": {"name": name, "arguments": arguments}}


BOTH = [("calculator", {"sum": "7+5"}), ("calendar", {})]
PIECES: dict[str, tuple[list[Any], list[tuple[str, Any]], list[str | None]]] = {
    "as OpenAI sends them": (
        [
            piece("calculator", "", index=0, id="call_1"),
            piece(None, '{"sum": ', index=0),
            piece("calendar", "{}", index=1, id="call_2"),
            piece(None, '"7+5"}', index=0),
        ],
        BOTH,
        ["call_1", "call_2"],
    ),
    "without an index": (
        [
            piece("calculator", '{"sum": ', id="call_1"),
            piece(None, '"7+5"', id="call_1"),
            piece(None, "}"),
            piece("calendar", "{}", id="call_2"),
        ],
        BOTH,
        ["call_1", "call_2"],
    ),
    "without index and id": ([piece("calculator", '{"sum": "7+5"}'), piece("calendar", "{}")], BOTH, [None, None]),
    "arguments as objects": (
        [piece("calculator", {"sum": "7+5"}, index=0, id="call_1"), piece("calendar", {}, index=1, id="call_2")],
        BOTH,
        ["call_1", "call_2"],
    ),
    "what is no piece among them": (
        [
            None,
            "x",
            5,
            {"index": 0, "function": None},
            piece("calculator", '{"sum": "7+5"}', index="a", id="call_1"),
            piece("calendar", "{}", index=None, id="call_2"),
            [],
        ],
        BOTH,
        ["call_1", "call_2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("sent", PIECES)
def test_calls_of_an_upstream_arrive_in_pieces(open_house: Open, serving: Serving, sent: str) -> None:
    parts, expected, ids = PIECES[sent]
    with serving(calling(parts)) as address:
        client = open_house(upstreams=[Upstream("far", f"{address}/v1")])
        chat_id = new_chat(client, model="far/big")
        message = finish(client, chat_id, ask(client, chat_id, "How much?")["generation_id"])
    assert message["state"] == "complete", message
    assert called(message) == expected
    assert [one["id"] for one in message["tool_calls"]] == ids
    assert message["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("calls", [None, "x", 5, {"index": 0}, [None]])
def test_what_is_no_list_of_calls_costs_no_answer(open_house: Open, serving: Serving, calls: Any) -> None:
    with serving(calling([], {"content": "Well.", "tool_calls": calls})) as address:
        client = open_house(upstreams=[Upstream("far", f"{address}/v1")])
        chat_id = new_chat(client, model="far/big")
        message = finish(client, chat_id, ask(client, chat_id, "How much?")["generation_id"])
    assert (message["state"], message["content"], message["tool_calls"]) == ("complete", "Well.", None)


def test_an_upstream_gets_no_call_that_has_no_result(open_house: Open, serving: Serving) -> None:
    asked: list[dict[str, Any]] = []
    with serving(calling([], {"content": "Well."}, asked)) as address:
        client = open_house(upstreams=[Upstream("far", f"{address}/v1")])
        chat_id = with_calls(client)
        begun = ask(client, chat_id, "And then?", parent_id=leaf_of(client, chat_id), model="far/big")
        finish(client, chat_id, begun["generation_id"])
    (body,) = asked
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("user", "How much?"),
        ("assistant", 'Tool call add:\n{"sum": "7+5"}'),
        ("user", "And then?"),
    ]
    assert not any("tool_calls" in one for one in body["messages"])


def calling(
    parts: list[Any], first: dict[str, Any] | None = None, asked: list[dict[str, Any]] | None = None
) -> FastAPI:
    """A server that sends `first` and then these pieces of calls."""
    far = FastAPI()

    async def complete(request: Request) -> Response:
        body = await request.json()
        if asked is not None:
            asked.append(body)

        def chunks() -> Iterator[str]:
            for delta in [*([first] if first else []), *({"tool_calls": [part]} for part in parts)]:
                choice = {"index": 0, "delta": delta, "finish_reason": None}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            ended = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if parts else "stop"}
            yield f"data: {json.dumps({'choices': [ended] if parts else [None, ended]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    far.add_api_route("/v1/chat/completions", complete, methods=["POST"])
    return far
