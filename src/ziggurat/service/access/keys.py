"""API keys: their file, their limits, and what each has left.

The file holds one key a line, as JSON, with its SHA-256 only; a reader of the file learns no key:

    {"name": "ana", "sha256": "9f86d0...", "requests_per_minute": 60, "tokens_per_minute": 100000, "concurrent": 4}

It is read again when it changes: deleting a line revokes the key, without a restart. A server without this file has no
login and no limits, and listens on loopback only.

A budget refills evenly: 60 requests a minute are one a second, and 60 at once after a quiet minute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ziggurat.errors import DataError, FormatError
from ziggurat.files import FORMAT_VERSION, atomic_write_text, check_format, to_json
from ziggurat.product.principal import Principal

KEYS_FORMAT = 1
"""Version of a line of the keys file."""


class Key(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    requests_per_minute: int = Field(default=60, ge=1)
    tokens_per_minute: int = Field(default=100_000, ge=1)
    concurrent: int = Field(default=4, ge=1)
    admin: bool = False  # may change what is served


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key(path: Path, name: str, *, admin: bool = False, **limits: int) -> str:
    """Add a key to the file and return the secret, which is stored nowhere.

    Raises:
        DataError: the file cannot be read, or has a key of this name.
    """
    secret = f"zig-{secrets.token_urlsafe(32)}"
    keys = read_keys(path) if path.exists() else []
    if name in [key.name for key in keys]:
        raise DataError(
            f"there is already a key named {name}; choose another name, or delete its line first.", path=path
        )
    keys.append(Key(name=name, sha256=hash_of(secret), admin=admin, **limits))
    lines = [to_json({FORMAT_VERSION: KEYS_FORMAT, **key.model_dump()}) for key in keys]
    atomic_write_text(path, "".join(line + "\n" for line in lines))
    path.chmod(0o600)
    return secret


def read_keys(path: Path) -> list[Key]:
    keys = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the keys cannot be read ({error}); make one with `ziggurat key new`.", path=path
        ) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            keys.append(Key.model_validate(check_format(json.loads(line), KEYS_FORMAT, path)))
        except (ValueError, AttributeError, RecursionError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise DataError(
                f"this line is not a key ({reason}); make one with `ziggurat key new`.",
                path=path,
                line=number,
            ) from None
    return keys


class Bucket:
    """A budget that refills evenly, up to `per_minute`."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.limit, self._clock = per_minute, clock
        self._level, self._since = float(per_minute), clock()

    def level(self) -> float:
        now = self._clock()
        self._level = min(self.limit, self._level + (now - self._since) * self.limit / 60)
        self._since = now
        return self._level

    def take(self, amount: float) -> None:
        self._level = min(self.limit, self.level() - amount)

    def seconds_until(self, amount: float) -> float:
        """Seconds until `amount` is available; an amount above the limit waits for a full bucket."""
        return max(0.0, (min(amount, self.limit) - self.level()) * 60 / self.limit)


@dataclass
class Quota:
    """What one key may use, and has used."""

    key: Key
    requests: Bucket
    tokens: Bucket
    running: int = 0
    scopes: frozenset[str] | None = None
    """What it may be used for; None: everything."""
    models: frozenset[str] | None = None
    """The models that it may ask; None: all."""
    spend: Callable[[int, int], Awaitable[None]] | None = None
    """Called with the tokens of prompt and answer when a request has ended."""
    person_id: str | None = None
    key_id: str | None = None
    """Of a key of the store; None: the key is in a file."""
    principal: Principal | None = None
    """Who the key is, where it is of the store."""

    @classmethod
    def of(cls, key: Key, clock: Callable[[], float] = time.monotonic) -> Quota:
        """A full one."""
        return cls(key, Bucket(key.requests_per_minute, clock), Bucket(key.tokens_per_minute, clock))

    def headers(self) -> dict[str, str]:
        """OpenAI's headers, sent with every answer."""
        return {
            "x-ratelimit-limit-requests": str(self.requests.limit),
            "x-ratelimit-remaining-requests": str(max(0, int(self.requests.level()))),
            "x-ratelimit-reset-requests": duration(self.requests.seconds_until(self.requests.limit)),
            "x-ratelimit-limit-tokens": str(self.tokens.limit),
            "x-ratelimit-remaining-tokens": str(max(0, int(self.tokens.level()))),
            "x-ratelimit-reset-tokens": duration(self.tokens.seconds_until(self.tokens.limit)),
        }


def duration(seconds: float) -> str:
    """`6m0s`, `1s`, `0s`."""
    whole = int(seconds + 0.999)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"


class Keyring:
    """The keys of a file, each with its quota.

    Raises:
        DataError: the file cannot be read, or holds no key.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = path, clock
        self._read_at = 0
        self._quotas: dict[str, Quota] = {}
        self._refresh()
        if not self._quotas:
            raise DataError("the file holds no key; make one with `ziggurat key new NAME`.", path=path)

    def _refresh(self) -> None:
        """Read the file again if it changed; the keys stay as they are if it cannot be read."""
        changed = self.path.stat().st_mtime_ns
        if changed == self._read_at:
            return
        keys = {key.sha256: key for key in read_keys(self.path)}
        kept = {h: q for h, q in self._quotas.items() if h in keys and keys[h] == q.key}
        for sha256, key in keys.items():
            kept.setdefault(sha256, Quota.of(key, self._clock))
        self._quotas, self._read_at = kept, changed

    def quota(self, authorization: str) -> Quota | None:
        """The quota of `Bearer <key>`. Every hash is compared, so that the time does not depend on the key."""
        with contextlib.suppress(OSError, DataError, FormatError):
            self._refresh()
        scheme, _, secret = authorization.partition(" ")
        given, found = hash_of(secret.strip()), None
        for sha256, quota in self._quotas.items():
            if secrets.compare_digest(sha256, given) and scheme.lower() == "bearer":
                found = quota
        return found
