"""`POST /v1/completions`: raw text or ids in, what follows out; with `echo` and `logprobs`, the prompt's own scores.

A prompt of ids is taken as it is: nothing is put before it, nothing dropped. In a prompt of text special tokens are
parsed, as evaluation harnesses need it; an empty one is the end of a document. With `max_tokens` 0 and `echo` nothing
is written: the prompt is scored. `prompt_logprobs` gives the same scores in vLLM's shape.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import Field, model_validator
from starlette.responses import JSONResponse, Response

from ziggurat.service.access.gate import admit, salt_of
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.protocols import DeltaLike
from ziggurat.service.models.shelf import Served, Shelf
from ziggurat.service.openai.bodies import read_raw
from ziggurat.service.openai.logprobs import completion_logprobs, prompt_logprobs
from ziggurat.service.openai.sampling import SamplingBody, TokenId
from ziggurat.service.openai.streams import DONE, Choice, Tally, event, gather, stream
from ziggurat.service.upstream.servers import Upstreams

MAX_PROMPTS = 128
DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""

Ids = Annotated[list[TokenId], Field(min_length=1)]


class CompletionBody(SamplingBody):
    prompt: str | Ids | Annotated[list[str] | list[Ids], Field(min_length=1, max_length=MAX_PROMPTS)] = ""
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionBody:
        if self.suffix:
            raise ValueError("suffix is not supported: these models write forwards only")
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError(f"best_of is {self.best_of} and n {self.n}; it cannot be smaller")
        if self.best_of is not None and self.stream and self.best_of > (self.n or 1):
            raise ValueError("best_of cannot be streamed; the best is known when all are whole")
        if self.stream and self.echo:
            raise ValueError("echo cannot be streamed; leave one of them out")
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise ValueError("max_tokens is 0 and echo is not set; there would be nothing to answer")
        return self

    @property
    def prompt_tops(self) -> int | None:
        """Alternatives for each token of the prompt, for whichever asks for more; None: no scores."""
        asked = [self.prompt_logprobs, self.logprobs if self.echo else None]
        return max((n for n in asked if n is not None), default=None)

    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [list(self.prompt)]
        return list(self.prompt)


def completion_routes(shelf: Shelf, limits: Limits, upstreams: Upstreams) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post("/completions", **takes(CompletionBody, streams=True))
    async def completions(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await upstreams.answer(request, raw)) is not None:
            return far
        body = CompletionBody.model_validate_json(raw)
        served = shelf[body.model]
        served.worker.check_room()
        chat, prompts = served.worker.chat, body.prompts()
        if body.stream and len(prompts) > 1:
            raise ApiError(400, "one prompt at a time can be streamed.", param="prompt")
        wanted = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
        params = body.params(
            limits,
            max_tokens=max(wanted, 1),
            logprobs=body.logprobs or 0,
            prompt_logprobs=body.prompt_tops,
            n=body.best_of,
            prompts=len(prompts),
            cache_salt=salt_of(request),
        )
        form = body.form()
        prepared = await anyio.to_thread.run_sync(
            lambda: [
                chat.prepare_raw(prompt, params, stop=body.stops, last=body.truncate_prompt_tokens, form=form)
                for prompt in prompts
            ]
        )
        tickets = admit(request, served, prepared)
        shape = _Shape(body, served, [list(one.ids) for one in prepared], scores_only=wanted == 0)
        if not body.stream:
            return JSONResponse(shape.whole(await gather(request, tickets)))
        return await stream(
            request, tickets[0], pieces=shape.pieces, tail=shape.tail, keepalive_s=limits.keepalive_s
        )

    return routes


class _Shape:
    """The answer to one request, as JSON."""

    def __init__(
        self, body: CompletionBody, served: Served, prompts: list[list[int]], *, scores_only: bool
    ) -> None:
        self.body, self.chat, self.prompts, self.scores_only = body, served.worker.chat, prompts, scores_only
        self.common = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": served.fingerprint,
        }

    def whole(self, tallies: list[Tally]) -> dict[str, Any]:
        """Choices of the first prompt, then of the second, ..."""
        choices: list[dict[str, Any]] = []
        for prompt, tally in zip(self.prompts, tallies, strict=True):
            for choice in self._best(tally):
                choices.append(self._choice(len(choices), prompt, choice))
        usage = {key: sum(tally.usage()[key] for tally in tallies) for key in tallies[0].usage()}
        if self.scores_only:
            usage.update(completion_tokens=0, total_tokens=usage["prompt_tokens"])
        return {**self.common, "choices": choices, "usage": usage}

    def _best(self, tally: Tally) -> list[Choice]:
        """All, or the `n` likeliest a token of `best_of`."""
        choices = [tally.choices[index] for index in sorted(tally.choices)]
        if self.body.best_of is None:
            return choices
        ranked = sorted(choices, key=lambda c: -sum(t.logprob for t in c.tokens) / max(len(c.tokens), 1))
        return ranked[: self.body.n or 1]

    def _choice(self, index: int, prompt: list[int], choice: Choice) -> dict[str, Any]:
        text, tokens = choice.text, choice.tokens
        if self.scores_only:
            text, tokens = "", []
        before, starts = self.chat.spelled(prompt) if self.body.echo else ("", [])
        logprobs = None
        if self.body.logprobs is not None:
            scored = choice.prompt if self.body.echo else []
            offsets = [*starts, *(len(before) + min(token.start, len(text)) for token in tokens)]
            logprobs = completion_logprobs(
                [*scored, *tokens], offsets, self.chat.token_name, self.body.logprobs
            )
        shown = {"text": before + text, "index": index, "logprobs": logprobs, "finish_reason": choice.finish}
        if self.body.return_token_ids:
            shown["token_ids"] = [token.id for token in tokens]
        if self.body.prompt_logprobs is not None:
            shown["prompt_logprobs"] = prompt_logprobs(
                choice.prompt, self.chat.token_name, self.body.prompt_logprobs
            )
        return shown

    def pieces(self, delta: DeltaLike, tally: Tally) -> Iterator[bytes]:
        logprobs = None
        if self.body.logprobs is not None:
            choice = tally.choices[delta.choice]
            tokens = choice.take() if delta.finish is None else choice.rest()
            offsets = [min(token.start, len(choice.text)) for token in tokens]
            logprobs = completion_logprobs(tokens, offsets, self.chat.token_name, self.body.logprobs)
        if delta.text or (logprobs and logprobs["tokens"]) or delta.finish:
            piece = {
                "text": delta.text,
                "index": delta.choice,
                "logprobs": logprobs,
                "finish_reason": delta.finish,
            }
            usage = self.body.usage_of_piece(tally, len(self.prompts[0]))
            yield event({**self.common, "choices": [piece], **usage})

    def tail(self, tally: Tally) -> Iterator[bytes]:
        if self.body.wants_usage:
            yield event({**self.common, "choices": [], "usage": tally.usage()})
        yield DONE
