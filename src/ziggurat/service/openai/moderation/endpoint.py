"""`POST /v1/moderations`: texts in, OpenAI's thirteen categories out, judged by the layers that the operator gave.

One text or a list of texts gives one result each; a list of parts is one text. Images are refused. A server without
layers has no such endpoint: a `false` that nobody stood behind would be worse than none.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.openai.bodies import read_raw
from ziggurat.service.openai.moderation.judges import Judge, Moderator
from ziggurat.service.upstream.servers import Upstreams

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
    if any(part.get("type") != "text" for part in given):
        raise ValueError("only parts of type text can be judged; images cannot")
    return ["\n".join(TextPart.model_validate(part).text for part in given)]


Texts = Annotated[
    list[str],
    Field(min_length=1, max_length=MAX_INPUTS),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str] | list[TextPart]),
]


class ModerationBody(BaseModel):
    """`model` names one of an upstream, or is left unread: there is one way to judge here."""

    model_config = ConfigDict(extra="allow")

    input: Texts
    model: str | None = None


def moderator_of(patterns: Path | None = None, classifier: Path | None = None) -> Moderator:
    """The layers that an operator gave; files that cannot be used are an error here and now."""
    judges: list[Judge] = []
    if patterns is not None:
        from ziggurat.service.openai.moderation.patterns import PatternFile  # it brings pyarrow

        judges.append(PatternFile(patterns))
    if classifier is not None:
        from ziggurat.service.openai.moderation.classifier import Classifier

        judges.append(Classifier.load(classifier))
    return Moderator(judges)


def moderation_routes(moderator: Moderator, limits: Limits, upstreams: Upstreams) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post("/moderations", **takes(ModerationBody))
    async def moderations(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await upstreams.answer(request, raw)) is not None:
            return far
        body = ModerationBody.model_validate_json(raw)
        if not moderator.judges:
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
        results, not_judged = await anyio.to_thread.run_sync(lambda: moderator.judge(body.input))
        told: dict[str, Any] = {"id": f"modr-{secrets.token_hex(12)}", "model": moderator.name}
        return JSONResponse({**told, "results": results, "not_judged": not_judged})

    return routes
