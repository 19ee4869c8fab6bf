r"""The first layer: a list of patterns that people write, and change while the server runs.

    # moderation.yaml
    harassment:
      - \byou (are|'re) (an idiot|worthless)
    violence:
      - 我要杀了

A pattern is a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax), whose time grows with the length
of the text and no faster, whatever a client sends; letters match in either case. A text that one matches has score 1 in
that category, every other has 0: the list knows its own words and nothing else.

The file is read again when it changed. One that is broken or gone leaves the last good list in force; the log says so
once, and `/admin/health` says `stale` until it is mended.
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
from ziggurat.service.openai.moderation.judges import CATEGORIES, Verdict, plain

log = logging.getLogger("ziggurat.service")

MAX_PATTERNS = 10_000
"""Measured on one core: 0.6 s to read them once, 0.08 s for each request, whether its text is short or 32,000 long."""
TOGETHER = 50
"""Patterns searched for in one pass over the text."""


def read_patterns(path: Path) -> dict[str, list[str]]:
    """Category -> patterns; every one compiles, and none matches everything.

    Raises:
        DataError: the file is not there, is not of this shape, or holds a pattern that cannot be.
    """
    try:
        told: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the patterns cannot be read ({error}); write a YAML file.", path=path) from None
    except yaml.YAMLError as error:
        raise DataError(f"this is not YAML ({' '.join(str(error).split())}).", path=path) from None
    if not isinstance(told, dict) or not told:
        raise DataError(
            "expected categories with a list of patterns each, such as violence: [...].", path=path
        )
    for category, patterns in told.items():
        if category not in CATEGORIES:
            hint = did_you_mean(str(category), CATEGORIES)
            raise DataError(f"there is no category {category!r}.{hint}", path=path)
        if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) for p in patterns):
            raise DataError("expected a list of patterns, each a text.", path=path, field=category)
        told[category] = [plain_pattern(pattern) for pattern in patterns]
        for pattern in told[category]:
            _check(pattern, path, category)
    if (count := sum(map(len, told.values()))) > MAX_PATTERNS:
        raise DataError(f"there are {count:,} patterns; at most {MAX_PATTERNS:,} are read.", path=path)
    return told


def plain_pattern(pattern: str) -> str:
    """A pattern for texts that went through `plain`: full-width signs are written narrow, and stand for themselves."""
    return "".join(c if (written := plain(c)) == c else re.escape(written) for c in pattern)


def _check(pattern: str, path: Path, category: str) -> None:
    try:
        everything = _matches([""], pattern)[0]
    except pyarrow.ArrowInvalid as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{pattern!r} is no pattern ({reason}).", path=path, field=category) from None
    if everything:
        raise DataError(f"{pattern!r} matches every text; say more.", path=path, field=category)


def _matches(texts: Sequence[str], pattern: str) -> list[bool]:
    found = pyarrow.compute.match_substring_regex(
        pyarrow.array(texts, pyarrow.string()), pattern, ignore_case=True
    )
    return list(found.to_pylist())


def passes(patterns: Sequence[str]) -> list[str]:
    """As few patterns as RE2 has memory for, that match where these do."""
    passes: list[str] = []
    for start in range(0, len(patterns), TOGETHER):
        some = patterns[start : start + TOGETHER]
        joined = "|".join(f"(?:{pattern})" for pattern in some)
        try:
            _matches([""], joined)
        except pyarrow.ArrowInvalid:  # together they are too large
            passes += some
        else:
            passes.append(joined)
    return passes


class PatternFile:
    """The list of a file, as it was when it was last good."""

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

    def judge(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
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
                log.warning("%s The last good list stays in force.", error)
            else:
                self._trouble = None

    def _read(self) -> dict[str, list[str]]:
        return {category: passes(own) for category, own in read_patterns(self.path).items()}

    def _state(self) -> tuple[int, ...] | None:
        """What changes when the file does; None while it is not there."""
        try:
            told = self.path.stat()
        except OSError:
            return None
        return told.st_mtime_ns, told.st_size, told.st_ino
