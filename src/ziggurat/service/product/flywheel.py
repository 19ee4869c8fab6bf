"""`/api/flywheel`: the loop page's view, dataset versions, turns, gates, releases, channels and online tests."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ziggurat.flywheel import explain, overview
from ziggurat.flywheel.dataset import building, versions, withdrawal
from ziggurat.flywheel.dataset.moderation import flags_of
from ziggurat.flywheel.gate import gates
from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import online, releases, signing
from ziggurat.flywheel.turn import turns
from ziggurat.flywheel.work import jobs
from ziggurat.product.common import page_size
from ziggurat.product.rights import require
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Empty
from ziggurat.service.product.house import House

Name = Annotated[str, Field(min_length=1, max_length=200)]
Note = Annotated[str, Field(max_length=4_000)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BuildBody(Strict):
    name: Name = "feedback"
    settings: dict[str, Any] | None = None


class TurnBody(Strict):
    dataset: Name | None = None
    base: Name | None = None
    channel: Name = releases.CHANNEL
    name: Name | None = None
    method: Name | None = None
    trainable: Name = "lora"
    budget_s: Annotated[float, Field(gt=0, le=10**7)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    settings: dict[str, dict[str, Any]] | None = None


class GateBody(Strict):
    turn: Name | None = None
    candidate: Name | None = None
    channel: Name = releases.CHANNEL
    policy: dict[str, Any] | None = None


class SignBody(Strict):
    name: Name | None = None
    note: Note = ""
    refuse: bool = False


class FirstBody(Strict):
    model: Name
    name: Name | None = None
    note: Note = ""


class PromoteBody(Strict):
    release: Name
    share: float | None = None
    note: Note = ""


class RollbackBody(Strict):
    note: Note = ""


class TestBody(Strict):
    __test__ = False
    release: Name
    channel: Name = releases.CHANNEL
    share: float = 0.5
    horizon: int = 200
    alpha: float = online.ALPHA
    name: Name | None = None


def flywheel_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/api/flywheel", tags=["flywheel"])

    @routes.get("")
    async def loop(request: Request) -> dict[str, Any]:
        return await house.run(overview.overview, await house.who(request))

    for part in (_data, _turns, _releases, _channels):
        part(house, routes)
    return routes


async def _reads(house: House, request: Request) -> str:
    """The workspace of whoever may look at the loop."""
    principal = await house.who(request)
    require(principal, "flywheel.read")
    return principal.workspace_id


def _data(house: House, routes: APIRouter) -> None:
    """What is learned from, and where an answer comes from."""
    limits = house.services.limits

    @routes.post("/datasets", **takes(BuildBody))
    async def build(request: Request) -> Response:
        principal = await house.who(request)
        body = await read_body(request, BuildBody, limits)
        made = await house.run(
            building.build, principal, body.name, settings=body.settings, moderation=flags_of(house.guard)
        )
        return Json(made.model_dump(), 201)

    @routes.get("/datasets/{name}/judgements")
    async def behind(request: Request, name: str, q: str = "", limit: int = explain.SHOWN) -> dict[str, Any]:
        principal = await house.who(request)
        limit = page_size(limit)
        return await house.run(explain.judgements_behind, principal, name, question=q[:4_000], limit=limit)

    @routes.get("/datasets/{name}")
    async def one_version(request: Request, name: str) -> dict[str, Any]:
        principal = await house.who(request)
        found = await house.run(versions.get_version, principal, name)
        return found.model_dump() | {
            "affected": (await house.run(withdrawal.affected, principal, name)).model_dump()
        }

    @routes.get("/withdrawn")
    async def withdrawn(request: Request) -> dict[str, Any]:
        found = await house.run(withdrawal.all_affected, await house.who(request))
        return {"data": [one.model_dump() for one in found]}

    @routes.get("/explain/{answer_id}")
    async def explained(request: Request, answer_id: str) -> dict[str, Any]:
        return await house.run(explain.explain, await house.who(request), answer_id)

    @routes.get("/answers/{message_id}")
    async def of_answer(request: Request, message_id: str) -> dict[str, Any]:
        return await house.run(overview.of_answer, await house.who(request), message_id)


def _turns(house: House, routes: APIRouter) -> None:
    """Turns, and the gates that judge what they make."""
    limits = house.services.limits

    @routes.post("/turns", **takes(TurnBody))
    async def begin(request: Request) -> Response:
        principal = await house.who(request)
        body = await read_body(request, TurnBody, limits)
        made = await house.run(turns.start, principal, **body.model_dump())
        return Json(asdict(made), 202)

    @routes.get("/turns/{turn}")
    async def one_turn(request: Request, turn: str) -> dict[str, Any]:
        workspace_id = await _reads(house, request)
        found = await house.run(turns.get, workspace_id, turn)
        shown = await house.run(overview.turn_json, found)
        happened = [] if found.job_id is None else await house.run(jobs.events, found.job_id)
        of = await house.run(gates.listed, workspace_id, 20, found.id)
        return shown | {"events": [asdict(one) for one in happened], "gates": [one.id for one in of]}

    @routes.post("/turns/{turn}/cancel", **takes(Empty))
    async def cancel(request: Request, turn: str) -> dict[str, Any]:
        principal = await house.who(request)
        return asdict(await house.run(turns.cancel, principal, turn))

    @routes.post("/turns/{turn}/resume", **takes(Empty))
    async def resume(request: Request, turn: str) -> Response:
        principal = await house.who(request)
        return Json(asdict(await house.run(turns.resume, principal, turn)), 202)

    @routes.post("/gates", **takes(GateBody))
    async def before_gate(request: Request) -> Response:
        principal = await house.who(request)
        body = await read_body(request, GateBody, limits)
        made = await house.run(gates.start, principal, **body.model_dump())
        return Json(made.to_json(), 202)

    @routes.get("/gates/{gate_id}")
    async def one_gate(request: Request, gate_id: str) -> dict[str, Any]:
        workspace_id = await _reads(house, request)
        found = await house.run(gates.get, workspace_id, gate_id)
        return await house.run(overview.gate_json, found, workspace_id)

    @routes.post("/gates/{gate_id}/cancel", **takes(Empty))
    async def cancel_gate(request: Request, gate_id: str) -> dict[str, Any]:
        principal = await house.who(request)
        return (await house.run(gates.cancel, principal, gate_id)).to_json()


def _releases(house: House, routes: APIRouter) -> None:
    """What was signed."""
    limits = house.services.limits

    @routes.post("/gates/{gate_id}/sign", **takes(SignBody))
    async def sign(request: Request, gate_id: str) -> Response:
        principal = await house.who(request)
        body = await read_body(request, SignBody, limits)
        made = await house.run(signing.sign, principal, gate_id, **body.model_dump())
        return Json({"release": None if made is None else asdict(made)}, 201)

    @routes.post("/releases", **takes(FirstBody))
    async def first(request: Request) -> Response:
        principal = await house.who(request)
        body = await read_body(request, FirstBody, limits)
        made = await house.run(signing.first, principal, **body.model_dump())
        return Json(asdict(made), 201)

    @routes.get("/releases/{name}")
    async def one_release(request: Request, name: str) -> dict[str, Any]:
        workspace_id = await _reads(house, request)
        chain = await house.run(releases.lineage, workspace_id, name)
        names = {one.id: one.name for one in chain}
        shown = [await house.run(overview.release_json, one, names) for one in chain]
        return shown[0] | {"lineage": shown}


def _channels(house: House, routes: APIRouter) -> None:
    """What serves to whom."""
    limits = house.services.limits

    async def applied() -> None:
        """This server offers what is stored."""
        if house.serving is not None:
            await house.serving.apply()

    async def served(channel: channels_.Channel) -> dict[str, Any]:
        await applied()
        return asdict(channel)

    @routes.post("/channels/{channel}/promote", **takes(PromoteBody))
    async def promote(request: Request, channel: str) -> dict[str, Any]:
        principal = await house.who(request)
        body = await read_body(request, PromoteBody, limits)
        moved = await house.run(
            channels_.promote, principal, body.release, name=channel, share=body.share, note=body.note
        )
        return await served(moved)

    @routes.post("/channels/{channel}/rollback", **takes(RollbackBody))
    async def rollback(request: Request, channel: str) -> dict[str, Any]:
        principal = await house.who(request)
        body = await read_body(request, RollbackBody, limits)
        return await served(await house.run(channels_.rollback, principal, name=channel, note=body.note))

    @routes.post("/tests", **takes(TestBody))
    async def test(request: Request) -> Response:
        principal = await house.who(request)
        body = await read_body(request, TestBody, limits)
        given = body.model_dump()
        made = await house.run(online.start, principal, given.pop("release"), **given)
        await applied()
        return Json(asdict(made), 201)

    @routes.post("/tests/{test_id}/stop", **takes(Empty))
    async def stop(request: Request, test_id: str) -> dict[str, Any]:
        principal = await house.who(request)
        ended = await house.run(online.stop, principal, test_id)
        await applied()
        return asdict(ended)
