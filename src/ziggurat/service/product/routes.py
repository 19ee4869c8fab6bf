"""All routes of the product."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI, Request

from ziggurat.console import err
from ziggurat.errors import RunError
from ziggurat.flywheel import online, withdrawal
from ziggurat.product import generations, mask, people, retention, workspaces
from ziggurat.product.rights import require
from ziggurat.safety.guard import Guard
from ziggurat.service.access.holding import ToHold
from ziggurat.service.access.key_check import OPEN
from ziggurat.service.api.admin import admin_routes
from ziggurat.service.http.openapi import errors
from ziggurat.service.product.admin import product_admin_routes
from ziggurat.service.product.arena.routes import arena_routes
from ziggurat.service.product.chats import conversation_routes
from ziggurat.service.product.climber import Climber
from ziggurat.service.product.climbs import climb_routes
from ziggurat.service.product.door import door_routes
from ziggurat.service.product.exam.routes import exam_routes
from ziggurat.service.product.flywheel import flywheel_routes
from ziggurat.service.product.following import following_routes
from ziggurat.service.product.house import House, RotatedCookies
from ziggurat.service.product.judging import judging_routes
from ziggurat.service.product.labelling.delivering import LOOK_EVERY_S, deliver
from ziggurat.service.product.labelling.exchanging import label_exchange_routes
from ziggurat.service.product.labelling.leading import label_lead_routes
from ziggurat.service.product.labelling.quality import label_quality_routes
from ziggurat.service.product.labelling.working import labelling_routes
from ziggurat.service.product.oidc import Elsewhere, oidc_routes
from ziggurat.service.product.page import add_page, is_page
from ziggurat.service.product.pairs import pair_routes
from ziggurat.service.product.people import key_routes, people_routes, session_routes
from ziggurat.service.product.programs.feedback import feedback_routes, metric_page_routes
from ziggurat.service.product.programs.files import file_routes
from ziggurat.service.product.programs.recording import Recorded, Recorder
from ziggurat.service.product.programs.serving import serve_tuned
from ziggurat.service.product.programs.tunings import tuning_routes
from ziggurat.service.product.review.calls import ReviewedCalls, call_routes
from ziggurat.service.product.review.duties import SEND_EVERY_S, TICK_EVERY_S, ReviewDuties
from ziggurat.service.product.review.routes import customer_routes, review_routes
from ziggurat.service.product.serving import Serving
from ziggurat.service.product.store_keys import StoreKeys
from ziggurat.service.product.store_rules import LOOK_S, StoreRules
from ziggurat.service.product.temporary import temporary_routes
from ziggurat.service.product.things import archive_routes, folder_routes, persona_routes, share_routes
from ziggurat.service.product.turns import turn_routes
from ziggurat.service.product.why import why_routes
from ziggurat.service.product.working import Working
from ziggurat.service.services import Services
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import hooks
from ziggurat.workbench.review.held import hold_call

log = logging.getLogger("ziggurat.service")

EACH = (
    *(door_routes, people_routes, session_routes, key_routes, oidc_routes, temporary_routes),
    *(conversation_routes, turn_routes, pair_routes, following_routes, judging_routes, why_routes),
    *(review_routes, customer_routes),
    *(folder_routes, persona_routes, share_routes, archive_routes, climb_routes, product_admin_routes),
    flywheel_routes,
    *(metric_page_routes, arena_routes, exam_routes),
    *(labelling_routes, label_lead_routes, label_quality_routes, label_exchange_routes),
)
TOLD = ("messages", "prompt", "input", "instructions", "suffix")
"""Fields of a request that hold what people wrote."""
REAP_EVERY_S = 30.0
SWEEP_EVERY_S = 3600.0
TESTS_EVERY_S = 30.0
SILENT_S = 90.0
"""A running answer without a sign of life for so long has lost its process."""


class Product:
    """The chat product of a server: its routes and page, its regular duties, its end."""

    def __init__(
        self,
        services: Services,
        store: Store,
        guard: Guard,
        rules: StoreRules,
        *,
        accounts: bool = False,
        elsewhere: Elsewhere | None = None,
        climbs: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """`rules`: those of the store, as `guard` has them. `climbs`: ladders to be climbed beside the server, each
        with options of `ziggurat ladder`."""
        self._rules, self._climbs = rules, climbs
        library = services.library
        self.house = House(
            services=services,
            store=store,
            guard=guard,
            mode="accounts" if accounts else "local",
            elsewhere=elsewhere,
            climber=Climber(services.shelf, library) if library is not None else None,
        )
        self.house.serving = Serving(services.shelf, store, library)
        if library is not None:
            self.house.working = Working(store, free=lambda: not self._climbing)
        self.review = ReviewDuties(self.house)
        self.keys = StoreKeys(self.house) if accounts else None
        self.recorder = Recorder(self.house)
        services.upstreams.outgoing = self._masked
        services.upstreams.holding.keep = self._hold

    @property
    def _climbing(self) -> bool:
        """Whether a climb beside the server computes; two trainings at once would both be slower."""
        return self.house.climber is not None and bool(self.house.climber.running)

    async def _masked(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request of the API as it may leave for an upstream, by the workspace's policy.

        Raises:
            Invalid: it holds private data, and the policy refuses that.
        """
        workspace_id = await self.house.run(workspaces.main_id)
        if workspace_id is None:
            return body
        told = {name: body[name] for name in TOLD if name in body}
        (sent,) = await self.house.run(mask.outgoing, workspace_id, [told])
        return {**body, **sent}

    async def _hold(self, one: ToHold) -> None:
        """An answer of the API that waits for a person; what was asked on this machine without a key is the owner's."""
        person_id = one.person_id
        if self.house.mode == "local" and one.of_this_machine:
            person_id = (await self.house.run(people.local_principal)).person_id
        await self.house.run(
            hold_call,
            prompt=one.prompt,
            text=one.text,
            rule_id=one.rule_id,
            stage=one.stage,
            person_id=person_id,
            origin=one.origin,
        )

    def add_to(self, app: FastAPI) -> None:
        """The routes and the page. Every route below `/api` passes the gate."""
        gate = [Depends(self.house.gate)]
        for each in EACH:
            app.include_router(each(self.house), dependencies=gate, responses=errors())
        app.include_router(call_routes(self.house), responses=errors())  # by its key, like the rest of `/v1`
        if (library := self.house.services.library) is not None:
            models = admin_routes(
                self.house.services, library, prefix="/api/admin", allow=self._manages_models
            )
            app.include_router(models, dependencies=gate, responses=errors())
        for routes in (
            feedback_routes(self.house, self.recorder),
            file_routes(self.house),
            tuning_routes(self.house),
        ):
            app.include_router(routes, responses=errors())
        add_page(app)
        app.add_middleware(RotatedCookies)
        app.add_middleware(Recorded, house=self.house, recorder=self.recorder)
        app.add_middleware(ReviewedCalls, house=self.house)

    async def _manages_models(self, request: Request) -> None:
        require(await self.house.who(request), "model.write")

    async def keep(self) -> None:
        """All regular duties, until it is cancelled."""
        climber = self.house.climber
        await self.house.run(generations.reap, older_than_s=self._silent_at_start_s)
        async with asyncio.TaskGroup() as duties:
            duties.create_task(_again(LOOK_S, self._read_rules))
            duties.create_task(_again(REAP_EVERY_S, self._reap))
            duties.create_task(_again(SWEEP_EVERY_S, self._sweep))
            duties.create_task(_again(TESTS_EVERY_S, self._look_at_tests))
            if self.house.serving is not None:
                duties.create_task(self.house.serving.watch())
            if self.house.working is not None:
                self.house.working.begin()
            duties.create_task(serve_tuned(self.house))
            duties.create_task(_again(LOOK_EVERY_S, self._deliver))
            duties.create_task(_again(TICK_EVERY_S, self.review.tick))
            duties.create_task(_again(SEND_EVERY_S, self.review.send))
            if climber is not None:
                duties.create_task(climber.watch())
                for ladder, options in self._climbs.items():
                    climber.ladders.add(ladder)
                    try:
                        climber.begin(ladder, *options)
                    except (
                        RunError
                    ) as error:  # another process climbs it: its models are served as they appear
                        err.print(str(error))

    async def _read_rules(self) -> None:
        """An administrator may have changed the guard's rules, in this process or another; compiled on this thread."""

        def read() -> None:
            self._rules.refresh()
            self.house.guard.rules()

        await anyio.to_thread.run_sync(read)

    @property
    def _silent_at_start_s(self) -> float:
        """One server has a file of SQLite, so whatever runs in it at the start has lost its process."""
        return 0.0 if self.house.store.kind == "sqlite" else SILENT_S

    async def _reap(self) -> None:
        """Answers whose process died are marked, and those that are written here say that they live."""
        for running in self.house.generations.running():
            await self.house.run(generations.heartbeat, running.id)
        await self.house.run(generations.reap, older_than_s=SILENT_S)

    async def _sweep(self) -> None:
        """What has to go by the workspace's retention, and what has expired."""
        await self.house.run(retention.run)
        await self.house.run(withdrawal.clean_files)
        await self.house.run(hooks.sweep)

    async def _deliver(self) -> None:
        """Messages of webhooks that are due."""
        await deliver(self.house)

    async def _look_at_tests(self) -> None:
        """Online tests that have done harm or reached their horizon end."""
        await self.house.run(online.look)

    async def close(self) -> None:
        """End what is written and climbed, while models can still be asked."""
        await self.review.close()
        await self.house.close()

    async def close_store(self) -> None:
        """After the services: answers that end with them may be held, and are stored first."""
        await self.house.services.upstreams.holding.close()
        await self.recorder.flush()
        self.house.store.close()


async def _again(every_s: float, duty: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await duty()
        except Exception:
            log.exception("a regular duty of the product failed; it is tried again")
        await asyncio.sleep(every_s)


def open_with_product(path: str) -> bool:
    """What needs no API key: the page, and `/api`, whose routes ask for a login themselves."""
    return path in OPEN or path.startswith("/api/") or is_page(path)
