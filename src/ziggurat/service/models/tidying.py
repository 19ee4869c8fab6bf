"""Memory that nobody needs any more goes back to the system.

glibc keeps what is freed in pieces below its mmap threshold, which grows to 32 MiB: most of a model's matrices. After
six swaps of a model of 134M parameters the process held 2.0 GB; given back, 0.8 GB. What requests free stays too, each
time that more of them stand at once than ever before (docs/LOG.md), so now and then it is given back as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref

from ziggurat.memory import give_back_freed_memory

EVERY_S = 60.0


def give_back_after(gone: object) -> None:
    """Once `gone` is, and all that it alone held; on the event loop, which goes on meanwhile."""
    loop = asyncio.get_running_loop()

    def soon() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone as well: so is the process, or nearly
            loop.call_soon_threadsafe(lambda: loop.run_in_executor(None, give_back_freed_memory))

    weakref.finalize(gone, soon).atexit = False


async def give_back_now_and_then() -> None:
    """Every `EVERY_S` seconds until it is cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_back_freed_memory)
