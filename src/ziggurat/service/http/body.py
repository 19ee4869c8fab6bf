"""Request bodies: bounded in size and time, JSON by declaration, checked field by field.

`one_of` declares a field that takes values of several JSON types. Without it pydantic tries every member of the union
and reports all of their errors, under paths that hold Python type names.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, Discriminator
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError

B = TypeVar("B", bound=BaseModel)
_MAY_BE_INFINITE = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\d{300}")


def one_of(expected: str, *, by: str | None = None) -> Discriminator:
    """Chooses the member of a union by the value's JSON type; each member has the matching `Tag`.

    The tags are `<text>`, `<number>`, `<object>` and `<list of texts>`, `<list of numbers>`, ... (by the first item; an
    empty list is a list of texts). With `by`, an object's tag is the value of that field. `expected` completes the
    sentence of the error: "expected a text or a list of texts". Error paths leave tags out (`problems.py`).
    """

    def tag(value: object) -> str:
        if isinstance(value, dict) and by is not None:
            return f"<{value.get(by)}>"
        if isinstance(value, BaseModel) and by is not None:
            return f"<{getattr(value, by)}>"
        return f"<{_kind(value)}>"

    return Discriminator(tag, custom_error_type="wrong_type", custom_error_message=f"expected {expected}")


def _kind(value: object) -> str:
    if isinstance(value, list):
        return f"list of {_kind(value[0]).partition(' ')[0]}s" if value else "list of texts"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return "object" if isinstance(value, dict | BaseModel) else "other"


async def read_body(request: Request, kind: type[B], limits: Limits) -> B:
    """The body as a `kind`.

    Raises:
        ApiError: see `read_raw`.
        ValidationError: a field is missing or wrong.
    """
    return parse(kind, await read_raw(request, limits))


def parse(kind: type[B], raw: bytes) -> B:
    """`raw` as a `kind`. NaN and infinity are refused in free-form fields too: an answer may repeat them.

    Raises:
        ApiError: 400 for NaN, infinity, or a number that overflows.
        ValidationError: a field is missing or wrong.
    """
    body = kind.model_validate_json(raw)
    if _MAY_BE_INFINITE.search(raw):
        try:
            json.dumps(from_json(raw), allow_nan=False)
        except ValueError:
            raise ApiError(400, "The body holds NaN or infinity; JSON has neither.") from None
    return body


async def read_raw(request: Request, limits: Limits) -> bytes:
    """The bytes of the body.

    The declared type also keeps foreign web pages out: a browser sends `application/json` to another site only after a
    preflight request, which this server does not answer.

    Raises:
        ApiError: 415 for another type, 413 for too many bytes, 408 after `body_timeout_s`.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise ApiError(415, f"Content-Type is {declared or 'missing'}; send application/json.")
    try:
        return await asyncio.wait_for(_read_bounded(request, limits.max_body_bytes), limits.body_timeout_s)
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {limits.body_timeout_s:g} s.") from None
    except ClientDisconnect:
        raise ApiError(499, "The client disconnected before its body had arrived.") from None


async def _read_bounded(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    body = bytearray()
    if not (announced.isdecimal() and int(announced) > max_bytes):
        announced = f"more than {max_bytes}"
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                break
        else:
            return bytes(body)
    message = f"The body has {announced} bytes; at most {max_bytes} bytes are read."
    raise ApiError(413, message, code="request_too_large")
