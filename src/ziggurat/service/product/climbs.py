"""`/api/runs`: climbs and runs as they go on, for the page that watches a model learn.

Everything is read from the runs' files, so the page shows any run of this machine, whoever began it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from ziggurat.flywheel.tuning import tunings
from ziggurat.flywheel.turn import turns
from ziggurat.ladder import watching
from ziggurat.places import runs_home
from ziggurat.product.errors import Conflict, NotFound
from ziggurat.product.rights import require
from ziggurat.service.http.event_stream import EventStream
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import KEEPALIVE, Json, event
from ziggurat.service.product.bodies import Empty
from ziggurat.service.product.house import House

LOOK_S = 1.0
"""The files are looked at once a second while a page watches."""
NO_CARD = (turns.LADDER, tunings.LADDER)
"""Folders of runs that are no climbs: the flywheel's turns and fine-tuning jobs have pages of their own."""
NAME = re.compile(r"[\w.-]{1,120}")


def climb_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/api/runs", tags=["runs"])

    @routes.get("")
    async def listed(request: Request) -> dict[str, Any]:
        await house.who(request)
        found = await anyio.to_thread.run_sync(watching.climbs)
        climber = house.climber
        begun = climber.running if climber is not None else []
        found = [planned(one) if one.name in begun else one for one in found]
        being_planned = [name for name in begun if name not in {one.name for one in found}]
        found = [*(planned(watching.ClimbView(name, "", "running")) for name in being_planned), *found]
        yielding = climber is not None and climber.yielding
        return {
            "climbs": [asdict(one) | {"card": one.name not in NO_CARD} for one in found],
            "yielding": yielding,
        }

    @routes.get("/events")
    async def events(request: Request) -> Response:
        await house.who(request)
        return EventStream(changes(house.services.limits.keepalive_s))

    @routes.post("/{ladder}/resume", **takes(Empty))
    async def resume(request: Request, ladder: str) -> Response:
        principal = await house.who(request)
        require(principal, "model.write")
        if house.climber is None:
            raise Conflict("This server begins no climbs; run `ziggurat ladder --resume` on its machine.")
        folder_of(ladder)
        await anyio.to_thread.run_sync(house.climber.begin, ladder)
        return Json({"resumed": ladder}, 202)

    @routes.get("/{ladder}/report")
    async def report(request: Request, ladder: str) -> Response:
        await house.who(request)
        path = folder_of(ladder) / "exam" / "report.html"
        if not path.is_file():
            raise NotFound(f"{ladder} has no report yet; it is written after the exam.")
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-same-origin"
        return FileResponse(path, headers={"content-security-policy": policy})

    @routes.get("/{ladder}/{run}")
    async def one(request: Request, ladder: str, run: str) -> dict[str, Any]:
        await house.who(request)
        path = folder_of(ladder, run)
        if not (path / "manifest.json").is_file():
            raise NotFound(f"There is no run {ladder}/{run} on this machine.")
        return await anyio.to_thread.run_sync(watching.view, path)

    return routes


def planned(climb: watching.ClimbView) -> watching.ClimbView:
    """A climb of this server as it runs; while it is being planned, all of its stages wait."""
    stages = climb.stages or [watching.StageView(f"{stage}-1") for stage in watching.STAGES]
    return replace(climb, state="running", stages=stages)


def folder_of(*names: str) -> Path:
    """The folder of a ladder or a run. NotFound for a name that could lead out of the runs."""
    for name in names:
        if not NAME.fullmatch(name) or name.strip(".") == "":
            raise NotFound("There is no run of this name on this machine.")
    return runs_home().joinpath(*names)


async def changes(keepalive_s: float) -> AsyncIterator[bytes]:
    """One event for each run whose files have changed since the last look."""
    seen, silent_s = await anyio.to_thread.run_sync(marks), 0.0
    yield KEEPALIVE
    while True:
        await asyncio.sleep(LOOK_S)
        now = await anyio.to_thread.run_sync(marks)
        changed = [name for name, mark in now.items() if seen.get(name) != mark]
        seen, silent_s = now, 0.0 if changed else silent_s + LOOK_S
        for name in changed:
            yield event({"type": "changed", "run": name})
        if silent_s >= keepalive_s:
            silent_s = 0.0
            yield KEEPALIVE


def marks() -> dict[str, tuple[int, ...]]:
    """A number that changes with each run's rows, notes and manifest; and with each climb's plan and report."""
    found: dict[str, tuple[int, ...]] = {}
    for manifest in runs_home().glob("*/*/manifest.json"):
        folder = manifest.parent
        files = (manifest, folder / "metrics.jsonl", folder / "notes.jsonl")
        found[f"{folder.parent.name}/{folder.name}"] = tuple(map(_changed_ns, files))
    for plan in runs_home().glob("*/plan.json"):
        files = (plan, plan.parent / "lock", plan.parent / "exam" / "report.html")
        found[plan.parent.name] = tuple(map(_changed_ns, files))
    return found


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
