"""A form with one file, bounded in size and time before and while it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from ziggurat.product.uploads import MAX_FILE
from ziggurat.service.http.problems import ApiError

MAX_FIELDS, MAX_FIELD_BYTES = 20, 16_384
AROUND = 1 << 20
"""Bytes of a form beside its file."""
TIMEOUT_S = 600.0
"""64 MiB over a line of 1 Mbit/s."""


async def read_form(request: Request) -> tuple[BinaryIO, str, dict[str, str]]:
    """(the file, its name, the other fields) of a form. A large file is on disk while it is read.

    Raises:
        ApiError: 415 for another type, 413 for too many bytes, 400 for a form without a file, 408 after TIMEOUT_S.
    """
    declared = request.headers.get("content-type", "")
    if declared.partition(";")[0].strip().lower() != "multipart/form-data":
        kind = declared.partition(";")[0] or "missing"
        raise ApiError(415, f"Content-Type is {kind}; send multipart/form-data.")
    parser = MultiPartParser(
        request.headers, _bounded(request), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    )
    try:
        form = await asyncio.wait_for(parser.parse(), TIMEOUT_S)
    except TimeoutError:
        raise ApiError(408, f"The file did not arrive within {TIMEOUT_S:g} s.") from None
    except (MultiPartException, KeyError, ValueError) as error:
        said = getattr(error, "message", "") or "it cannot be read"
        raise ApiError(400, f"This is not a form with a file: {said}") from None
    except ClientDisconnect:
        raise ApiError(499, "The client disconnected before its file had arrived.") from None
    file = form.get("file")
    if not isinstance(file, UploadFile):
        await form.close()
        raise ApiError(400, "The form has no file; send it in the field file.", param="file")
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return file.file, file.filename or "file", fields


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    most, seen = MAX_FILE + AROUND, 0
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(int(announced))
    async for part in request.stream():
        seen += len(part)
        if seen > most:
            raise _too_large(seen)
        yield part


def _too_large(seen: int) -> ApiError:
    message = f"The form has {seen:,} bytes or more; a file may have {MAX_FILE:,}."
    return ApiError(413, message, param="file", code="request_too_large")
