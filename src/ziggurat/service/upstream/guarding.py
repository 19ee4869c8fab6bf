"""The guard around models of other servers: their requests and answers are read as JSON, whole or event by event.

Examined are the text of chat completions, completions and responses. Not examined: reasoning that a server sends beside
its answer, and arguments of tool calls. Log-probabilities of a piece whose text waits are left out.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from ziggurat.safety.guard import Decision, Guard
from ziggurat.safety.watch import AnswerWatch
from ziggurat.service.http.wire import DONE, Json, event

FILTERED = "content_filter"
CHAT, TEXT, RESPONSES = "/chat/completions", "/completions", "/responses"

Note = Callable[[Sequence[tuple[str, str]], Decision | None, str], None]
"""As in service/guarded.py."""


class Line(NamedTuple):
    """A message of a request to another server."""

    role: str
    content: str


class FarGuard:
    """The guard of one request to another server."""

    def __init__(self, guard: Guard, note: Note, path: str, body: dict[str, Any]) -> None:
        self.guard, self.note, self.path, self.body = guard, note, path, body
        self.asked = Decision()

    @staticmethod
    def applies(path: str, body: dict[str, Any]) -> bool:
        """Whether it is a request for text; the scores of a prompt, as evaluation harnesses ask for them, are not."""
        most = body.get("max_tokens")
        scores = body.get("echo") is True or body.get("prompt_logprobs") is not None
        only_scores = path == TEXT and (most == 0 or (scores and isinstance(most, int) and most <= 1))
        return path in (CHAT, TEXT, RESPONSES) and not only_scores

    async def stand_in(self) -> Response | None:
        """The guard's answer where the request does not get through; None where it does."""
        self.asked = await anyio.to_thread.run_sync(self.guard.before, list(lines_of(self.path, self.body)))
        self.note(self.asked.counts(), self.asked if self.asked.acts else None, "")
        if not self.asked.acts:
            return None
        far = _Far(self)
        if self.body.get("stream") is True:
            return StreamingResponse(_all(far.stand_in_events()), media_type="text/event-stream")
        return Json(far.stand_in())

    async def through(self, answer: Response) -> Response:
        """An answer of the other server as the guard lets it through."""
        far = _Far(self)
        if isinstance(answer, StreamingResponse):
            answer.body_iterator = far.events(answer.body_iterator)
            return answer
        if answer.status_code >= 300:
            return answer
        return Json(
            await anyio.to_thread.run_sync(far.whole, json.loads(bytes(answer.body))), answer.status_code
        )


def lines_of(path: str, body: dict[str, Any]) -> Iterator[Line]:
    """The messages of a request, as far as they are text; whatever is malformed is left to the other server."""
    if path == TEXT:
        prompt = body.get("prompt")
        several = prompt if isinstance(prompt, list) else [prompt]
        yield Line("user", "\n".join(one for one in several if isinstance(one, str)))
        return
    given = body.get("messages") if path == CHAT else body.get("input")
    if isinstance(given, str):
        yield Line("user", given)
    for one in given if isinstance(given, list) else ():
        if not isinstance(one, dict):
            continue
        if one.get("type") == "function_call_output":
            yield Line("tool", _text(one.get("output")))
        elif isinstance(one.get("role"), str):
            yield Line(one["role"], _text(one.get("content")))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join(
        part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


@dataclass
class _Choice:
    watch: AnswerWatch
    shown: str = ""
    written: str = ""  # by the other server
    done: bool = False
    last: dict[str, Any] = field(default_factory=dict)


class _Far:
    """One answer on its way through the guard."""

    def __init__(self, far: FarGuard) -> None:
        self.far, self.path, self.asked = far, far.path, far.asked
        self.choices: dict[int, _Choice] = {}
        self.response: dict[str, Any] = {}  # of /responses, as its first event has it

    def choice(self, index: Any) -> _Choice:
        if index not in self.choices:
            self.choices[index] = _Choice(self.far.guard.watch(self.asked))
        return self.choices[index]

    def _judged(self, choice: _Choice) -> None:
        choice.done = True
        self.far.note(choice.watch.counts(), choice.watch.decision, choice.written)

    # --- in place of an answer ---------------------------------------------------------------------------------------

    def _common(self, kind: str) -> dict[str, Any]:
        prefix = {CHAT: "chatcmpl-", TEXT: "cmpl-", RESPONSES: "resp_"}[self.path]
        made = "created_at" if self.path == RESPONSES else "created"
        model = self.far.body.get("model")
        return {"id": prefix + secrets.token_hex(12), "object": kind, made: int(time.time()), "model": model}

    def stand_in(self) -> dict[str, Any]:
        text, usage = self.asked.text or "", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        ending = {"index": 0, "finish_reason": FILTERED, "logprobs": None, "guard": self.asked.record()}
        if self.path == CHAT:
            said = {"role": "assistant", "content": text, "refusal": None}
            return {
                **self._common("chat.completion"),
                "choices": [{**ending, "message": said}],
                "usage": usage,
            }
        if self.path == TEXT:
            return {**self._common("text_completion"), "choices": [{**ending, "text": text}], "usage": usage}
        return _incomplete({**self._common("response"), "error": None}, text, self.asked)

    def stand_in_events(self) -> Iterator[bytes]:
        whole = self.stand_in()
        if self.path == RESPONSES:
            begun = {**whole, "status": "in_progress", "output": [], "incomplete_details": None}
            yield _response_event("response.created", response=begun)
            item = whole["output"][0]
            yield _response_event("response.output_item.added", output_index=0, item={**item, "content": []})
            where = {"item_id": item["id"], "output_index": 0, "content_index": 0, "logprobs": []}
            yield _response_event("response.output_text.delta", **where, delta=self.asked.text or "")
            yield _response_event("response.output_text.done", **where, text=self.asked.text or "")
            yield _response_event("response.output_item.done", output_index=0, item=item)
            yield _response_event("response.incomplete", response=whole)
        elif self.path == TEXT:
            yield event({**whole, "usage": None})
        else:
            (choice,) = whole["choices"]
            delta = choice.pop("message")
            chunk = {**whole, "object": "chat.completion.chunk", "usage": None}
            yield event({**chunk, "choices": [{**choice, "delta": delta}]})
        yield DONE

    # --- whole ------------------------------------------------------------------------------------------------------

    def whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self.path == RESPONSES:
            watch = self.far.guard.watch(self.asked)
            said = [item for item in answer.get("output") or () if item.get("type") == "message"]
            texts = [_text(item.get("content")) for item in said]
            for text in texts:
                watch.feed(text)
            watch.end()
            self.far.note(watch.counts(), watch.decision, "\n".join(texts))
            decided = watch.decision
            return answer if decided is None else _incomplete(answer, decided.text or "", decided)
        for choice in answer.get("choices") or ():
            holder, name = (choice.get("message") or {}, "content") if self.path == CHAT else (choice, "text")
            watch = self.far.guard.watch(self.asked)
            text = _text(holder.get(name))
            watch.feed(text)
            watch.end()
            self.far.note(watch.counts(), watch.decision, text)
            if (decided := watch.decision) is not None:
                holder[name] = decided.text
                holder.pop("tool_calls", None)
                choice.update(finish_reason=FILTERED, logprobs=None, guard=decided.record())
        return answer

    # --- streamed ---------------------------------------------------------------------------------------------------

    async def events(self, sent: AsyncIterable[Any]) -> AsyncIterator[bytes]:
        async for one in sent:
            for piece in self.event(one):
                yield piece
            wanted = self.far.body.get("n") or 1
            if len(self.choices) >= wanted and all(
                c.watch.decision is not None for c in self.choices.values()
            ):
                yield DONE
                return

    def event(self, sent: bytes) -> Iterator[bytes]:
        data = b"".join(line[5:] for line in sent.split(b"\n") if line.startswith(b"data:"))
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError):
            yield sent  # a comment, or [DONE]
            return
        if not isinstance(parsed, dict):
            yield sent
        elif self.path == RESPONSES:
            yield from self._response_event(parsed, sent)
        elif not isinstance(parsed.get("choices"), list) or not parsed["choices"]:
            yield sent
        else:
            kept = [one for one in parsed["choices"] if isinstance(one, dict) and self._passes(one)]
            if kept:
                yield event({**parsed, "choices": kept})

    def _passes(self, piece: dict[str, Any]) -> bool:
        """Changes a piece of one choice to what may be shown; whether anything is left of it."""
        choice = self.choice(piece.get("index", 0))
        if choice.done:
            return False
        holder, name = (piece.get("delta") or {}, "content") if self.path == CHAT else (piece, "text")
        given = holder.get(name) or ""
        shown = ""
        if isinstance(given, str):
            choice.written += given
            shown = choice.watch.feed(given)
        ends = piece.get("finish_reason") is not None
        if ends:
            shown += choice.watch.end()
        if (decided := choice.watch.decision) is not None:
            shown += choice.watch.replacement
            holder.pop("tool_calls", None)
            piece.update(finish_reason=FILTERED, guard=decided.record())
            if self.path == CHAT:
                piece["delta"] = holder
        if ends or decided is not None:
            self._judged(choice)
        if shown != given and "logprobs" in piece:
            piece["logprobs"] = None
        if name in holder or shown:
            holder[name] = shown
        others = any(value for key, value in holder.items() if key not in (name, "index", "logprobs"))
        return bool(shown or ends or decided is not None or others)

    def _response_event(self, parsed: dict[str, Any], sent: bytes) -> Iterator[bytes]:
        kind, choice = parsed.get("type"), self.choice(0)
        if kind == "response.created":
            self.response = parsed.get("response") or {}
        if kind == "response.output_text.delta":
            given = str(parsed.get("delta", ""))
            choice.written += given
            shown = choice.watch.feed(given)
        elif kind == "response.output_text.done":
            shown = choice.watch.flush()
        else:
            if kind in ("response.completed", "response.incomplete") and not choice.done:
                choice.watch.end()
                self._judged(choice)
            yield sent
            return
        decided = choice.watch.decision
        text = shown + choice.watch.replacement
        choice.shown += text
        if kind == "response.output_text.delta":
            choice.last = {
                key: value for key, value in parsed.items() if key not in ("type", "delta", "logprobs")
            }
        if text:
            yield _response_event("response.output_text.delta", **choice.last, delta=text, logprobs=[])
        if decided is not None:
            self._judged(choice)
            yield _response_event(
                "response.incomplete", response=_incomplete(self.response, choice.shown, decided)
            )
        elif kind == "response.output_text.done":
            yield sent


def _incomplete(response: dict[str, Any], text: str, decided: Decision) -> dict[str, Any]:
    """A response that the guard ended."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "content": [part]}
    return {
        **response,
        "status": "incomplete",
        "incomplete_details": {"reason": FILTERED},
        "output": [{**item, "status": "incomplete"}],
        "guard": decided.record(),
    }


def _response_event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + event({"type": kind, **fields})


async def _all(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
