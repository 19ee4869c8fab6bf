"""One engine for many threads, without a thread of its own: the thread that waits for a token steps the engine for all.

    thread 1   submit ── step ── step ── take ─────────────
    thread 2        submit ── (waits for the lock) ── take ── step ── ...

A step advances every running request and puts each one's events into its own box; a thread that finds its box empty
takes the lock and steps. So requests of several threads run as one batch, and none owns the engine. Leaving a stream
on any path - finished, closed, failed - frees its slots.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Event, Handle
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.rows import StopRule


class SharedEngine:
    """Safe to use from several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()
        self._boxes: dict[Handle, deque[Event | BaseException]] = {}

    def stream(
        self,
        ids: Sequence[int],
        params: SamplingParams,
        *,
        stop_rule: StopRule | None = None,
    ) -> Iterator[Event]:
        """The request's events as they appear; ends after every one of its `n` completions has ended."""
        box: deque[Event | BaseException] = deque()
        with self._lock:
            handle = self.engine.submit(ids, params, stop_rule=stop_rule)
            self._boxes[handle] = box
        unfinished = params.n
        try:
            while unfinished:
                if not box:
                    self._step(box)
                    continue
                item = box.popleft()
                if isinstance(item, BaseException):
                    raise item
                unfinished -= item.finish is not None
                yield item
        finally:
            with self._lock:
                del self._boxes[handle]
                if unfinished:
                    self.engine.cancel(handle)

    def _step(self, box: deque[Event | BaseException]) -> None:
        with self._lock:
            if box:  # another thread stepped for us while we waited for the lock
                return
            try:
                events = self.engine.step()
            except BaseException as error:  # the engine dropped every request: each stream raises it
                self.engine.reset()
                for each in self._boxes.values():
                    each.append(error)
                return
            for event in events:
                if event.handle in self._boxes:
                    self._boxes[event.handle].append(event)
