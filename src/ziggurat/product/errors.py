"""What the rules refuse, as a tree. Each message is one sentence; `code` is stable, so that the page can translate it.

ProductError
├── Invalid        400   a value that is not allowed; `param` names it
├── Unauthorized   401   no login, or wrong credentials
├── Forbidden      403   the role or the key's scope does not allow this action
├── NotFound       404   an unknown object, or one of another person: the same answer
├── Conflict       409   the object's state does not allow it now
└── TooMany        429   a limit or a budget is used up; `retry_after_s` says when it refills
"""

from __future__ import annotations

from ziggurat.errors import ZigguratError


class ProductError(ZigguratError):
    """Base of all; raise a subclass."""

    default_code = "invalid"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.param = param


class Invalid(ProductError):
    """A value that is not allowed."""


class Unauthorized(ProductError):
    """No login, or wrong credentials."""

    http_status = 401
    default_code = "unauthorized"


class Forbidden(ProductError):
    """The role or the key's scope does not allow this action."""

    http_status = 403
    default_code = "forbidden"


class NotFound(ProductError):
    """An unknown object, or an object of another person."""

    http_status = 404
    default_code = "not_found"


class Conflict(ProductError):
    """The state of the object does not allow this now."""

    http_status = 409
    default_code = "conflict"


class TooMany(ProductError):
    """A limit or a budget is used up."""

    http_status = 429
    default_code = "too_many"

    def __init__(
        self, message: str, *, retry_after_s: int, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.retry_after_s = retry_after_s
