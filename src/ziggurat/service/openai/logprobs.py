"""Log-probabilities on the wire, in the two shapes that OpenAI has for them and in vLLM's for prompts.

They are those of the model at the requested temperature (0 counts as 1) over the whole vocabulary: before penalties,
bias, masks, top-k and top-p. A chosen token that is among the alternatives has the same number there. Those of a
prompt's tokens are at temperature 1 whatever the request says.

Chat and responses have one entry for each token of `content`: none for tokens of tool calls, of a stop string, of the
end. Their `bytes`, joined, are the content; only where a stop string begins inside a token do they go on to the end of
that token. Completions have one entry for each token that was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Name = Callable[[int], str]
"""A token's text."""
Raw = Callable[[int], bytes | None]
"""A token's bytes; None for a special token, which adds no text."""


def chat_entries(tokens: Sequence[Any], name: Name, raw: Raw) -> Iterator[dict[str, Any]]:
    """`choices[].logprobs.content` of a chat completion, entry by entry; special tokens are left out.

    With 128 choices these are 600,000 dicts. They are made one entry at a time, so that Python's garbage collector,
    whose full passes stop every thread, has nothing to count.
    """

    def entry(id: int, logprob: float) -> dict[str, Any]:
        own = raw(id)
        return {"token": name(id), "logprob": finite(logprob), "bytes": None if own is None else list(own)}

    for token in tokens:
        if raw(token.id) is not None:
            top = [entry(id, value) for id, value in token.top]
            yield {**entry(token.id, token.logprob), "top_logprobs": top}


def completion_logprobs(
    tokens: Sequence[Any], offsets: Sequence[int], name: Name, top_n: int
) -> dict[str, Any]:
    """`choices[].logprobs` of a completion: four parallel lists; null where nothing comes before a token.

    `offsets`: the character of the choice's text at which each token begins.
    """
    top = [
        None
        if token.logprob is None
        else {name(id): finite(value) for id, value in (*token.top[:top_n], (token.id, token.logprob))}
        for token in tokens
    ]
    return {
        "tokens": [name(token.id) for token in tokens],
        "token_logprobs": [None if token.logprob is None else finite(token.logprob) for token in tokens],
        "top_logprobs": top,
        "text_offset": list(offsets),
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
    """JSON has no infinity: -9999 takes its place, as in other servers."""
    return logprob if math.isfinite(logprob) else -9999.0
