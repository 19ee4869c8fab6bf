"""`/v1/responses`: create (whole, streamed or in the background), count input tokens; kept.py has the rest.

Differs from OpenAI's in one default: nothing is kept unless `store: true` asks for it. See store.py for what is kept
and how long, body.py for what is read.
"""

from __future__ import annotations

import json
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ziggurat.engine.params import SamplingParams
from ziggurat.service.access.gate import admit, salt_of
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.protocols import RequestLike
from ziggurat.service.models.shelf import Served, Shelf
from ziggurat.service.openai.bodies import read_raw
from ziggurat.service.openai.responses.body import InputBody, ResponseBody
from ziggurat.service.openai.responses.items import listed, to_conversation
from ziggurat.service.openai.responses.reply import Reply
from ziggurat.service.openai.responses.store import ResponseStore
from ziggurat.service.openai.streams import gather, stream
from ziggurat.service.openai.tools import no_tools
from ziggurat.service.upstream.servers import Upstreams

KEPT_HERE = ("store", "background", "previous_response_id", "conversation")
"""What an upstream cannot be asked for: it knows one key of ours, and would mix up those who ask here."""


def response_routes(shelf: Shelf, limits: Limits, upstreams: Upstreams, store: ResponseStore) -> APIRouter:
    routes = APIRouter(prefix="/v1/responses")

    @routes.post("", **takes(ResponseBody, streams=True))
    async def create(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await upstreams.answer(request, _for_elsewhere(upstreams, raw))) is not None:
            return far
        body = ResponseBody.model_validate_json(raw)
        if (body.max_output_tokens or 0) > limits.max_tokens:
            message = f"max_output_tokens is {body.max_output_tokens}; this server writes at most {limits.max_tokens}."
            raise ApiError(400, message, param="max_output_tokens")
        served = shelf[body.model]
        served.worker.check_room()
        owner, items = salt_of(request), listed(body.input)
        params = body.params(
            limits,
            max_tokens=body.max_output_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else 0,
            cache_salt=owner,
        )
        before = store.conversation(owner, body.previous_response_id)
        prepared = await _prepare(body, served, [*before, *items], params, limits)
        (ticket,) = admit(request, served, [prepared])
        reply = Reply(body, served.worker.chat, ticket)
        if body.store:
            store.keep(owner, reply, items)
        if body.background:
            store.write(reply)
            return JSONResponse(reply.as_json())
        try:
            return await _answer(request, reply, limits)
        except BaseException:
            store.forget(reply.id)  # its client never heard of it
            raise

    @routes.post("/input_tokens", **takes(InputBody))
    async def input_tokens(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await upstreams.answer(request, _for_elsewhere(upstreams, raw))) is not None:
            return far
        body = InputBody.model_validate_json(raw)
        served = shelf[body.model]
        before = store.conversation(salt_of(request), body.previous_response_id)
        items = [*before, *listed(body.input)]
        prepared = await _prepare(body, served, items, SamplingParams(), limits)
        return JSONResponse({"object": "response.input_tokens", "input_tokens": len(prepared.ids)})

    return routes


async def _prepare(
    body: InputBody, served: Served, items: list[dict[str, Any]], params: SamplingParams, limits: Limits
) -> RequestLike:
    tools, form, chat = body.choice.shown(body.functions), body.form(), served.worker.chat
    if tools and body.choice.mode != "required" and not chat.uses_tools:
        raise no_tools(body.model)
    messages = to_conversation(body.instructions, items, limits)
    stops = body.stops if isinstance(body, ResponseBody) else []
    fit = body.truncation == "auto"
    return await anyio.to_thread.run_sync(
        lambda: chat.prepare(messages, params, stop=stops, fit=fit, tools=tools, form=form)
    )


async def _answer(request: Request, reply: Reply, limits: Limits) -> Response:
    if not reply.body.stream:
        (reply.tally,) = await gather(request, [reply.ticket])
        reply.end()
        return JSONResponse(reply.as_json())
    answer = await stream(
        request,
        reply.ticket,
        pieces=reply.pieces,
        tail=reply.tail,
        failed=reply.failed,
        keepalive_s=limits.keepalive_s,
    )
    _end_with_its_client(reply)
    return answer


def _for_elsewhere(upstreams: Upstreams, raw: bytes) -> bytes:
    """A body as an upstream may have it, with `store: false` said aloud; one for us as it is."""
    far = upstreams.of(raw)
    if far is None:
        return raw
    _, body = far
    for name in KEPT_HERE:
        if body.get(name):
            message = (
                f"{name} is not there for models of another server; send the whole conversation as input."
            )
            raise ApiError(400, message, param=name)
    return json.dumps({**body, "store": False}).encode()


def _end_with_its_client(reply: Reply) -> None:
    """A stream that its client left is cancelled, for those who read it later too."""
    before = reply.ticket.on_end

    def ended(tokens: int) -> None:
        if before is not None:
            before(tokens)
        reply.end(cancelled=True)

    reply.ticket.on_end = ended
