"""Ctrl-C that saves first: the first SIGINT or SIGTERM is only remembered, the second one stops at once.

A loop asks `interrupt.asked` where its state is whole, saves, and raises KeyboardInterrupt itself (exit code 130 on
the command line). Signals reach the main thread only; elsewhere this does nothing. SIGKILL cannot be caught: what
protects from that is the atomic checkpoint before it.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from ziggurat.console import err

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While entered, turns the first signal into a wish."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._remember) for s in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for s, handler in self._previous.items():
            signal.signal(s, handler)  # type: ignore[arg-type]

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        err.print("saving after this step; press Ctrl-C again to stop without saving")
