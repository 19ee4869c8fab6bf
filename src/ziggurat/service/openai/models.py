"""`/v1/models`, and `/tokenize`, `/detokenize`, `/tokenizer_info` at the root, where evaluation harnesses expect them.

`/tokenize` takes raw text: it parses special tokens, as a chat message never does, and begins it as a prompt of
`/v1/completions` begins (`add_special_tokens: false`: not).
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json, large_json
from ziggurat.service.models.shelf import Held
from ziggurat.service.openai.bodies import ModelName, OpenAITurn, to_messages
from ziggurat.service.openai.sampling import TokenId
from ziggurat.service.services import Services


class TokenizeBody(BaseModel):
    """A text, or a conversation as the model receives it."""

    model_config = ConfigDict(extra="allow")

    model: ModelName | None = None
    prompt: str | None = None
    messages: list[OpenAITurn] | None = None
    return_token_strs: bool | None = None
    add_special_tokens: bool | None = None  # vLLM's; for `prompt`


class DetokenizeBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: ModelName | None = None
    tokens: Annotated[list[TokenId], Field(max_length=1_000_000)]


def model_routes(services: Services) -> APIRouter:
    routes = APIRouter()
    shelf, limits = services.shelf, services.limits
    created = int(time.time())

    def described(held: Held[Any]) -> dict[str, Any]:
        card = held.card
        known = {"id": card.name, "object": "model", "created": created, "owned_by": "ziggurat"}
        known |= {"root": card.run or card.name, "parent": None, "max_model_len": card.context}
        return {**known, "stage": card.stage or None, "kind": held.kind}

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        ours = [described(held) for held in shelf.all()]
        return {"object": "list", "data": ours + await services.upstreams.models()}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        far = [found for found in await services.upstreams.models() if found["id"] == name]
        return far[0] if far else described(shelf.find(name))

    @routes.post("/tokenize", **takes(TokenizeBody))
    async def tokenize(request: Request) -> Response:
        body = await read_body(request, TokenizeBody, limits)
        chat = shelf.named_or_first(body.model).worker.chat
        if (body.prompt is None) == (body.messages is None):
            raise ApiError(400, "Give either prompt or messages.", param="prompt")
        messages = None if body.messages is None else to_messages(body.messages, limits)

        def build() -> dict[str, Any]:
            if messages is None:
                ids = chat.raw_ids(body.prompt or "", add_start=body.add_special_tokens is not False)
            else:
                ids = chat.prompt_ids(messages)
            answer = {"tokens": ids, "count": len(ids), "max_model_len": chat.context}
            names = {"token_strs": [chat.token_name(id) for id in ids]} if body.return_token_strs else {}
            return {**answer, **names}

        return await large_json(build)

    @routes.post("/detokenize", **takes(DetokenizeBody))
    async def detokenize(request: Request) -> Response:
        body = await read_body(request, DetokenizeBody, limits)
        chat = shelf.named_or_first(body.model).worker.chat
        return Json({"prompt": await anyio.to_thread.run_sync(lambda: chat.text_of(body.tokens))})

    @routes.get("/tokenizer_info")
    async def tokenizer_info(model: str | None = None) -> dict[str, Any]:
        return shelf.named_or_first(model).worker.chat.tokenizer_info()

    return routes
