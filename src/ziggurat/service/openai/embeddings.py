"""`POST /v1/embeddings`: texts in, vectors out, as floats or as base64 of little-endian float32.

By an embedding model (`ziggurat models get minilm`), or by a language model, which was trained to write (see
`Chat.embed`). A text stays text: `<|end|>` in it is seven characters and not a special token. It begins with bos
where the model's own tokenizer begins a text with it. Token ids are refused: clients that send them (LangChain's) use
OpenAI's tokenizer.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, Tag
from starlette.responses import Response

from ziggurat.service.access.batches import in_batches
from ziggurat.service.http.body import one_of
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import large_json
from ziggurat.service.models.shelf import Embedding
from ziggurat.service.openai.bodies import ModelName
from ziggurat.service.services import Services

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat

MAX_INPUTS = 2048

Text = Annotated[str, StringConstraints(min_length=1)]
Input = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS), Tag("<list of texts>")],
    one_of("a text or a list of texts; with LangChain set check_embedding_ctx_length=False"),
]


class EmbeddingBody(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: ModelName
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


def embedding_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post("/embeddings", **takes(EmbeddingBody))
    async def embeddings(request: Request) -> Response:
        body = await services.read(request, EmbeddingBody)
        if isinstance(body, Response):
            return body
        worker = services.shelf.embedder(body.model).worker
        texts = [body.input] if isinstance(body.input, str) else body.input
        worker.check_room()
        model: Chat | Embedding = worker.chat
        rows = await anyio.to_thread.run_sync(lambda: [model.text_ids(text) for text in texts])
        embed = model.embed_rows if isinstance(model, Embedding) else model.embed
        vectors = await in_batches(request, worker, rows, embed)
        width = len(vectors[0])
        if body.dimensions not in (None, width):
            message = f"dimensions is {body.dimensions}; vectors of {body.model} have {width} numbers. Leave it out."
            raise ApiError(400, message, param="dimensions")
        tokens = sum(map(len, rows))

        def build() -> dict[str, Any]:
            data = (
                {"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
                for i, vector in enumerate(vectors)
            )
            usage = {"prompt_tokens": tokens, "total_tokens": tokens}
            return {"object": "list", "data": data, "model": body.model, "usage": usage}

        return await large_json(build)

    return routes


def _encoded(vector: list[float], form: str | None) -> Any:
    if form != "base64":
        return vector
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
