"""The events of an answer to `POST /api/chat`, one JSON object each, for every route that streams one:

    data: {"reasoning": "Mira runs ..."}         what the model thinks before its answer
    data: {"text": "Mira is"}                    text to append
    : waiting                                    (a comment, while the model answers other requests)
    data: {"done": {"finish_reason": "stop", "usage": {...}, "seed": 7, "tokens_per_s": 180.2, ...}}
    data: {"error": {"message": "...", ...}}     instead of done, if the model fails during its answer

A stream that ends with neither was cut on its way; the page reports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.service.http.wire import event


def written(text: str, reasoning: str = "") -> list[bytes]:
    """The events of what the model has written since the last ones; none for nothing."""
    return [event({kind: piece}) for kind, piece in (("reasoning", reasoning), ("text", text)) if piece]


def done(
    *,
    finish_reason: str,
    usage: Mapping[str, int | None],
    seed: int | None,
    dropped_messages: int,
    speed: Mapping[str, float | None],
    guard: Mapping[str, str | None] | None,
) -> bytes:
    """The last event. `dropped_messages`: how many of the oldest did not fit into the context. `guard`: the layer and
    the rule that ended the answer."""
    summary: dict[str, Any] = {
        "finish_reason": finish_reason,
        "usage": usage,
        "seed": seed,
        "dropped_messages": dropped_messages,
        **speed,
    }
    return event({"done": summary if guard is None else {**summary, "guard": guard}})
