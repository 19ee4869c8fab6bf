"""One line of JSON for each HTTP request and each answer at the page: `ziggurat serve --request-log FILE`.

    {"format_version": 1, "time": "2026-11-23T08:58:35.120Z", "request_id": "req_5f0c…", "key": "ana", "method": "POST",
     "route": "/v1/chat/completions", "status": 200, "ms": 812.4, "prompt_tokens": 31, "completion_tokens": 12,
     "streamed": true, "left": false, "refused": null, "guard": null}

A line holds no prompt, answer, path, address or key; only the key's name. `request_id` is the answer's `x-request-id`,
which a client may choose. `refused` is the limit behind a 429, or why a key was refused. `left` is true if the client
disconnected from a stream. Tokens are those read and written for the request; null if none were counted (a background
response counts none). `guard` has the layer, action, rule and category of the guard where a rule matched.

A chat's answer at the page is written after the request that asked for it has ended, so it has a line of its own, with
that request's `request_id` and how it ended; the ids name an answer in the store and nothing that was said:

    {"format_version": 1, "time": "2026-11-23T08:58:37.310Z", "request_id": "req_77ab…", "answer": "gen_0199…",
     "state": "complete", "ms": 2190.4, "prompt_tokens": 31, "completion_tokens": 12, "guard": null}

A separate thread formats and writes the lines. If the disk is slower than the requests, lines are dropped and requests
do not wait; a later line has the number: {"format_version": 1, "time": ..., "dropped": 17}. The file is only appended
to, so it can be rotated by copying and truncating it.
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
from ziggurat.service.observe.visits import AnswerVisit, Visit

log = logging.getLogger("ziggurat.service")

STDERR = Path("-")
REQUEST_LOG_FORMAT = 1
"""Version of a line."""
MAX_WAITING_LINES = 10_000
"""A few MB: ten seconds of a stopped disk at a thousand requests a second."""
CLOSE_S = 5.0


class RequestLog:
    """The log of one server. `write` after `close` does nothing; `close` may be called twice.

    Raises:
        DataError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        self._visits: queue.Queue[tuple[float, Visit | AnswerVisit] | None] = queue.Queue(MAX_WAITING_LINES)
        self._dropped = 0  # only the event loop adds to it
        self._failing = self._closed = self._torn = False
        self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
        self._thread.start()

    def write(self, visit: Visit | AnswerVisit) -> None:
        """Queue one line; never waits."""
        if self._closed:
            return
        try:
            self._visits.put_nowait((time.time(), visit))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write the queued lines and close the file; waits `CLOSE_S` at most."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(queue.Full):
                self._visits.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)

    # --- on its own thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        unwritten = reported = 0
        open_still = True
        while open_still:
            taken = [self._visits.get()]  # waits for one
            while not self._visits.empty() and len(taken) < MAX_WAITING_LINES:
                taken.append(self._visits.get())
            open_still = None not in taken
            lines = [_line(*one) for one in taken if one is not None]
            if missing := self._dropped + unwritten - reported:
                lines.append(
                    {FORMAT_VERSION: REQUEST_LOG_FORMAT, "time": _utc(time.time()), "dropped": missing}
                )
            if self._append("".join(to_json(line) + "\n" for line in lines)):
                reported += missing
            else:
                unwritten += len(lines) - bool(missing)
        os.close(self._file)

    def _append(self, text: str) -> bool:
        """Whether it was written. A failing disk is logged once, until a write succeeds again."""
        data = whole = memoryview(("\n" * self._torn + text).encode(errors="replace"))
        try:
            while data:
                data = data[os.write(self._file, data) :]
            self._torn = False
        except OSError as error:
            # half a line may be in the file: the next write begins with a newline
            self._torn = self._torn or len(data) < len(whole)
            if not self._failing:
                log.error("the request log %s cannot be written: %s", self.path, error)
            self._failing = True
        else:
            self._failing = False
        return not self._failing


def _opened(path: Path) -> int:
    """The file's descriptor. Only its owner may read a new file: it shows who uses the server, and when."""
    try:
        if path == STDERR:
            return os.dup(2)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataError(
            f"the request log cannot be opened ({error.strerror}); give --request-log a file that can be written.",
            path=path,
        ) from None


def _line(ended_at: float, visit: Visit | AnswerVisit) -> dict[str, Any]:
    if isinstance(visit, AnswerVisit):
        return {
            FORMAT_VERSION: REQUEST_LOG_FORMAT,
            "time": _utc(ended_at),
            "request_id": visit.request_id,
            "answer": visit.answer,
            "state": visit.state,
            "ms": round(visit.elapsed_s * 1e3, 1),
            "prompt_tokens": visit.prompt_tokens,
            "completion_tokens": visit.completion_tokens,
            "guard": visit.guard,
        }
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
        "guard": visit.guard,
    }


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
