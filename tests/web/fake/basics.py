"""Ids, times, refusals, and the streams' frames."""

from __future__ import annotations

import json
import time
from typing import Any


def stamp(offset_s: float = 0.0) -> str:
    now = time.time() + offset_s
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"


class Ids:
    """`chat_…` and `msg_…`: 32 hexadecimal digits that sort by time."""

    def __init__(self) -> None:
        self.n = 0

    def new(self, kind: str) -> str:
        self.n += 1
        return f"{kind}_{int(time.time() * 1000):012x}7000{self.n:016x}"


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message


def missing() -> Refused:
    return Refused(404, "not_found", "There is nothing of this name that you may see.")


def frame(number: int, event: dict[str, Any]) -> str:
    return f"id: {number}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"


def page_of(items: list[dict[str, Any]], cursor: str | None, limit: int) -> dict[str, Any]:
    start = int(cursor or 0)
    more = start + limit < len(items)
    return {"data": items[start : start + limit], "next": str(start + limit) if more else None}
