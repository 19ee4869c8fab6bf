"""Errors as HTTP answers: one place, one shape.

{"error": {"message": "...", "type": "...", "param": null | "messages.0.content", "code": null | "model_not_found"}}

ApiError               the HTTP layer refuses a request (unknown model, body too large, wrong type)
ZigguratError          a lower room refuses it; the error carries its own `http_status` (prompt too long, model busy),
                       and where its room has them a `code`, a `param` and `retry_after_s`
anything else          a bug: the log has its traceback, the client gets a 500 without it
"""

from __future__ import annotations

import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from ziggurat.errors import ContextError, ZigguratError
from ziggurat.service.http.wire import Json

log = logging.getLogger("ziggurat.service")

RETRY_AFTER_S = 2
"""Sent with 503 and with a full queue. A short answer takes less than a second, so the queue has moved by then."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    503: "service_unavailable_error",
}
_TAG = re.compile(r"<[\w ]*>")  # of a union's member: see `body.one_of`


class ApiError(Exception):
    """The HTTP layer refuses a request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after_s = retry_after_s


def error_type(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_body(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": error_type(status), "param": param, "code": code}}


def describe(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Any exception as (HTTP status, error body). A bug is logged here, and its details stay in the log."""
    if isinstance(error, ApiError):
        return error.status, error_body(error.status, error.message, param=error.param, code=error.code)
    if isinstance(error, ZigguratError):
        status = error.http_status
        code = getattr(error, "code", None)
        if isinstance(error, ContextError):
            code = "context_length_exceeded"
        return status, error_body(status, str(error), param=getattr(error, "param", None), code=code)
    if isinstance(error, ValidationError):
        return 400, _validation_body(error.errors(include_url=False))
    log.error("a request failed", exc_info=error)
    message = "The server failed on this request; the log on the serving machine has the reason."
    return 500, error_body(500, message, code="internal_error")


def _validation_body(problems: Any) -> dict[str, Any]:
    """The first wrong field by its path, and how many more there are."""
    first = problems[0]
    parts = [str(part) for part in first["loc"]]
    param = ".".join(part for part in parts if not _TAG.fullmatch(part)) or None
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = str(first["msg"]).removeprefix("Value error, ")
    message = f"{param}: {reason}{more}" if param else f"{reason}{more}"
    return error_body(400, message, param=param)


def response_for(error: BaseException) -> Json:
    status, body = describe(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if (wait_s := getattr(error, "retry_after_s", None)) is not None:
        headers["Retry-After"] = str(wait_s)
    if 400 <= status < 500 and status not in (408, 429):
        headers["x-should-retry"] = "false"  # the same request fails again
    return Json(body, status, headers)


def install(app: FastAPI) -> None:
    """Answer every kind of failure with `response_for`."""

    async def refuse(_: Request, error: Exception) -> Json:
        return response_for(error)

    async def http(request: Request, error: Exception) -> Json:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path}: {error.detail}."
        return Json(error_body(error.status_code, message), error.status_code, error.headers)

    async def validation(_: Request, error: Exception) -> Json:
        assert isinstance(error, RequestValidationError)
        return Json(_validation_body(error.errors()), 400)

    # Exception: failures outside of `Guard`, which answers those inside
    for kind in (ApiError, ZigguratError, ValidationError, Exception):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
