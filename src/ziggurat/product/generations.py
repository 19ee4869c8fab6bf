"""The life of an answer that is being written. The runner of the service calls append, finish, fail; the page calls stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def append(store: Store, generation_id: str, events: Sequence[Mapping[str, Any]]) -> bool:
    """Add events ({type: text|reasoning|held|replaced, text}), coalesced by the caller (each 200 ms); counts as a heartbeat. False: it was stopped, cancelled or reaped; the caller ends the work."""
    raise NotImplementedError


def heartbeat(store: Store, generation_id: str) -> bool:
    """Say that it is alive (each 10 s without tokens). False as `append`."""
    raise NotImplementedError


def finish(
    store: Store,
    generation_id: str,
    *,
    finish_reason: str,
    content: str | None = None,
    reasoning: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
    usage: Mapping[str, Any] | None = None,
    seed: int | None = None,
    guard: Mapping[str, Any] | None = None,
    hashes: Mapping[str, Any] | None = None,
    lang: str | None = None,
    held: bool = False,
) -> Message:
    """End it. `content` None: what the events add up to. One that was stopped before stays as it was stopped."""
    raise NotImplementedError


def fail(store: Store, generation_id: str, error: Mapping[str, Any]) -> Message:
    """End it with an error ({message, type, code}); the text so far is kept, state failed."""
    raise NotImplementedError


def stop(
    store: Store,
    principal: Principal,
    chat_id: str,
    generation_id: str,
    *,
    seen_chars: int,
    text: str | None = None,
) -> Message:
    """Stop it; exactly the first `seen_chars` Unicode characters of the whole message are kept. `text`: what the runner holds beyond the stored events."""
    raise NotImplementedError


def events_after(
    store: Store, principal: Principal, chat_id: str, generation_id: str, after: int = 0
) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """Stored events with a greater seq, and the status. After the end, ask `messages.get_message`."""
    raise NotImplementedError


def get_generation(store: Store, principal: Principal, chat_id: str, generation_id: str) -> Generation:
    """One generation."""
    raise NotImplementedError


def running(store: Store, principal: Principal) -> list[Generation]:
    """All running ones of the workspace (admin)."""
    raise NotImplementedError


def cancel(store: Store, principal: Principal, generation_id: str) -> Generation:
    """An administrator ends one: state interrupted; `append` then answers False."""
    raise NotImplementedError


def reap(store: Store, *, older_than_s: float = 90) -> list[str]:
    """Mark running ones without a heartbeat as interrupted, their text kept. Ids of them. At start: older_than_s=0."""
    raise NotImplementedError


def sweep_events(store: Store, *, older_than_s: float = 86_400) -> int:
    """Delete the events of ended generations."""
    raise NotImplementedError
