"""A line of JSON for every HTTP request, for whoever runs the server: `ziggurat serve --request-log FILE`.

    {"format_version": 1, "time": "2026-11-23T08:58:35.120Z", "request_id": "req_5f0c…", "key": "ana", "method": "POST",
     "route": "/v1/chat/completions", "status": 200, "ms": 812.4, "prompt_tokens": 31, "completion_tokens": 12,
     "streamed": true, "left": false, "refused": null}

No line holds what was asked or answered, a path as a client wrote it, an address, or a key; only a key's name. The
request id is the answer's `x-request-id`, which a client may choose. `refused` is the limit that a 429 was for, or why
a key was not taken; `left` says that the client went away from a stream. Tokens are those read and written on the
request's account, null where there were none to count (an answer that is written in the background counts none).

Lines are made and written by a thread of their own. If the disk is slower than the requests, lines are dropped rather
than requests delayed, and a later line counts them: {"format_version": 1, "time": ..., "dropped": 17}. The file is
appended to, so it can be rotated by copying and truncating it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ziggurat.errors import DataError
from ziggurat.files import FORMAT_VERSION, to_json
from ziggurat.service.observe.visits import Visit

log = logging.getLogger("ziggurat.service")

STDERR = Path("-")
REQUEST_LOG_FORMAT = 1
"""Version of a line."""
MAX_WAITING_LINES = 10_000
"""A few MB; at a thousand requests a second a disk may sleep for ten seconds."""
CLOSE_S = 5.0


class RequestLog:
    """unopened - closed: `write` after `close` does nothing, and `close` may be called twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        self._visits: queue.Queue[tuple[float, Visit] | None] = queue.Queue(MAX_WAITING_LINES)
        self._dropped = 0  # added to on the event loop alone
        self._failing = self._closed = self._torn = False
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._thread.start()

    def write(self, visit: Visit) -> None:
        """Never waits."""
        if self._closed:
            return
        try:
            self._visits.put_nowait((time.time(), visit))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits, and close the file; a disk that sleeps is not waited for."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(queue.Full):
                self._visits.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)

    # --- on its own thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        unwritten = told = 0
        open_still = True
        while open_still:
            taken = [self._visits.get()]  # waits for the first
            while not self._visits.empty() and len(taken) < MAX_WAITING_LINES:
                taken.append(self._visits.get())
            open_still = None not in taken
            lines = [_line(*one) for one in taken if one is not None]
            if missing := self._dropped + unwritten - told:
                lines.append(
                    {FORMAT_VERSION: REQUEST_LOG_FORMAT, "time": _utc(time.time()), "dropped": missing}
                )
            if self._append("".join(to_json(line) + "\n" for line in lines)):
                told += missing
            else:
                unwritten += len(lines) - bool(missing)
        os.close(self._file)

    def _append(self, text: str) -> bool:
        """Whether it was written; a disk that does not take it is told of once, until it takes some again."""
        data = whole = memoryview(("\n" * self._torn + text).encode(errors="replace"))
        try:
            while data:
                data = data[os.write(self._file, data) :]
            self._torn = False
        except OSError as error:
            # half a line may stand there: the next begins anew
            self._torn = self._torn or len(data) < len(whole)
            if not self._failing:
                log.error("the request log %s cannot be written: %s", self.path, error)
            self._failing = True
        else:
            self._failing = False
        return not self._failing


def _opened(path: Path) -> int:
    """Its descriptor. A new file is for its owner's eyes only: it tells who asks when."""
    try:
        if path == STDERR:
            return os.dup(2)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataError(
            f"the request log cannot be opened ({error.strerror}); name a file that can be written.",
            path=path,
        ) from None


def _line(ended_at: float, visit: Visit) -> dict[str, Any]:
    return {
        FORMAT_VERSION: REQUEST_LOG_FORMAT,
        "time": _utc(ended_at),
        "request_id": visit.request_id,
        "key": visit.key,
        "method": visit.method,
        "route": visit.route,
        "status": visit.status,
        "ms": round(visit.elapsed_s * 1e3, 1),
        "prompt_tokens": visit.prompt_tokens,
        "completion_tokens": visit.completion_tokens,
        "streamed": visit.streamed,
        "left": visit.left,
        "refused": visit.over_limit or visit.auth_failure,
    }


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
