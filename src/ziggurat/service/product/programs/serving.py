"""Fine-tuned models are served when their jobs have succeeded, and again after a start: the newest MOST of them."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import anyio.to_thread

from ziggurat.console import err
from ziggurat.errors import ZigguratError
from ziggurat.flywheel.tuning import served
from ziggurat.service.product.house import House

log = logging.getLogger("ziggurat.service")

LOOK_S = 1.0
MOST = 4
"""Others can be loaded at the page (Manage, Models) by the names of their runs."""


async def serve_tuned(house: House) -> None:
    """Until it is cancelled. A model that cannot be loaded is tried once."""
    library, tried = house.services.library, set[str]()
    while library is not None:
        try:
            for name, path in (await house.run(served.models))[-MOST:]:
                if name in tried or name in {held.card.name for held in house.services.shelf.all()}:
                    continue
                tried.add(name)
                card, model = await anyio.to_thread.run_sync(partial(library.stage, name, path))
                house.services.shelf.add(card, model)
                err.print(f"{name} can be asked now.")
        except (ZigguratError, OSError) as error:
            log.warning("a fine-tuned model is not served: %s", error)
        except Exception:
            log.exception("fine-tuned models could not be looked at; they are looked at again")
        await asyncio.sleep(LOOK_S)
