"""The jobs of the flywheel in a server: one worker on a thread of its own; phases are processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ziggurat.flywheel.work.worker import Worker
from ziggurat.store.store import Store

LEAVING_S = 70.0
"""For a phase to save its state when the server ends."""


class Working:
    """Begins with `begin`, ends with `end`; both may be called once."""

    def __init__(self, store: Store, free: Callable[[], bool]) -> None:
        self.worker = Worker(store, free=free)
        self._thread = threading.Thread(target=self.worker.forever, name="flywheel", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Leave the job that runs to the next worker; it goes on where it stopped."""
        self.worker.end()
        if self._thread.is_alive():
            self._thread.join(LEAVING_S)
