"""JSON and Server-Sent Events as bytes.

Every answer is encoded here. Two rules hold for all of them:

- **Always valid.** Half of a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD. NaN and infinity raise
  ValueError.
- **Never long in one piece.** `json.dumps` keeps Python's lock until it returns: 48 MB stop the event loop for a second
  even from another thread. Large answers are therefore encoded item by item, in a worker thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anyio.to_thread
from starlette.responses import JSONResponse, Response

KEEPALIVE = b": waiting\n\n"
DONE = b"data: [DONE]\n\n"


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

    A value of the dict may be an iterator: it becomes a list, and only one of its items exists at a time.
    """
    body = await anyio.to_thread.run_sync(lambda: b"".join(_encoded(build())))
    return Response(body, media_type="application/json")


def _encoded(fields: dict[str, Any]) -> Iterator[bytes]:
    for number, (name, value) in enumerate(fields.items()):
        yield (b"," if number else b"{") + encode(name) + b":"
        if isinstance(value, Iterator) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield b"["
            for i, item in enumerate(value):
                yield b"," + encode(item) if i else encode(item)
            yield b"]"
        else:
            yield encode(value)
    yield b"}"
