"""Releases behind their channels: what the store says serves is what this server offers.

    apply()     load what a channel needs, move the channel's name, let go of what nobody needs; then it is as stored
    watch()     apply() every LOOK_S, for changes by commands and by other servers

The release before stays loaded, so that a rollback only moves the name: answers that are being written go on with
their own weights to their end.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import anyio.to_thread

from ziggurat.console import err
from ziggurat.errors import BusyError, ZigguratError
from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import folders, releases
from ziggurat.flywheel.release.channel import Channel
from ziggurat.flywheel.release.releases import Release
from ziggurat.home import located
from ziggurat.service.models.library import Library
from ziggurat.service.models.shelf import AnyModel, ModelCard, Route, Shelf
from ziggurat.store.store import Store

log = logging.getLogger("ziggurat.service")

LOOK_S = 1.0


class Serving:
    """The releases that this server holds."""

    def __init__(self, shelf: Shelf, store: Store, library: Library | None) -> None:
        self.shelf, self.store = shelf, store
        self.library = library or Library()
        self._held: dict[str, Release] = {}  # by id
        self._seen: dict[str, int] = {}  # channel -> version that is applied
        self._refused: set[str] = set()
        self._one = asyncio.Lock()

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.apply()
            except BusyError:
                return  # the server ends
            except Exception:
                log.exception("the channels could not be looked at; they are looked at again")
            await asyncio.sleep(LOOK_S)

    async def apply(self) -> None:
        """Serve what the store says. A release that cannot be loaded leaves its channel as it is, with a message."""
        async with self._one:
            channels = await anyio.to_thread.run_sync(channels_.all_channels, self.store)
            if all(self._seen.get(one.id) == one.version for one in channels):
                return
            for one in channels:
                if self._seen.get(one.id) != one.version and await self._apply(one):
                    self._seen[one.id] = one.version
            self._let_go(channels)

    async def _apply(self, channel: Channel) -> bool:
        wanted = [channel.release_id, channel.canary_id, channel.previous_id]
        known = await anyio.to_thread.run_sync(releases.by_ids, self.store, wanted)
        for release_id in wanted:
            if release_id is not None and release_id not in self._held:
                loaded = await self._load(known[release_id])
                if not loaded and release_id != channel.previous_id:
                    return False
        try:
            return self._routed(channel, known)
        except ZigguratError as error:  # a model of this name is served already
            log.warning("channel %s is not served: %s", channel.name, error)
            return True

    def _routed(self, channel: Channel, known: dict[str, Release]) -> bool:
        if channel.release_id is None:
            self.shelf.route(channel.name, None)
            return True
        canary = None if channel.canary_id is None else known[channel.canary_id].name
        route = Route(
            known[channel.release_id].name, canary, channel.canary_share, channel.canary_id or channel.id
        )
        self.shelf.route(channel.name, route)
        beside = f", {canary} for {100 * channel.canary_share:g} % of the people" if canary else ""
        err.print(f"{channel.name} is {route.serving} now{beside}.")
        return True

    async def _load(self, release: Release) -> bool:
        if release.id in self._refused:
            return False
        try:
            card, model = await anyio.to_thread.run_sync(partial(self._read, release))
            self.shelf.add(card, model)
        except (ZigguratError, OSError) as error:
            log.warning("release %s is not served: %s", release.name, error)
            self._refused.add(release.id)
            return False
        self._held[release.id] = release
        return True

    def _read(self, release: Release) -> tuple[ModelCard, AnyModel]:
        folders.check(release)
        card, model = self.library.stage(release.name, located(release.model))
        return card.model_copy(update={"release": release.name, "run": f"releases/{release.name}"}), model

    def _let_go(self, channels: list[Channel]) -> None:
        needed = {one for c in channels for one in (c.release_id, c.canary_id, c.previous_id)}
        for release_id in self._held.keys() - needed:
            self.shelf.retire(self._held.pop(release_id).name)
