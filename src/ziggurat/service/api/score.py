"""`POST /score`: a reward model's scores of answers, in the shape of vLLM's endpoint of that name.

    {"model": "my/reward-1", "text_1": "Where does Ms Mira live?", "text_2": ["By the canal.", "I cannot say."]}

`text_1` is the user's message and `text_2` the answer: one question with many answers, or one question for each answer.
Instead of `text_1`, `messages` is one conversation for all answers, or a list of conversations. Scores have the unit of
PPO's rewards: higher is better, demonstrations have mean 0, samples of the stage-2 model have standard deviation 1.
Scores of two models cannot be compared.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, Tag, model_validator
from starlette.responses import Response

from ziggurat.records import Message
from ziggurat.service.access.batches import in_batches
from ziggurat.service.http.body import one_of
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.openai.bodies import ModelName, OpenAITurn, to_messages
from ziggurat.service.services import Services

MAX_PAIRS = 128

Texts = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[str], Tag("<list of texts>")],
    one_of("a text or a list of texts"),
]
Conversation = Annotated[list[OpenAITurn], Field(min_length=1)]
Conversations = Annotated[
    Annotated[Conversation, Tag("<list of objects>")] | Annotated[list[Conversation], Tag("<list of lists>")],
    one_of("a list of messages or a list of such lists"),
]


class ScoreBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: ModelName
    text_1: Texts | None = None
    messages: Conversations | None = None
    text_2: Texts

    @model_validator(mode="after")
    def _pairs(self) -> ScoreBody:
        if (self.text_1 is None) == (self.messages is None):
            raise ValueError("give either text_1 or messages, with the answers in text_2")
        if (self.model_extra or {}).get("truncate_prompt_tokens") is not None:
            raise ValueError(
                "truncate_prompt_tokens is not supported here, as half an answer has another score"
            )
        asked, answers = len(self.questions()), len(self.answers())
        if not 1 <= answers <= MAX_PAIRS:
            raise ValueError(f"text_2 has {answers} answers; 1 to {MAX_PAIRS} are allowed")
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
        """Each conversation with the answer to be scored at its end."""
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


def score_routes(services: Services) -> APIRouter:
    routes = APIRouter()

    @routes.post("/score", **takes(ScoreBody))
    @routes.post("/v1/score", **takes(ScoreBody))
    async def score(request: Request) -> Response:
        body = await services.read(request, ScoreBody)
        if isinstance(body, Response):
            return body
        held = services.shelf.judge(body.model)
        held.worker.check_room()
        judge, pairs = held.worker.chat, body.pairs(services.limits)
        rows = await anyio.to_thread.run_sync(lambda: judge.rows(pairs))
        scores = await in_batches(request, held.worker, rows, judge.score)
        tokens = sum(map(len, rows))
        answer: dict[str, Any] = {
            "id": f"score-{secrets.token_hex(12)}",
            "object": "list",
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": held.fingerprint,
            "data": [{"index": i, "object": "score", "score": one} for i, one in enumerate(scores)],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }
        return Json(answer)

    return routes
