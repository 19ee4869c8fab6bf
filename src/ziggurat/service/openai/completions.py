"""`POST /v1/completions`: raw text or ids in, the continuation out; with `echo` and `logprobs`, the prompt's scores.

A prompt of ids is used unchanged. In a prompt of text special tokens are parsed, as evaluation harnesses need it, and
it begins as the model's own tokenizer begins a text: with bos for LLaMA and its kin, once, unless `add_special_tokens`
is false (vLLM's field). An empty text stands for the beginning of a document. With `max_tokens` 0 and `echo` nothing is
written: the prompt is scored. `prompt_logprobs` returns the same scores in vLLM's shape.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import Field, Tag, model_validator
from starlette.responses import Response

from ziggurat.records import Message
from ziggurat.service.access.caller import caller
from ziggurat.service.guarded import examined, let_in
from ziggurat.service.http.body import one_of
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import DONE, event, large_json
from ziggurat.service.models.shelf import Served
from ziggurat.service.openai.logprobs import completion_logprobs, prompt_logprobs
from ziggurat.service.openai.sampling import SamplingBody, TokenId
from ziggurat.service.openai.streams import Choice, Tally, gather, stream
from ziggurat.service.services import Services

if TYPE_CHECKING:
    from ziggurat.dialogue.desk import Delta
    from ziggurat.dialogue.desk import Request as Asked

MAX_PROMPTS = 128
DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""

Ids = Annotated[list[TokenId], Field(min_length=1)]
Several = Field(min_length=1, max_length=MAX_PROMPTS)
Prompt = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[Ids, Tag("<list of numbers>")]
    | Annotated[list[str], Several, Tag("<list of texts>")]
    | Annotated[list[Ids], Several, Tag("<list of lists>")],
    one_of("a text, a list of texts, a list of token ids, or a list of such lists"),
]


class CompletionBody(SamplingBody):
    prompt: Prompt = ""
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    add_special_tokens: bool | None = None  # vLLM's

    @model_validator(mode="after")
    def _fits_together(self) -> CompletionBody:
        if self.suffix:
            raise ValueError("suffix is not supported: these models only continue a text")
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError(f"best_of is {self.best_of} and n {self.n}; it cannot be smaller")
        if self.best_of is not None and self.stream and self.best_of > (self.n or 1):
            raise ValueError(
                "best_of cannot be streamed: the best answer is known only when all are complete"
            )
        if self.stream and self.echo:
            raise ValueError("echo cannot be streamed; leave one of them out")
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise ValueError("max_tokens is 0; set echo or prompt_logprobs, else the answer is empty")
        return self

    @property
    def prompt_tops(self) -> int | None:
        """Alternatives for each token of the prompt, the larger of both requests; None: the prompt is not scored."""
        asked = [self.prompt_logprobs, self.logprobs if self.echo else None]
        return max((n for n in asked if n is not None), default=None)

    @property
    def only_scores(self) -> bool:
        """Whether it asks for the scores of its prompt, as evaluation harnesses do: nothing that anybody reads."""
        return self.max_tokens == 0 or (self.prompt_tops is not None and (self.max_tokens or 16) <= 1)

    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [list(self.prompt)]
        return list(self.prompt)


def completion_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/v1")
    limits = services.limits

    @routes.post("/completions", **takes(CompletionBody, streams=True))
    async def completions(request: Request) -> Response:
        body = await services.read(request, CompletionBody)
        if isinstance(body, Response):
            return body
        served = services.shelf[body.model]
        served.worker.check_room()
        chat, prompts = served.worker.chat, body.prompts()
        if body.stream and len(prompts) > 1:
            raise ApiError(
                400,
                "stream is true and prompt has several prompts; only one prompt can be streamed.",
                param="prompt",
            )
        wanted = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
        params = body.params(
            limits,
            max_tokens=max(wanted, 1),
            logprobs=body.logprobs or 0,
            prompt_logprobs=body.prompt_tops,
            n=body.best_of,
            prompts=len(prompts),
            cache_salt=caller(request).salt,
        )
        form = body.form()
        prepared = await anyio.to_thread.run_sync(
            lambda: [
                chat.prepare_raw(
                    prompt,
                    params,
                    stop=body.stops,
                    last=body.truncate_prompt_tokens,
                    form=form,
                    add_start=body.add_special_tokens is not False,
                )
                for prompt in prompts
            ]
        )
        examining = services.guard is not None and not body.only_scores
        texts = (
            [one if isinstance(one, str) else chat.spelled(one)[0] for one in prompts] if examining else ()
        )
        asked = [await examined(services, [Message(role="user", content=text)]) for text in texts]
        tickets = let_in(
            request, services, served, prepared, asked or [None] * len(prompts), whole=not body.stream
        )
        shape = _Shape(body, served, prepared, scores_only=wanted == 0)
        if not body.stream:
            tallies = await gather(request, tickets)
            return await large_json(lambda: shape.whole(tallies))
        return await stream(
            request, tickets[0], pieces=shape.pieces, tail=shape.tail, keepalive_s=limits.keepalive_s
        )

    return routes


class _Shape:
    """The answer to one request, as JSON."""

    def __init__(
        self, body: CompletionBody, served: Served, prompts: Sequence[Asked], *, scores_only: bool
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
        pairs = zip(self.prompts, tallies, strict=True)
        best = [(asked, choice) for asked, tally in pairs for choice in self._best(tally)]
        choices = (self._choice(i, asked, choice) for i, (asked, choice) in enumerate(best))
        usage = {key: sum(tally.usage()[key] for tally in tallies) for key in tallies[0].usage()}
        if self.scores_only:
            usage.update(completion_tokens=0, total_tokens=usage["prompt_tokens"])
        return {**self.common, "choices": choices, "usage": usage}

    def _best(self, tally: Tally) -> list[Choice]:
        """All choices; with `best_of` the `n` with the highest mean log-probability a token."""
        choices = [tally.choices[index] for index in sorted(tally.choices)]
        if self.body.best_of is None:
            return choices
        ranked = sorted(
            choices,
            key=lambda c: (c.guard is not None, -sum(t.logprob for t in c.tokens) / max(len(c.tokens), 1)),
        )
        return ranked[: self.body.n or 1]

    def _choice(self, index: int, asked: Asked, choice: Choice) -> dict[str, Any]:
        text, tokens = choice.text, choice.tokens
        if self.scores_only:
            text, tokens = "", []
        before, starts = "", list[int]()
        if self.body.echo:
            before, starts = self.chat.spelled(asked.ids[asked.added :])
            starts = [0] * asked.added + starts
        logprobs = None
        if self.body.logprobs is not None:
            scored = choice.prompt if self.body.echo else []
            offsets = [*starts, *(len(before) + min(token.start, len(text)) for token in tokens)]
            logprobs = completion_logprobs(
                [*scored, *tokens], offsets, self.chat.token_name, self.body.logprobs
            )
        answer = {"text": before + text, "index": index, "logprobs": logprobs, "finish_reason": choice.finish}
        if choice.guard is not None:
            answer["guard"] = choice.guard
        if self.body.return_token_ids:
            answer["token_ids"] = [token.id for token in tokens]
        if self.body.prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs(
                choice.prompt, self.chat.token_name, self.body.prompt_logprobs
            )
        return answer

    def pieces(self, delta: Delta, tally: Tally) -> Iterator[bytes]:
        logprobs = None
        if self.body.logprobs is not None:
            choice = tally.choices[delta.choice]
            tokens = choice.take() if delta.finish is None else choice.rest()
            offsets = [min(token.start, len(choice.text)) for token in tokens]
            logprobs = completion_logprobs(tokens, offsets, self.chat.token_name, self.body.logprobs)
        if delta.text or (logprobs and logprobs["tokens"]) or delta.finish:
            piece: dict[str, Any] = {
                "text": delta.text,
                "index": delta.choice,
                "logprobs": logprobs,
                "finish_reason": delta.finish,
            }
            if delta.finish and (guard := tally.choices[delta.choice].guard) is not None:
                piece["guard"] = guard
            usage = self.body.usage_of_piece(tally, len(self.prompts[0].ids))
            yield event({**self.common, "choices": [piece], **usage})

    def tail(self, tally: Tally) -> Iterator[bytes]:
        if self.body.wants_usage:
            yield event({**self.common, "choices": [], "usage": tally.usage()})
        yield DONE
