"""`POST /v1/embeddings`: texts in, vectors out, as floats or as base64 of little-endian float32.

Lists of token ids are refused: clients that send them (LangChain's) made them with OpenAI's tokenizer, and they would
be nonsense here. The vectors come from a model that was trained to write, not to embed (see `Chat.embed`).
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import JSONResponse, Response

from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.batches import in_batches
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.openai.bodies import ModelName, read_raw
from ziggurat.service.upstream.servers import Upstreams

MAX_INPUTS = 2048

Text = Annotated[str, StringConstraints(min_length=1)]


class EmbeddingBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: ModelName
    input: (
        Text | list[int] | Annotated[list[Text] | list[list[int]], Field(min_length=1, max_length=MAX_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None

    def texts(self) -> list[str]:
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not texts or not all(isinstance(text, str) for text in texts):
            message = "input must be text; with LangChain set check_embedding_ctx_length=False."
            raise ApiError(400, message, param="input")
        return [str(text) for text in texts]


def embedding_routes(shelf: Shelf, limits: Limits, upstreams: Upstreams) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post("/embeddings", **takes(EmbeddingBody))
    async def embeddings(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await upstreams.answer(request, raw)) is not None:
            return far
        body = EmbeddingBody.model_validate_json(raw)
        worker, texts = shelf[body.model].worker, body.texts()
        worker.check_room()
        chat = worker.chat
        rows = await anyio.to_thread.run_sync(lambda: [chat.raw_ids(text) for text in texts])
        vectors = await in_batches(request, worker, rows, chat.embed)
        width = len(vectors[0])
        if body.dimensions not in (None, width):
            message = (
                f"{body.model} has vectors of {width} numbers and cannot shorten them; leave out dimensions."
            )
            raise ApiError(400, message, param="dimensions")
        tokens = sum(map(len, rows))
        data = [
            {"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
            for i, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": usage})

    return routes


def _encoded(vector: list[float], form: str | None) -> Any:
    if form != "base64":
        return vector
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
