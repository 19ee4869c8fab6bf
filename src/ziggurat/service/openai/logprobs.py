"""Log-probabilities on the wire, in the two shapes that OpenAI has for them and in vLLM's for prompts.

They are those of the model at the asked temperature (0 counts as 1) over the whole vocabulary: before penalties, bias,
masks, top-k and top-p. A chosen token that is among the alternatives has the very same number there. Those of a
prompt's tokens are at temperature 1 whatever was asked.
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


def completion_logprobs(tokens: Sequence[Any], name: Name, top_n: int, offset: int = 0) -> dict[str, Any]:
    """`choices[].logprobs` of a completion: four parallel lists; null where nothing comes before a token."""
    names = [name(token.id) for token in tokens]
    offsets = []
    for text in names:
        offsets.append(offset)
        offset += len(text)
    top = [
        None
        if token.logprob is None
        else {name(id): finite(value) for id, value in (*token.top[:top_n], (token.id, token.logprob))}
        for token in tokens
    ]
    return {
        "tokens": names,
        "token_logprobs": [None if token.logprob is None else finite(token.logprob) for token in tokens],
        "top_logprobs": top,
        "text_offset": offsets,
    }


def prompt_logprobs(tokens: Sequence[Any], name: Name, top_n: int) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: for each token but the first the likeliest ones and itself, by their ids."""

    def table(token: Any) -> dict[str, Any]:
        ranked = [(id, value, i) for i, (id, value) in enumerate(token.top[:top_n], start=1)]
        rows = {id: (value, rank) for id, value, rank in [*ranked, (token.id, token.logprob, token.rank)]}
        return {
            str(id): {"logprob": finite(value), "rank": rank, "decoded_token": name(id)}
            for id, (value, rank) in rows.items()
        }

    return [None if token.logprob is None else table(token) for token in tokens]


def finite(logprob: float) -> float:
    """JSON has no infinity: what cannot be is told as -9999, as others do."""
    return logprob if math.isfinite(logprob) else -9999.0
