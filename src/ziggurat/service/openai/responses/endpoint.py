"""`/v1/responses`: create (at once, streamed or in the background) and count input tokens; kept.py has the rest.

One default differs from OpenAI's: a response is stored only with `store: true`. `models/response_store.py` describes
what is stored and for how long, body.py which fields are read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.access.caller import caller
from ziggurat.service.guarded import examined, let_in
from ziggurat.service.http.body import parse, read_raw
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json, large_json
from ziggurat.service.models.shelf import Served
from ziggurat.service.openai.responses.body import InputBody, ResponseBody
from ziggurat.service.openai.responses.items import listed, to_conversation
from ziggurat.service.openai.responses.reply import Reply
from ziggurat.service.openai.streams import gather, stream
from ziggurat.service.services import Services
from ziggurat.service.upstream.servers import Upstreams

if TYPE_CHECKING:
    from ziggurat.dialogue import desk

KEPT_HERE = ("store", "background", "previous_response_id", "conversation")
"""Refused for an upstream: it knows this server by one key, and would mix up our callers' responses."""


def response_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/v1/responses")
    shelf, limits, store = services.shelf, services.limits, services.responses

    @routes.post("", **takes(ResponseBody, streams=True))
    async def create(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await _answer_from_upstream(request, services.upstreams, raw)) is not None:
            return far
        body = parse(ResponseBody, raw)
        if (body.max_output_tokens or 0) > limits.max_tokens:
            message = f"max_output_tokens is {body.max_output_tokens}; this server writes at most {limits.max_tokens}."
            raise ApiError(400, message, param="max_output_tokens")
        served = shelf[body.model]
        served.worker.check_room()
        owner, items = caller(request).salt, listed(body.input)
        params = body.params(
            limits,
            max_tokens=body.max_output_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else 0,
            cache_salt=owner,
        )
        before = store.conversation(owner, body.previous_response_id)
        messages = to_conversation(body.instructions, [*before, *items], limits)
        prepared = await _prepare(body, served, messages, params)
        asked = await examined(services, messages)
        (ticket,) = let_in(request, services, served, [prepared], [asked], whole=not body.stream)
        reply = Reply(body, served.worker.chat, ticket)
        if body.store:
            store.keep(owner, reply, items)
        if body.background:
            store.write(reply)
            return Json(reply.as_json())
        try:
            return await _answer(request, reply, limits)
        except BaseException:
            store.forget(reply.id)  # its client does not know the id
            raise

    @routes.post("/input_tokens", **takes(InputBody))
    async def input_tokens(request: Request) -> Response:
        raw = await read_raw(request, limits)
        if (far := await _answer_from_upstream(request, services.upstreams, raw)) is not None:
            return far
        body = parse(InputBody, raw)
        served = shelf[body.model]
        before = store.conversation(caller(request).salt, body.previous_response_id)
        items = [*before, *listed(body.input)]
        messages = to_conversation(body.instructions, items, limits)
        prepared = await _prepare(body, served, messages, SamplingParams())
        return Json({"object": "response.input_tokens", "input_tokens": len(prepared.ids)})

    return routes


async def _prepare(
    body: InputBody, served: Served, messages: list[Message], params: SamplingParams
) -> desk.Request:
    chat, form = served.worker.chat, body.form()
    tools = body.choice.shown_by(chat, body.model, body.functions)
    stops = body.stops if isinstance(body, ResponseBody) else []
    fit = body.truncation == "auto"
    return await anyio.to_thread.run_sync(
        lambda: chat.prepare(messages, params, stop=stops, fit=fit, tools=tools, form=form)
    )


async def _answer(request: Request, reply: Reply, limits: Limits) -> Response:
    if not reply.body.stream:
        (reply.tally,) = await gather(request, [reply.ticket])
        await reply.finish()
        return await large_json(reply.as_json)
    answer = await stream(
        request,
        reply.ticket,
        pieces=reply.pieces,
        tail=reply.tail,
        failed=reply.failed,
        keepalive_s=limits.keepalive_s,
    )
    _cancel_with_client(reply)
    return answer


async def _answer_from_upstream(request: Request, upstreams: Upstreams, raw: bytes) -> Response | None:
    """The upstream's answer, with `store: false` set for it; None if the model is served here."""
    far = upstreams.of(raw)
    if far is None:
        return None
    _, body = far
    for name in KEPT_HERE:
        if body.get(name):
            message = (
                f"{name} does not apply to models of another server; send the whole conversation as input."
            )
            raise ApiError(400, message, param=name)
    return await upstreams.answer(request, json.dumps({**body, "store": False}).encode())


def _cancel_with_client(reply: Reply) -> None:
    """A stream whose client disconnects is stored as cancelled."""
    before = reply.ticket.on_end

    def ended(tokens: int) -> None:
        if before is not None:
            before(tokens)
        reply.end(cancelled=True)

    reply.ticket.on_end = ended
