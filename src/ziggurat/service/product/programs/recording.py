"""Remembers answers of the API by their ids, so that feedback about them can come later.

The middleware only collects bytes; they are read on a worker thread, many answers in one transaction, at most FLUSH_S
after they ended. `flush` waits until everything that has ended is kept: feedback that follows at once finds its answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.product import inferences, people
from ziggurat.product.inferences import Answered
from ziggurat.product.principal import Principal
from ziggurat.service.access.caller import caller
from ziggurat.service.models.shelf import Served
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.house import House
from ziggurat.service.product.review.calls import DRAFT
from ziggurat.service.product.writing import hashes_with

log = logging.getLogger("ziggurat.service")

PATHS = {
    "/v1/chat/completions": "chat.completion",
    "/v1/completions": "text_completion",
    "/v1/responses": "response",
}
EPISODE = "x-episode-id"
FLUSH_S = 0.05
MAX_BYTES = 1 << 20
"""Bytes of an answer that are read; of a longer one only the id, from its beginning."""
SAMPLING = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "seed",
    "stop",
)


@dataclass
class Seen:
    """The bytes of one request and its answer."""

    principal: Principal | None
    """None: the owner of this machine, who is looked up when the answer is kept."""
    kind: str
    request_id: str | None
    episode: str | None
    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    streamed: bool = False
    served: Served | None = None
    """The model that answered, where it is one of this server; its card has the channel's name that was asked."""
    draft: bool = False
    """An expert has not decided on it: its texts are not kept here."""
    cut: bool = False

    def take(self, part: bytes) -> None:
        if len(self.answered) + len(part) > MAX_BYTES:
            self.cut = True
        if not self.cut or not self.answered:
            self.answered += part[:MAX_BYTES]


class Recorder:
    """What waits to be kept."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._waiting: list[Seen] = []
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def add(self, seen: Seen) -> None:
        self._waiting.append(seen)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._soon())

    async def _soon(self) -> None:
        await asyncio.sleep(FLUSH_S)
        await self.flush()

    async def flush(self) -> None:
        """Keep all that has ended. An answer that cannot be kept is logged and forgotten."""
        async with self._lock:
            waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            try:
                await anyio.to_thread.run_sync(self._keep, waiting)
            except Exception:
                log.exception(
                    "%d answers could not be remembered; no feedback can come about them", len(waiting)
                )

    def _keep(self, waiting: list[Seen]) -> None:
        store, owner = self._house.store, None
        if any(seen.principal is None for seen in waiting):
            owner = people.local_principal(store)
        answers = (answered_of(self._house, seen, seen.principal or owner) for seen in waiting)
        if found := [one for one in answers if one is not None]:
            inferences.keep(store, found)


class Recorded:
    """ASGI middleware around the endpoints that answer; inside of the check of keys."""

    def __init__(self, app: ASGIApp, *, house: House, recorder: Recorder) -> None:
        self.app, self.house, self.recorder = app, house, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = PATHS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        known, principal = (False, None) if kind is None else self._who(scope)
        if kind is None or not known:
            await self.app(scope, receive, send)
            return
        visit, headers = visit_of(scope), Headers(scope=scope)
        seen = Seen(principal, kind, visit.request_id, headers.get(EPISODE), draft=bool(scope.get(DRAFT)))
        good = kept = False

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and len(seen.asked) <= MAX_BYTES:
                seen.asked += message.get("body", b"")
            return message

        def keep() -> None:
            nonlocal kept
            if good and not kept and seen.answered:
                kept = True
                seen.served = scope.get("state", {}).get("served")
                self.recorder.add(seen)

        async def sent(message: Message) -> None:
            nonlocal good
            if message["type"] == "http.response.start":
                good = message["status"] == 200
                kind = Headers(raw=message["headers"]).get("content-type", "")
                seen.streamed = kind.startswith("text/event-stream")
            elif message["type"] == "http.response.body" and good:
                seen.take(message.get("body", b""))
                if not message.get("more_body"):
                    keep()  # before the client can have read the end
            await send(message)

        try:
            await self.app(scope, received, sent)
        finally:
            keep()  # of a client that left: it has the id from the first event

    def _who(self, scope: Scope) -> tuple[bool, Principal | None]:
        """(whether somebody of the store asks, who); None is the owner of this machine. No database is asked."""
        asking = caller(Request(scope))
        if asking.quota is not None:
            return asking.quota.principal is not None, asking.quota.principal
        return self.house.mode == "local" and asking.id == "", None


# --- reading, on a worker thread --------------------------------------------------------------------------------------


def answered_of(house: House, seen: Seen, principal: Principal | None) -> Answered | None:
    """What was asked and answered; None where there is no id."""
    if principal is None:
        return None
    asked = _object(bytes(seen.asked))
    events = list(_events(bytes(seen.answered))) if seen.streamed else [_object(bytes(seen.answered))]
    if seen.cut and not seen.streamed:
        events = [_beginning(bytes(seen.answered))]
    inner = [one.get("response") if isinstance(one.get("response"), dict) else one for one in events]
    known = next((one for one in inner if isinstance(one, dict) and isinstance(one.get("id"), str)), None)
    if known is None or not asked:
        return None
    card = None if seen.served is None else seen.served.card
    model = str(known.get("model") or asked.get("model") or "") if card is None else card.name
    texts = texts_of(seen.kind, events)
    episode = seen.episode or _text(_dict(asked.get("metadata")).get("episode_id"))
    return Answered(
        id=known["id"],
        principal=principal,
        kind=seen.kind,
        model=model,
        prompt=prompt_of(seen.kind, asked),
        answer=texts,
        request_id=seen.request_id,
        episode=episode or None,
        release=None if card is None else card.release or None,
        asked_to_keep=asked.get("store") is True,
        whole=not seen.cut and not seen.draft and bool(texts) and not asked.get("previous_response_id"),
        hashes=hashes_with(house, seen.served),
        sampling={name: asked[name] for name in SAMPLING if asked.get(name) is not None},
    )


def prompt_of(kind: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of a request; a bare prompt as one of a user."""
    if kind == "chat.completion":
        return [_message(one) for one in asked.get("messages") or () if isinstance(one, dict)]
    if kind == "text_completion":
        given = asked.get("prompt")
        return [{"role": "user", "content": given if isinstance(given, str) else json.dumps(given)}]
    given, said = asked.get("input"), []
    if instructions := _text(asked.get("instructions")):
        said.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*said, {"role": "user", "content": given}]
    return [*said, *(_message(one) for one in given or () if isinstance(one, dict))]


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    """Role and text, and the calls of tools; of a call or a result in the form of the Responses API, its JSON."""
    role, content = given.get("role"), given.get("content")
    if not isinstance(role, str):
        return {"role": "tool", "content": json.dumps(given, ensure_ascii=False)}
    if isinstance(content, list):
        content = "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    kept = {name: given[name] for name in ("tool_calls", "tool_call_id", "name") if given.get(name)}
    return {"role": "system" if role == "developer" else role, "content": _text(content), **kept}


def texts_of(kind: str, events: list[dict[str, Any]]) -> list[str]:
    """The text of each choice, of a whole answer or of the events of a stream."""
    if kind == "response":
        whole = [_dict(one.get("response")) or one for one in events]
        outputs = [one["output"] for one in whole if isinstance(one.get("output"), list) and one["output"]]
        return ["".join(_output_texts(outputs[-1]))] if outputs else []
    texts: dict[int, str] = {}
    for one in events:
        for choice in one.get("choices") or ():
            if not isinstance(choice, dict):
                continue
            given = choice.get("index")
            index = given if isinstance(given, int) else 0
            said = _dict(choice.get("delta")) or _dict(choice.get("message")) or choice
            texts[index] = texts.get(index, "") + (_text(said.get("content")) or _text(said.get("text")))
    return [text for _, text in sorted(texts.items())]


def _output_texts(output: list[Any]) -> Iterator[str]:
    for item in output:
        for part in _dict(item).get("content") or ():
            yield _text(_dict(part).get("text"))


def _events(raw: bytes) -> Iterator[dict[str, Any]]:
    for one in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"".join(line[5:] for line in one.split(b"\n") if line.startswith(b"data:"))
        if found := _object(data):
            yield found


def _beginning(raw: bytes) -> dict[str, Any]:
    """The id at the beginning of JSON that was cut."""
    begin, mark, rest = raw[:400].partition(b'"id":')
    name = rest.lstrip()[1:].partition(b'"')[0].decode("utf-8", "replace")
    return {"id": name} if mark and begin.strip() == b"{" and name else {}


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return _dict(json.loads(raw))
    except (ValueError, RecursionError):
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
