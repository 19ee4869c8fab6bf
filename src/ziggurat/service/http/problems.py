"""Errors on the wire: one place, one shape.

{"error": {"message": "...", "type": "...", "param": null | "messages.0.content", "code": null | "model_not_found"}}

ApiError               a request that the HTTP layer itself refuses (unknown model, body too large, wrong type)
ZigguratError          raised by a lower room; carries its own `http_status` (prompt too long, model busy)
anything else          a bug: logged here with its traceback, told to the client as a plain 500 without it
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from ziggurat.errors import ZigguratError

log = logging.getLogger("ziggurat.service")

RETRY_AFTER_S = 2
"""What a busy server suggests. Town answers take well under a second, so the queue has moved on by then."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    503: "service_unavailable_error",
}


class ApiError(Exception):
    """A request refused by the HTTP layer, before any model saw it."""

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

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def error_type(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_body(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": error_type(status), "param": param, "code": code}}


def describe(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Any exception as (HTTP status, error body). Unknown ones are logged here and told without their details."""
    if isinstance(error, ApiError):
        return error.status, error_body(error.status, error.message, param=error.param, code=error.code)
    if isinstance(error, ZigguratError):
        status = error.http_status
        return status, error_body(status, str(error))
    if isinstance(error, ValidationError):
        return 400, _validation_body(error.errors(include_url=False))
    log.error("a request failed", exc_info=error)
    return 500, error_body(500, "The server failed on this request; its log on the serving machine says why.")


def _validation_body(problems: Any) -> dict[str, Any]:
    """The first bad field by name, and how many more there are."""
    first = problems[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = str(first["msg"]).removeprefix("Value error, ")
    message = f"{param}: {reason}{more}" if param else f"{reason}{more}"
    return error_body(400, message, param=param)


def response_for(error: BaseException) -> JSONResponse:
    status, body = describe(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if isinstance(error, ApiError):
        headers |= error.headers()
    if 400 <= status < 500 and status not in (408, 429):
        headers["x-should-retry"] = "false"  # the same request will fail again
    return JSONResponse(body, status, headers)


def install(app: FastAPI) -> None:
    """Route every kind of failure through `response_for`."""

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        return response_for(error)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path}: {error.detail}."
        return JSONResponse(error_body(error.status_code, message), error.status_code, error.headers)

    async def validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return JSONResponse(_validation_body(error.errors()), 400)

    # Exception: what Guard does not catch, since it fails outside it.
    for kind in (ApiError, ZigguratError, ValidationError, Exception):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
