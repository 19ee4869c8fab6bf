"""`POST /v1/moderations`: texts in, OpenAI's thirteen categories out, judged by the operator's layers.

One text or a list of texts gives one result each; a list of parts is one text. Images are refused. A server without
layers answers 404: a `false` without any examination would mislead.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.services import Services

MAX_INPUTS = 256


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


def _as_list(given: object) -> object:
    """One text as a list of one, and a list of parts as one text."""
    if isinstance(given, str):
        return [given]
    if not (isinstance(given, list) and given and all(isinstance(part, dict) for part in given)):
        return given
    if any(part.get("type") != "text" or not isinstance(part.get("text"), str) for part in given):
        raise ValueError("only parts of type text can be judged; images cannot")
    return ["\n".join(part["text"] for part in given)]


Texts = Annotated[
    list[str],
    Field(min_length=1, max_length=MAX_INPUTS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str] | list[TextPart]),
]


class ModerationBody(BaseModel):
    """`model` names a model of an upstream; any other value is ignored, as the layers here have no names."""

    model_config = ConfigDict(extra="allow")

    input: Texts
    model: str | None = None


def moderation_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/v1")
    moderator, limits = services.moderator, services.limits

    @routes.post("/moderations", **takes(ModerationBody))
    async def moderations(request: Request) -> Response:
        body = await services.read(request, ModerationBody)
        if isinstance(body, Response):
            return body
        if not moderator.layers:
            message = (
                "This server judges no texts; start it with --moderation-patterns FILE or "
                "--moderation-classifier FOLDER."
            )
            raise ApiError(404, message, code="moderation_not_configured")
        for number, text in enumerate(body.input):
            if len(text) > limits.max_message_chars:
                message = (
                    f"input {number} has {len(text)} characters; at most {limits.max_message_chars} are read."
                )
                raise ApiError(400, message, param="input")
        results, not_judged = await anyio.to_thread.run_sync(lambda: moderator.classify(body.input))
        answer: dict[str, Any] = {"id": f"modr-{secrets.token_hex(12)}", "model": moderator.name}
        return Json({**answer, "results": results, "not_judged": not_judged})

    return routes
