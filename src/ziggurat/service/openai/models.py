"""What there is, and in which tokens it thinks: `/v1/models`, and `/tokenize`, `/detokenize`, `/tokenizer_info`.

The latter three stand at the server's root, where evaluation harnesses look for them. They are for raw text: special
tokens are parsed, as nowhere else (a chat message can never hold one).
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.shelf import Judging, Served, Shelf
from ziggurat.service.openai.bodies import ModelName, OpenAITurn, read_body, to_messages
from ziggurat.service.openai.sampling import TokenId
from ziggurat.service.upstream.servers import Upstreams


class TokenizeBody(BaseModel):
    """A text, or a conversation as the model would be given it."""

    model_config = ConfigDict(extra="allow")

    model: ModelName | None = None
    prompt: str | None = None
    messages: list[OpenAITurn] | None = None
    return_token_strs: bool | None = None


class DetokenizeBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: ModelName | None = None
    tokens: Annotated[list[TokenId], Field(max_length=1_000_000)]


def model_routes(shelf: Shelf, limits: Limits, upstreams: Upstreams) -> APIRouter:
    routes = APIRouter()
    created = int(time.time())

    def described(held: Served | Judging) -> dict[str, Any]:
        card, judges = held.card, shelf.judges(held.card.name)
        known = {"id": card.name, "object": "model", "created": created, "owned_by": "ziggurat"}
        known |= {"root": card.run or card.name, "parent": None, "max_model_len": card.context}
        return {**known, "stage": card.stage or None, "kind": "reward_model" if judges else "language_model"}

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        ours = [described(held) for held in shelf.all()]
        return {"object": "list", "data": ours + await upstreams.models()}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        far = [found for found in await upstreams.models() if found["id"] == name]
        return far[0] if far else described(shelf.find(name))

    @routes.post("/tokenize", **takes(TokenizeBody))
    async def tokenize(request: Request) -> JSONResponse:
        body = await read_body(request, TokenizeBody, limits)
        chat = shelf.named_or_first(body.model).worker.chat
        if (body.prompt is None) == (body.messages is None):
            raise ApiError(400, "give either prompt or messages.", param="prompt")
        if body.messages is not None:
            messages = to_messages(body.messages, limits)
            ids = await anyio.to_thread.run_sync(lambda: chat.prompt_ids(messages))
        else:
            text = body.prompt or ""
            ids = await anyio.to_thread.run_sync(lambda: chat.raw_ids(text))
        told: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": chat.context}
        if body.return_token_strs:
            told["token_strs"] = [chat.token_name(id) for id in ids]
        return JSONResponse(told)

    @routes.post("/detokenize", **takes(DetokenizeBody))
    async def detokenize(request: Request) -> JSONResponse:
        body = await read_body(request, DetokenizeBody, limits)
        chat = shelf.named_or_first(body.model).worker.chat
        return JSONResponse({"prompt": await anyio.to_thread.run_sync(lambda: chat.text_of(body.tokens))})

    @routes.get("/tokenizer_info")
    async def tokenizer_info(model: str | None = None) -> dict[str, Any]:
        return shelf.named_or_first(model).worker.chat.tokenizer_info()

    return routes
