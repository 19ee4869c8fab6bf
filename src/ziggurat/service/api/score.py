"""`POST /score`: what a reward model thinks of answers, in the shape of vLLM's endpoint of that name.

    {"model": "town/reward-1", "text_1": "Where does Ms Mira live?", "text_2": ["By the canal.", "I cannot say."]}

`text_1` is what a user said and `text_2` what was answered: one question with many answers, or as many of one as of the
other. Instead of `text_1`, `messages` holds one conversation for all answers, or a list of conversations. Scores are
rewards in the units that PPO reads: higher is better, demonstrations are 0 on average, samples of the stage-2 model
have deviation 1, and only scores of one model can be compared.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse, Response

from ziggurat.records import Message
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.batches import in_batches
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.openai.bodies import ModelName, OpenAITurn, read_raw, to_messages
from ziggurat.service.upstream.servers import Upstreams

MAX_PAIRS = 128

Texts = str | list[str]
Conversation = Annotated[list[OpenAITurn], Field(min_length=1)]


class ScoreBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: ModelName
    text_1: Texts | None = None
    messages: Conversation | list[Conversation] | None = None
    text_2: Texts

    @model_validator(mode="after")
    def _pairs(self) -> ScoreBody:
        if (self.text_1 is None) == (self.messages is None):
            raise ValueError("give either text_1 or messages, with the answers in text_2")
        if (self.model_extra or {}).get("truncate_prompt_tokens") is not None:
            raise ValueError("truncate_prompt_tokens is not supported here: half an answer has another score")
        asked, answers = len(self.questions()), len(self.answers())
        if not 1 <= answers <= MAX_PAIRS:
            raise ValueError(f"text_2 has {answers} answers; 1 to {MAX_PAIRS} are scored at once")
        if asked not in (1, answers):
            raise ValueError(f"there are {asked} questions and {answers} answers; give one, or one each")
        return self

    def questions(self) -> list[list[OpenAITurn]]:
        if self.messages is not None:
            return [turns for turns in self.messages if isinstance(turns, list)] or [
                [turn for turn in self.messages if isinstance(turn, OpenAITurn)]
            ]
        texts = [self.text_1] if isinstance(self.text_1, str) else self.text_1 or []
        return [[OpenAITurn(role="user", content=text)] for text in texts]

    def answers(self) -> list[str]:
        return [self.text_2] if isinstance(self.text_2, str) else self.text_2

    def pairs(self, limits: Limits) -> list[list[Message]]:
        """Conversations that end on the answer to be scored."""
        answers = self.answers()
        for number, answer in enumerate(answers):
            if len(answer) > limits.max_message_chars:
                message = f"text_2.{number} has {len(answer)} characters; at most {limits.max_message_chars} are read."
                raise ApiError(400, message, param=f"text_2.{number}")
        asked = [to_messages(turns, limits) for turns in self.questions()]
        asked = asked * len(answers) if len(asked) == 1 else asked
        return [
            [*messages, Message(role="assistant", content=answer)]
            for messages, answer in zip(asked, answers, strict=True)
        ]


def score_routes(shelf: Shelf, limits: Limits, upstreams: Upstreams) -> APIRouter:
    routes = APIRouter()

    @routes.post("/score", **takes(ScoreBody))
    @routes.post("/v1/score", **takes(ScoreBody))
    async def score(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await upstreams.answer(request, raw)) is not None:
            return far
        body = ScoreBody.model_validate_json(raw)
        held = shelf.judge(body.model)
        held.worker.check_room()
        judge, pairs = held.worker.chat, body.pairs(limits)
        rows = await anyio.to_thread.run_sync(lambda: judge.rows(pairs))
        scores = await in_batches(request, held.worker, rows, judge.score)
        tokens = sum(map(len, rows))
        told: dict[str, Any] = {
            "id": f"score-{secrets.token_hex(12)}",
            "object": "list",
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": held.fingerprint,
            "data": [{"index": i, "object": "score", "score": one} for i, one in enumerate(scores)],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }
        return JSONResponse(told)

    return routes
