"""`/v1/responses` by the official client: what it sends is read, every event and object passes its own types."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, Field, TypeAdapter
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, failing, saying, wait_until
from tests.service.tiny import MODEL, TOOLS

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.response_store import ResponseStore
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.openai.responses.body import ResponseBody
from ziggurat.service.openai.responses.reply import Reply
from ziggurat.service.server import create_app
from ziggurat.service.upstream.servers import Upstream

FUNCTIONS: list[Any] = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture
def fake() -> FakeChat:
    return FakeChat(echo)


@pytest.fixture
def near(serving: Serving, fake: FakeChat) -> Iterator[str]:
    """A server around a model that repeats what it hears."""
    with serving(create_app({"m": fake}, limits=Limits(max_stored=3))) as where:
        yield where


@pytest.fixture
def teller(near: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{near}/v1", api_key="any", max_retries=0) as made:
        yield made


def asking(**changes: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "input": "Good morning, Ana!",
        "max_output_tokens": 24,
        "temperature": 0,
        **changes,
    }


def events_of(address: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream as they are on the wire; the last is [DONE], and each name is its type."""
    told = httpx.post(f"{address}/v1/responses", json={**body, "stream": True}, timeout=30)
    assert told.headers["content-type"].startswith("text/event-stream")
    *blocks, done = told.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


# --- one answer ------------------------------------------------------------------------------------------------------


def test_an_answer_is_that_of_chat_completions(client: openai.OpenAI) -> None:
    """The same model, words and settings by the other endpoint: the same text and the same counts."""
    told = client.responses.create(**asking(instructions="Be kind.", metadata={"who": "ana"}))
    other = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Good morning, Ana!"},
        ],
        max_tokens=24,
        temperature=0,
    )
    assert told.output_text == other.choices[0].message.content
    assert told.usage is not None
    assert other.usage is not None
    assert told.usage.input_tokens == other.usage.prompt_tokens
    assert told.usage.output_tokens == other.usage.completion_tokens
    assert (told.status == "completed") == (other.choices[0].finish_reason == "stop")
    assert told.metadata == {"who": "ana"}
    assert told.store is False


def test_the_object_passes_the_types_of_the_client_strictly(address: str) -> None:
    """openai-python reads leniently; its own types, asked to validate, do not."""
    told = httpx.post(f"{address}/v1/responses", json=asking(tools=FUNCTIONS, max_output_tokens=2)).json()
    read = Response.model_validate(told)
    assert read.status == "incomplete"
    assert read.incomplete_details is not None
    assert read.incomplete_details.reason == "max_output_tokens"
    assert told["completed_at"] is None


def test_a_stream_adds_up_in_the_order_that_the_client_expects(address: str, client: openai.OpenAI) -> None:
    whole = client.responses.create(**asking())
    events = events_of(address, asking())
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        EVENT.validate_python(event)
    types = [event["type"] for event in events]
    deltas = types.count("response.output_text.delta")
    assert deltas > 1
    assert types == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole.status}",
    ]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == whole.output_text == events[-1]["response"]["output"][0]["content"][0]["text"]
    assert events[-1]["response"]["usage"]["output_tokens"] == (whole.usage and whole.usage.output_tokens)


class Person(BaseModel):
    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=99)


def test_a_schema_holds_and_the_client_parses_it(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model=MODEL, input="Who?", text_format=Person, temperature=1, max_output_tokens=400
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.output_text.done" in kinds
    assert isinstance(final.output_parsed, Person)
    schema = Person.model_json_schema() | {"additionalProperties": False}
    format_: Any = {"type": "json_schema", "name": "person", "schema": schema, "strict": True}
    for seed in range(3):
        told = client.responses.create(
            **asking(
                text={"format": format_}, temperature=1, max_output_tokens=200, extra_body={"seed": seed}
            )
        )
        assert told.status == "completed"
        assert set(json.loads(told.output_text)) == {"name", "age"}
    anything = client.responses.create(**asking(text={"format": {"type": "json_object"}}))
    assert anything.output_text.startswith("{")


def test_a_function_that_must_be_called_is_called_and_its_output_is_read(
    address: str, client: openai.OpenAI
) -> None:
    told = client.responses.create(**asking(tools=FUNCTIONS, tool_choice="required", max_output_tokens=150))
    (call,) = told.output
    assert call.type == "function_call"
    assert call.name in ("calculator", "calendar")
    assert set(json.loads(call.arguments)) <= {"sum", "feast"}

    turns: list[Any] = [{"role": "user", "content": "1+2?"}, *told.output]
    turns += [{"type": "function_call_output", "call_id": call.call_id, "output": "3"}]
    after = client.responses.create(**asking(input=turns, tools=FUNCTIONS, tool_choice="none"))
    assert after.output[0].type == "message"

    named = asking(
        tools=FUNCTIONS, tool_choice={"type": "function", "name": "calendar"}, max_output_tokens=150
    )
    events = events_of(address, named)
    for event in events:
        EVENT.validate_python(event)
    assert [event["type"] for event in events[2:-1]] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert json.loads(events[-3]["arguments"])["feast"] in ("Lantern Day", "元宵")
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "calculator"}],
    }
    with client.responses.stream(
        **asking(tools=FUNCTIONS, tool_choice=allowed, max_output_tokens=150)
    ) as stream:
        (only,) = stream.get_final_response().output
    assert only.type == "function_call"
    assert only.name == "calculator"


def test_log_probabilities_are_those_of_chat_completions(client: openai.OpenAI) -> None:
    asked = asking(top_logprobs=2, include=["message.output_text.logprobs"], max_output_tokens=6)
    told = client.responses.create(**asked)
    other = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Good morning, Ana!"}],
        max_tokens=6,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    message = told.output[0]
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    found = message.content[0].logprobs
    expected = other.choices[0].logprobs
    assert found
    assert expected is not None
    assert expected.content is not None
    assert [token.logprob for token in found] == [token.logprob for token in expected.content]
    assert all(len(token.top_logprobs) == 2 for token in found)


def test_input_tokens_are_those_that_an_answer_counts(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "input": "Good morning!",
        "instructions": "x",
        "tools": FUNCTIONS,
    }
    counted = client.responses.input_tokens.count(**asked)
    told = client.responses.create(**asked, max_output_tokens=1)
    assert told.usage is not None
    assert counted.input_tokens == told.usage.input_tokens
    assert counted.object == "response.input_tokens"


def test_a_conversation_that_outgrew_the_context_is_refused_or_cut(client: openai.OpenAI) -> None:
    turns: list[Any] = []
    for number in range(60):
        turns += [
            {"role": "user", "content": f"Good morning, {number}!"},
            {"role": "assistant", "content": "Ana"},
        ]
    turns += [{"role": "user", "content": "And now?"}]
    with pytest.raises(openai.BadRequestError, match="context"):
        client.responses.create(**asking(input=turns))
    told = client.responses.create(**asking(input=turns, truncation="auto"))
    assert told.usage is not None
    assert 0 < told.usage.input_tokens <= 512 - 24
    assert told.truncation == "auto"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"input": []}, "input", "must end with"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input", "must end with"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content", "only text"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.type", "function_call_output"),
        ({"input": [{"type": "function_call_output", "output": "3"}]}, "input.0", "needs call_id"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "function"),
        ({"tool_choice": "required"}, None, "there are no tools"),
        ({"conversation": "conv_1"}, None, "conversation is not supported"),
        ({"prompt_logprobs": 2}, None, "/v1/chat/completions"),
        ({"background": True}, None, "store: true"),
        ({"background": True, "store": True, "stream": True}, None, "cannot be streamed"),
        ({"max_output_tokens": 10**6}, "max_output_tokens", "at most"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "512"),
        ({"previous_response_id": "resp_x"}, "previous_response_id", "no response"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "needs name and schema"),
    ],
)
def test_what_cannot_be_is_said_by_name(
    near: str, changes: dict[str, Any], param: str | None, said: str
) -> None:
    told = httpx.post(f"{near}/v1/responses", json={"model": "m", "input": "hello", **changes})
    assert told.status_code == (404 if param == "previous_response_id" else 400), told.text
    error = told.json()["error"]
    assert error["param"] == param
    assert said in error["message"]


def test_a_model_without_tools_says_so(teller: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not show tools"):
        teller.responses.create(model="m", input="x", tools=FUNCTIONS)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_conversation_goes_on_by_the_id_of_its_last_response(teller: openai.OpenAI, fake: FakeChat) -> None:
    first = teller.responses.create(model="m", input="one", instructions="Be kind.", store=True)
    second = teller.responses.create(model="m", input="two", previous_response_id=first.id, store=True)
    third = teller.responses.create(model="m", input="three", previous_response_id=second.id)
    assert third.output_text == "[5] three"
    assert [(m.role, m.content) for m in fake.requests[2][0]] == [
        ("user", "one"),
        ("assistant", "[2] one"),
        ("user", "two"),
        ("assistant", "[3] two"),
        ("user", "three"),
    ]  # instructions are not carried over, as at OpenAI's
    assert teller.responses.retrieve(second.id) == second
    with pytest.raises(openai.NotFoundError):
        teller.responses.retrieve(third.id)  # it was not to be kept


def test_what_is_deleted_is_gone_and_nothing_goes_on_from_it(teller: openai.OpenAI) -> None:
    first = teller.responses.create(model="m", input="one", store=True)
    second = teller.responses.create(model="m", input="two", previous_response_id=first.id, store=True)
    teller.responses.delete(first.id)
    for gone in (
        lambda: teller.responses.retrieve(first.id),
        lambda: teller.responses.delete(first.id),
        lambda: teller.responses.input_items.list(first.id),
        lambda: teller.responses.create(model="m", input="x", previous_response_id=second.id),
    ):
        with pytest.raises(openai.NotFoundError, match=first.id):
            gone()


def test_input_items_are_listed_page_by_page(teller: openai.OpenAI) -> None:
    turns: list[Any] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"type": "reasoning", "summary": [], "id": "rs_1"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
    ]
    told = teller.responses.create(model="m", input=turns, store=True)
    page = teller.responses.input_items.list(told.id, limit=1, order="asc")
    items = list(page)  # the client asks for the next pages itself
    assert [item.type for item in items] == ["message", "message", "function_call", "function_call_output"]
    assert len({item.id for item in items}) == 4
    latest = teller.responses.input_items.list(told.id).data[0]
    assert latest.type == "function_call_output"


def test_the_longest_unused_makes_room(teller: openai.OpenAI) -> None:
    ids = [teller.responses.create(model="m", input=str(i), store=True).id for i in range(3)]
    teller.responses.retrieve(ids[0])
    teller.responses.create(model="m", input="one more", store=True)
    with pytest.raises(openai.NotFoundError):
        teller.responses.retrieve(ids[1])
    assert [teller.responses.retrieve(i).id for i in (ids[0], ids[2])] == [ids[0], ids[2]]


def test_bytes_are_bounded_and_who_keeps_most_loses_first(
    serving: Serving, fake: FakeChat, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.jsonl"
    ana, ben = (new_key(keys, name) for name in ("ana", "ben"))
    app = create_app({"m": fake}, keyring=Keyring(keys), limits=Limits(max_stored_bytes=20_000))
    with serving(app) as where:
        clients = [openai.OpenAI(base_url=f"{where}/v1", api_key=k, max_retries=0) for k in (ana, ben)]
        mine = clients[0].responses.create(model="m", input="mine", store=True).id
        for _ in range(12):
            clients[1].responses.create(model="m", input="theirs " * 200, store=True)
        assert clients[0].responses.retrieve(mine).id == mine
        for made in clients:
            made.close()


def test_another_key_finds_nothing(serving: Serving, fake: FakeChat, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    ana, ben = (new_key(keys, name) for name in ("ana", "ben"))
    with serving(create_app({"m": fake}, keyring=Keyring(keys))) as where:
        mine = openai.OpenAI(base_url=f"{where}/v1", api_key=ana, max_retries=0)
        theirs = openai.OpenAI(base_url=f"{where}/v1", api_key=ben, max_retries=0)
        kept = mine.responses.create(model="m", input="a secret", store=True)
        for attempt in (
            lambda: theirs.responses.retrieve(kept.id),
            lambda: theirs.responses.cancel(kept.id),
            lambda: theirs.responses.delete(kept.id),
            lambda: theirs.responses.input_items.list(kept.id),
            lambda: theirs.responses.create(model="m", input="x", previous_response_id=kept.id),
            lambda: theirs.responses.input_tokens.count(model="m", input="x", previous_response_id=kept.id),
        ):
            with pytest.raises(openai.NotFoundError) as refused:
                attempt()
            assert "a secret" not in refused.value.response.text
        assert mine.responses.retrieve(kept.id).output_text == "[1] a secret"
        mine.close()
        theirs.close()


# --- in the background, cancelled, broken ----------------------------------------------------------------------------


def test_a_background_response_is_fetched_when_it_has_ended(teller: openai.OpenAI, fake: FakeChat) -> None:
    fake.gate = threading.Semaphore(0)
    begun = teller.responses.create(model="m", input="one two", store=True, background=True)
    assert (begun.status, begun.output, begun.usage) == ("in_progress", [], None)
    with pytest.raises(openai.BadRequestError, match="still being written"):
        teller.responses.create(model="m", input="x", previous_response_id=begun.id)
    fake.gate.release(10)
    wait_until(lambda: teller.responses.retrieve(begun.id).status == "completed")
    ended = teller.responses.retrieve(begun.id)
    assert ended.output_text == "[1] one two"
    assert teller.responses.cancel(begun.id) == ended  # too late: it stays what it is


def test_a_background_response_is_cancelled_with_what_it_has_said(
    teller: openai.OpenAI, fake: FakeChat
) -> None:
    fake.answer, fake.gate = saying("one ", "two ", "three"), threading.Semaphore(2)
    begun = teller.responses.create(model="m", input="count", store=True, background=True)
    wait_until(lambda: fake.told == 2)
    wait_until(lambda: teller.responses.retrieve(begun.id).status == "in_progress")
    cancelled = teller.responses.cancel(begun.id)
    assert cancelled.status == "cancelled"
    assert "one " in cancelled.output_text or cancelled.output == []
    assert teller.responses.cancel(begun.id) == cancelled
    fake.gate.release(10)
    wait_until(lambda: fake.closed == 1)
    assert teller.responses.retrieve(begun.id) == cancelled


def test_one_that_waits_in_the_line_is_cancelled_too(serving: Serving, fake: FakeChat) -> None:
    fake.gate = threading.Semaphore(0)
    app = create_app({"m": fake}, limits=Limits(max_running=1))
    with serving(app) as where, openai.OpenAI(base_url=f"{where}/v1", api_key="x", max_retries=0) as asker:
        first = asker.responses.create(model="m", input="one", store=True, background=True)
        second = asker.responses.create(model="m", input="two", store=True, background=True)
        assert asker.responses.cancel(second.id).status == "cancelled"
        fake.gate.release(10)
        wait_until(lambda: asker.responses.retrieve(first.id).status == "completed")
        assert len(fake.requests) == 1


def test_what_is_cancelled_in_the_line_leaves_nobody_waiting() -> None:
    """No word of it ever comes from the model's thread: without a word of our own its task waits for ever."""

    async def cancelled() -> None:
        chat = FakeChat(echo)
        worker = ModelWorker(
            "m", chat, chat.desk, max_running=1, max_waiting=9, max_waiting_each=9
        )  # never started
        asked = chat.prepare([Message(role="user", content="x")], SamplingParams())
        ticket = Ticket("m", asked, "", worker.cancel)
        store, reply = ResponseStore(Limits()), Reply(ResponseBody(model="m", store=True), chat, ticket)
        store.write(reply)
        await asyncio.sleep(0)
        reply.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 1
        await asyncio.wait_for(asyncio.gather(*others), 5)
        assert reply.as_json()["status"] == "cancelled"

    asyncio.run(cancelled())


def test_a_stream_that_is_cancelled_by_another_request_ends(near: str, fake: FakeChat) -> None:
    fake.answer, fake.gate = saying("one ", "two ", "three"), threading.Semaphore(1)
    body = {"model": "m", "input": "count", "store": True, "stream": True}
    events: list[dict[str, Any]] = []
    with httpx.stream("POST", f"{near}/v1/responses", json=body, timeout=20) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data: {"):
                continue
            events.append(json.loads(line.removeprefix("data: ")))
            if events[-1]["type"] == "response.output_text.delta":
                id = events[0]["response"]["id"]
                assert httpx.post(f"{near}/v1/responses/{id}/cancel").json()["status"] == "cancelled"
                fake.gate.release(10)
    for event in events:
        EVENT.validate_python(event)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["status"] == "cancelled"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "one "
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_a_client_that_leaves_frees_the_model_and_what_was_kept_says_so(near: str, fake: FakeChat) -> None:
    fake.answer, fake.delay_s = saying(*["word "] * 900), 0.01
    seen: dict[str, str] = {}

    async def leave() -> None:
        async with openai.AsyncOpenAI(base_url=f"{near}/v1", api_key="any", max_retries=0) as asker:
            stream = await asker.responses.create(
                model="m", input="go", store=True, stream=True, max_output_tokens=900
            )
            async for event in stream:
                if event.type == "response.created":
                    seen["id"] = event.response.id
                if event.type == "response.output_text.delta":
                    break
            await stream.close()

    asyncio.run(leave())
    wait_until(lambda: fake.closed == 1)
    assert fake.told < 900
    kept = httpx.get(f"{near}/v1/responses/{seen['id']}").json()
    assert kept["status"] == "cancelled"
    assert kept["output"][0]["content"][0]["text"].startswith("word ")


def test_a_model_that_fails_half_way_ends_the_stream_and_the_background(
    near: str, teller: openai.OpenAI, fake: FakeChat
) -> None:
    from ziggurat.errors import BusyError

    fake.answer = failing(BusyError("the cache is lost"), after=2)
    events = events_of(near, {"model": "m", "input": "x"})
    for event in events:
        EVENT.validate_python(event)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["status"] == "failed"
    assert "the cache is lost" in events[-1]["response"]["error"]["message"]
    begun = teller.responses.create(model="m", input="x", store=True, background=True)
    wait_until(lambda: teller.responses.retrieve(begun.id).status == "failed")
    with pytest.raises(openai.InternalServerError, match="the cache is lost"):
        teller.responses.create(model="m", input="x", store=True)


# --- models elsewhere ------------------------------------------------------------------------------------------------


def test_an_upstream_answers_and_keeps_nothing(serving: Serving, fake: FakeChat) -> None:
    with (
        serving(create_app({"m": fake})) as far,
        serving(create_app({}, upstreams=[Upstream("far", f"{far}/v1")])) as where,
        openai.OpenAI(base_url=f"{where}/v1", api_key="x", max_retries=0) as asker,
    ):
        told = asker.responses.create(model="far/m", input="one two")
        assert told.output_text == "[1] one two"
        assert told.store is False
        with asker.responses.stream(model="far/m", input="one two") as stream:
            assert stream.get_final_response().output_text == "[1] one two"
        lines = httpx.get(f"{where}/metrics").text.splitlines()
        (written,) = [line for line in lines if line.startswith('app_generation_tokens_total{model="far')]
        assert written.endswith(" 6.0")  # three pieces each, streamed or not
        for name, value in (("store", True), ("previous_response_id", "resp_x"), ("background", True)):
            changes: dict[str, Any] = {name: value}
            with pytest.raises(openai.BadRequestError, match=f"{name} does not apply to models of another"):
                asker.responses.create(model="far/m", input="x", **changes)
