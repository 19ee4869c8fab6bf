"""One response of `/v1/responses` from its beginning to its end: its object, and the events of its stream.

    response.created, response.in_progress
    response.output_item.added, response.content_part.added          a message, with its first text
    response.output_text.delta ...
    response.output_text.done, response.content_part.done, response.output_item.done
    response.output_item.added, response.function_call_arguments.delta, ... .done, response.output_item.done
    response.completed | response.incomplete | response.failed       with the whole response; then [DONE]

Every event has the next `sequence_number`. A function call is sent when it is whole, in one piece. Text that was
written as a call and cannot be read as one becomes part of the message. A response that was cancelled ends its stream
with `response.incomplete`, and its status says `cancelled`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread

from ziggurat.service.guarded import FILTERED
from ziggurat.service.http.problems import describe
from ziggurat.service.http.wire import DONE, event
from ziggurat.service.models.tickets import Answering
from ziggurat.service.openai.logprobs import chat_entries
from ziggurat.service.openai.responses.body import ResponseBody
from ziggurat.service.openai.responses.items import new_id
from ziggurat.service.openai.streams import Choice, Tally
from ziggurat.service.openai.tools import read_calls

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.dialogue.desk import Delta

Ending = Literal["completed", "incomplete", "cancelled", "failed"]


class Reply:
    """The answer to one request. `end` fixes it once; later deltas change nothing."""

    def __init__(self, body: ResponseBody, chat: Chat, ticket: Answering) -> None:
        self.body, self.chat, self.ticket = body, chat, ticket
        self.id, self.message_id = new_id("resp"), new_id("msg")
        self.tally = Tally()
        self.final: dict[str, Any] | None = None
        self.on_end: Callable[[], None] | None = None
        self._created_at = int(time.time())
        self._sequence = 0
        self._message_open = False

    @property
    def previous(self) -> str | None:
        return self.body.previous_response_id

    def as_json(self) -> dict[str, Any]:
        return self.final or self._object("in_progress", [])

    def end(self, error: dict[str, Any] | None = None, *, cancelled: bool = False) -> None:
        """Set `final` from what has arrived. It always ends: output that cannot be built makes it failed and empty."""
        if self.final is None:
            self._set_final(self._ended(error, cancelled))

    async def finish(self) -> None:
        """`end` without an error, with the output built in a worker thread."""
        final = await anyio.to_thread.run_sync(self._ended, None, False)
        if self.final is None:
            self._set_final(final)

    async def write(self) -> None:
        """Write the response to its end, without a client."""
        try:
            while (delta := await self.ticket.next()) is not None:
                self.tally.add(delta)
            await self.finish()
        except Exception as error:
            self.end(_server_error(describe(error)[1]))
        finally:
            self.ticket.cancel()

    def cancel(self) -> None:
        """End a response that is being written; nothing happens to one that has ended."""
        if self.final is None:
            self.end(cancelled=True)
            self.ticket.cancel()
            self.ticket.arrive(None)  # wakes the task that waits for the next delta

    def _set_final(self, final: dict[str, Any]) -> None:
        self.final = final
        if self.on_end is not None:
            self.on_end()

    def _ended(self, error: dict[str, Any] | None, cancelled: bool) -> dict[str, Any]:
        choice = self.tally.choices.get(0, Choice())
        status: Ending = "incomplete" if choice.finish in ("length", FILTERED) else "completed"
        if cancelled or choice.finish == "cancelled":
            status = "cancelled"
        if error is not None:
            status = "failed"
        try:
            return self._object(status, self._output(choice, status), error)
        except Exception as broken:
            return self._object("failed", [], error or _server_error(describe(broken)[1]))

    def _output(self, choice: Choice, status: Ending) -> list[dict[str, Any]]:
        whole = status == "completed"
        read = read_calls(choice.calls, choice.finish if whole else "length")
        calls, text = read.calls, choice.text + self._unread(choice, read.unread)
        items: list[dict[str, Any]] = []
        if text or (whole and not calls):
            tokens = choice.within(choice.tokens, None, *read.unread)
            part = {
                "type": "output_text",
                "text": text,
                "annotations": [],
                "logprobs": self._logprobs(tokens),
            }
            message = {"id": self.message_id, "type": "message", "role": "assistant", "content": [part]}
            items.append({**message, "status": "completed" if whole or calls else "incomplete"})
        for number, call in enumerate(calls, start=1):
            said = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
            state = "completed" if whole or number < len(calls) else "incomplete"
            items.append({"id": new_id("fc"), "type": "function_call", **said, "status": state})
        return items

    @staticmethod
    def _unread(choice: Choice, unread: Sequence[int]) -> str:
        return "".join(choice.calls[number] for number in unread)

    def _object(
        self, status: str, output: list[dict[str, Any]], error: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        body, written = self.body, self.tally.choices.get(0, Choice())
        choice = body.tool_choice
        shown = choice if isinstance(choice, str) else choice and choice.model_dump()
        reason = FILTERED if written.finish == FILTERED else "max_output_tokens"
        form = body.text.format if body.text else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "model": body.model,
            "output": output,
            "usage": None if status == "in_progress" else self._usage(),
            "instructions": body.instructions,
            "previous_response_id": body.previous_response_id,
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "tool_choice": shown or "auto",
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "text": {
                "format": form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
            },
            "truncation": body.truncation or "disabled",
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "presence_penalty": body.presence_penalty or 0.0,
            "frequency_penalty": body.frequency_penalty or 0.0,
            "top_logprobs": body.top_logprobs or 0,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": None,
            "reasoning": None,
            "store": bool(body.store),
            "background": bool(body.background),
            "metadata": body.metadata or {},
            "service_tier": "default",
            "user": None,
            "safety_identifier": None,
            "prompt_cache_key": None,
            **({} if written.guard is None else {"guard": written.guard}),
        }

    def _usage(self) -> dict[str, Any]:
        """The model's counts; of an answer that was cut off, the prompt's and those of the tokens so far."""
        read = self.tally.prompt_tokens or len(self.ticket.request.ids)
        written = self.tally.completion_tokens or self.ticket.tokens
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }

    def _logprobs(self, tokens: Sequence[Any]) -> list[dict[str, Any]]:
        if not self.body.logprobs:
            return []
        content = list(chat_entries(tokens, self.chat.token_name, self.chat.token_bytes))
        for one in [top for token in content for top in (token, *token["top_logprobs"])]:
            one["bytes"] = one["bytes"] or []  # never null in this API
        return content

    # --- streamed -----------------------------------------------------------------------------------------------

    def pieces(self, delta: Delta, tally: Tally) -> Iterator[bytes]:
        if self.final is not None:
            return
        self.tally = tally
        yield from self._opening()
        choice = tally.choices[delta.choice]
        tokens = choice.take() if self.body.logprobs else []
        if delta.text and delta.call is None:
            yield from self._say(delta.text, choice.within(tokens, None))

    def _say(self, text: str, tokens: Sequence[Any]) -> Iterator[bytes]:
        yield from self._open_message()
        yield self._of_text("response.output_text.delta", delta=text, logprobs=self._logprobs(tokens))

    def tail(self, tally: Tally) -> Iterator[bytes]:
        yield from self._opening()
        if self.final is None:
            self.tally = tally
            self.end()
        assert self.final is not None
        yield from self._say_unread(tally.choices.get(0, Choice()))
        for number, item in enumerate(self.final["output"]):
            yield from self._close_message(item) if item["type"] == "message" else self._call(number, item)
        last = self.final["status"] if self.final["status"] in ("completed", "failed") else "incomplete"
        yield self._event(f"response.{last}", response=self.final)
        yield DONE

    def _say_unread(self, choice: Choice) -> Iterator[bytes]:
        """The end of the message that was written as calls."""
        assert self.final is not None
        shown = [item["content"][0]["text"] for item in self.final["output"] if item["type"] == "message"]
        if shown and (text := shown[0][len(choice.text) :]):
            unread = read_calls(choice.calls, choice.finish).unread
            yield from self._say(text, choice.within(choice.tokens, *unread))

    def failed(self, error: dict[str, Any]) -> Iterator[bytes]:
        yield from self._opening()
        self.end(_server_error(error))
        yield self._event("response.failed", response=self.as_json())
        yield DONE

    def _opening(self) -> Iterator[bytes]:
        if self._sequence == 0:
            begun = self._object("in_progress", [])
            yield self._event("response.created", response=begun)
            yield self._event("response.in_progress", response=begun)

    def _open_message(self) -> Iterator[bytes]:
        """A message is always the first item: its text comes before the calls."""
        if self._message_open:
            return
        self._message_open = True
        item = {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "status": "in_progress",
        }
        yield self._event("response.output_item.added", output_index=0, item=item)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._of_text("response.content_part.added", part=part)

    def _close_message(self, item: dict[str, Any]) -> Iterator[bytes]:
        yield from self._open_message()
        part = item["content"][0]
        yield self._of_text("response.output_text.done", text=part["text"], logprobs=part["logprobs"])
        yield self._of_text("response.content_part.done", part=part)
        yield self._event("response.output_item.done", output_index=0, item=item)

    def _call(self, number: int, item: dict[str, Any]) -> Iterator[bytes]:
        begun = {**item, "arguments": "", "status": "in_progress"}
        where = {"item_id": item["id"], "output_index": number}
        kind, said = "response.function_call_arguments", item["arguments"]
        yield self._event("response.output_item.added", output_index=number, item=begun)
        yield self._event(f"{kind}.delta", **where, delta=said)
        yield self._event(f"{kind}.done", **where, name=item["name"], arguments=said)
        yield self._event("response.output_item.done", output_index=number, item=item)

    def _of_text(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self.message_id, output_index=0, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._sequence = self._sequence, self._sequence + 1
        return f"event: {kind}\n".encode() + event({"type": kind, "sequence_number": number, **fields})


def _server_error(body: dict[str, Any]) -> dict[str, Any]:
    return {"code": "server_error", "message": body["error"]["message"]}
