r"""The first layer: a list of patterns, which may change while the server runs.

    # moderation.yaml
    harassment:
      - \byou (are|'re) (an idiot|worthless)
    violence:
      - 我要杀了

A pattern is a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax), whose time is linear in the length
of the text; upper and lower case are equal. A text that matches has score 1 in that category, every other text 0.

The file is read again when it changes. If it is broken or missing, the last good list stays in use; the log reports it
once, and `/admin/health` reports `stale` until it is repaired.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import yaml

from ziggurat.errors import DataError, did_you_mean
from ziggurat.safety.layers import CATEGORIES, Verdict, plain

log = logging.getLogger("ziggurat.service")

MAX_PATTERNS = 10_000
"""Measured on one core: 0.6 s to read them once, 0.08 s for each request, for short texts and for 32,000 characters."""
TOGETHER = 50
"""Patterns in one pass over the text."""


def read_patterns(path: Path) -> dict[str, list[str]]:
    """Category -> patterns; each compiles, and none matches every text.

    Raises:
        DataError: the file is missing or malformed, or a pattern is invalid.
    """
    try:
        parsed: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the patterns cannot be read ({error}); write a YAML file.", path=path) from None
    except yaml.YAMLError as error:
        raise DataError(f"this is not YAML ({' '.join(str(error).split())}).", path=path) from None
    if not isinstance(parsed, dict) or not parsed:
        raise DataError(
            "expected categories with a list of patterns each, such as violence: [...].", path=path
        )
    for category, patterns in parsed.items():
        if category not in CATEGORIES:
            hint = did_you_mean(str(category), CATEGORIES)
            raise DataError(f"there is no category {category!r}.{hint}", path=path)
        if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) for p in patterns):
            raise DataError("expected a list of patterns, each a text.", path=path, field=category)
        parsed[category] = [plain_pattern(pattern) for pattern in patterns]
        for pattern in parsed[category]:
            _check(pattern, path, category)
    if (count := sum(map(len, parsed.values()))) > MAX_PATTERNS:
        raise DataError(f"there are {count:,} patterns; at most {MAX_PATTERNS:,} are read.", path=path)
    return parsed


def plain_pattern(pattern: str) -> str:
    """A pattern for texts in the form of `plain`: full-width characters become ordinary ones, taken literally."""
    return "".join(c if (written := plain(c)) == c else re.escape(written) for c in pattern)


def _check(pattern: str, path: Path, category: str) -> None:
    try:
        everything = _matches([""], pattern)[0]
    except pyarrow.ArrowInvalid as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{pattern!r} is not a regular expression of RE2 ({reason}).", path=path, field=category
        ) from None
    if everything:
        raise DataError(f"{pattern!r} matches every text; write a longer pattern.", path=path, field=category)


def _matches(texts: Sequence[str], pattern: str) -> list[bool]:
    found = pyarrow.compute.match_substring_regex(
        pyarrow.array(texts, pyarrow.string()), pattern, ignore_case=True
    )
    return list(found.to_pylist())


def passes(patterns: Sequence[str]) -> list[str]:
    """Fewer patterns that match the same texts: groups of `TOGETHER`, where RE2 has memory for them."""
    passes: list[str] = []
    for start in range(0, len(patterns), TOGETHER):
        some = patterns[start : start + TOGETHER]
        joined = "|".join(f"(?:{pattern})" for pattern in some)
        try:
            _matches([""], joined)
        except pyarrow.ArrowInvalid:  # too large for one pattern
            passes += some
        else:
            passes.append(joined)
    return passes


class PatternFile:
    """The last good list of a file."""

    name = "patterns"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trouble: str | None = None
        self._lock = threading.Lock()
        self._seen = self._state()
        self._patterns = self._read()

    @property
    def categories(self) -> frozenset[str]:
        return frozenset(self._patterns)

    @property
    def trouble(self) -> str | None:
        self.refresh()
        return self._trouble

    def classify(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
        self.refresh()
        patterns, shown = self._patterns, [plain(text) for text in texts]
        hits = {c: [False] * len(shown) for c in patterns}
        for category, own in patterns.items():
            for pattern in own:
                found = _matches(shown, pattern)
                hits[category] = [a or b for a, b in zip(hits[category], found, strict=True)]
        return [{c: Verdict(float(hit[i]), hit[i]) for c, hit in hits.items()} for i in range(len(shown))]

    def refresh(self) -> None:
        """Read the file again if it changed."""
        with self._lock:
            state = self._state()
            if state == self._seen:
                return
            self._seen = state
            try:
                self._patterns = self._read()
            except DataError as error:
                self._trouble = str(error)
                log.warning("%s The last good list stays in use.", error)
            else:
                self._trouble = None

    def _read(self) -> dict[str, list[str]]:
        return {category: passes(own) for category, own in read_patterns(self.path).items()}

    def _state(self) -> tuple[int, ...] | None:
        """Changes when the file does; None while it is missing."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
