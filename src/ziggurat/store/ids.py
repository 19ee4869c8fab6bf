"""Ids: a type and a UUIDv7 in hex (RFC 9562), such as `chat_018f…`, which sort by the time of their making."""

from __future__ import annotations

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def uuid7_hex() -> str:
    """48 bits of milliseconds, version and variant, a counter that grows within this process, random bits.

    The 12 bits after the milliseconds count ids of the same millisecond; when they are used up, the time runs ahead.
    """
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1_000_000 << 12)
        ms, count = _last >> 12, _last & 0xFFF
    rest = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    return f"{ms << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | rest:032x}"


def new_id(kind: str) -> str:
    """A new id: `new_id("chat")` begins with `chat_`."""
    return f"{kind}_{uuid7_hex()}"
