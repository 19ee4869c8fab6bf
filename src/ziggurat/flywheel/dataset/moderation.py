"""Whether what an end user wrote may be taught: the guard's rules look at it as at a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ziggurat.records import Message
from ziggurat.safety.guard import Guard
from ziggurat.safety.sources import Builtin


def flags_of(guard: Guard) -> Callable[[list[str]], list[bool]]:
    """Of each text, whether the guard would act on it."""
    return lambda texts: [guard.before([Message(role="user", content=text)]).acts for text in texts]


@cache
def builtin_flags() -> Callable[[list[str]], list[bool]]:
    """By the built-in rules, where no server with rules of its own builds."""
    return flags_of(Guard(Builtin()))
