"""JSON and Server-Sent Events as bytes.

Every answer is encoded here. Two rules hold for all of them:

- **Always valid.** Half of a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD. NaN and infinity raise
  ValueError.
- **Never long in one piece.** `json.dumps` keeps Python's lock until it returns: 48 MB stop the event loop for a second
  even from another thread. Large answers are therefore encoded in slices of at most SLICE values, in a worker thread,
  and sent in blocks of about BLOCK_BYTES, each in a turn of its own of the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any

import anyio.to_thread
from starlette.responses import JSONResponse, Response, StreamingResponse

KEEPALIVE = b": waiting\n\n"
DONE = b"data: [DONE]\n\n"
SLICE = 2048
"""Values that one call of `json.dumps` encodes: well under a millisecond."""
ITEMS = 256
"""Items of a long list that are encoded together, where they fit into a slice."""
BLOCK_BYTES = 256 * 1024


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        ValueError: `value` holds NaN or infinity.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def event(data: dict[str, Any]) -> bytes:
    """One Server-Sent Event. JSON holds no bare newline, so one `data:` line is enough."""
    return b"data: " + encode(data) + b"\n\n"


class Json(JSONResponse):
    """A small JSON answer."""

    def render(self, content: Any) -> bytes:
        return encode(content)


async def large_json(build: Callable[[], dict[str, Any]]) -> Response:
    """A JSON answer of any size: `build` and the encoding run in a worker thread.

    An iterator anywhere in the value becomes a list, and only one of its items exists at a time.
    """
    blocks = await anyio.to_thread.run_sync(lambda: list(in_blocks(encoded(build()))))
    length = {"content-length": str(sum(map(len, blocks)))}
    return StreamingResponse(_one_by_one(blocks), media_type="application/json", headers=length)


async def _one_by_one(blocks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block
        await asyncio.sleep(0)  # a client that reads fast would otherwise get all of them in one turn


def encoded(value: Any) -> Iterator[bytes]:
    """The JSON of `value` in pieces of at most SLICE values."""
    if isinstance(value, dict) and not _fits(value):
        for number, (name, part) in enumerate(value.items()):
            key = encode({name: 0})[1:-2]  # as in a whole dict, also where the name is a number
            yield (b"," if number else b"{") + key
            yield from encoded(part)
        yield b"}"
    elif isinstance(value, Iterator) or (isinstance(value, list | tuple) and not _fits(value)):
        begun = False
        for piece in _encoded_items(value):
            yield b"," if begun else b"["
            yield from piece
            begun = True
        yield b"]" if begun else b"[]"
    else:
        yield encode(value)


def _encoded_items(items: Iterator[Any] | Sequence[Any]) -> Iterator[Iterable[bytes]]:
    """The pieces of one item, or of several that fit into a slice, without the brackets of the list."""
    if isinstance(items, Iterator):
        yield from map(encoded, items)
        return
    for start in range(0, len(items), ITEMS):
        some = items[start : start + ITEMS]
        if _fits(some):
            yield [encode(some)[1:-1]]
        else:
            yield from map(encoded, some)


def _fits(value: Any) -> bool:
    """Whether `value` holds at most SLICE values, and no iterator."""
    room, unread = SLICE, [value]
    while unread:
        one = unread.pop()
        if isinstance(one, Iterator):
            return False
        room -= len(one)
        if room < 0:
            return False
        parts = one.values() if isinstance(one, dict) else one
        unread += [part for part in parts if isinstance(part, dict | list | tuple | Iterator)]
    return True


def in_blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of BLOCK_BYTES or a little more; the last one may be shorter."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
