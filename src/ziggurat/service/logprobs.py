"""Log-probabilities on the wire, in the two shapes that OpenAI has for them.

They are those of the model at the asked temperature (0 counts as 1) over the whole vocabulary: before penalties, bias,
masks, top-k and top-p. A chosen token that is among the alternatives has the very same number there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Name = Callable[[int], str]
"""A token's text."""
Raw = Callable[[int], bytes | None]
"""A token's bytes; None for one that is silent."""


def chat_logprobs(tokens: Sequence[Any], name: Name, raw: Raw) -> dict[str, Any]:
    """`choices[].logprobs` of a chat completion."""

    def entry(id: int, logprob: float) -> dict[str, Any]:
        said = raw(id)
        spelled = None if said is None else list(said)
        return {"token": name(id), "logprob": finite(logprob), "bytes": spelled}

    content = [
        {**entry(token.id, token.logprob), "top_logprobs": [entry(id, value) for id, value in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Sequence[Any], name: Name, offset: int = 0) -> dict[str, Any]:
    """`choices[].logprobs` of a completion: four parallel lists; null where nothing comes before a token."""
    names = [name(token.id) for token in tokens]
    offsets = []
    for text in names:
        offsets.append(offset)
        offset += len(text)
    top = [
        None
        if token.logprob is None
        else {name(id): finite(value) for id, value in (*token.top, (token.id, token.logprob))}
        for token in tokens
    ]
    return {
        "tokens": names,
        "token_logprobs": [None if token.logprob is None else finite(token.logprob) for token in tokens],
        "top_logprobs": top,
        "text_offset": offsets,
    }


def finite(logprob: float) -> float:
    """JSON has no infinity: what cannot be is told as -9999, as others do."""
    return logprob if math.isfinite(logprob) else -9999.0
