"""Terminal output: results on stdout, progress on stderr.

Both consoles print text as it is, without markup, emoji codes or highlighting: models and users wrote much of it.
Colour comes from `style=` or a `rich.text.Text`. Piped output is not wrapped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from ziggurat.processes import writes

PIPE_WIDTH = 240  # columns when the output is not a terminal, so that no table is squeezed to 80


def _console(stderr: bool) -> Console:
    stream: TextIO = sys.stderr if stderr else sys.stdout
    width = None if stream is not None and stream.isatty() else PIPE_WIDTH
    quiet = not writes()  # of several processes one prints
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width, quiet=quiet)


out = _console(stderr=False)
err = _console(stderr=True)


def with_article(noun: str) -> str:
    """'model' -> 'a model', 'embedding model' -> 'an embedding model'."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def human_time(seconds: float) -> str:
    """0.42 -> '0.42 s', 75 -> '1m 15s', 7320 -> '2h 02m'."""
    if seconds < 0:
        return f"-{human_time(-seconds)}"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def human_count(n: float) -> str:
    """950 -> '950', 12_345 -> '12.3K', 3.6e6 -> '3.60M', 1.3e9 -> '1.30B'."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(n) >= size:
            scaled = n / size
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return f"{scaled:.{digits}f}{letter}"
    return f"{n:.0f}" if float(n).is_integer() else f"{n:.2f}"


def table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()
) -> Table:
    """A plain table for `out.print`. Columns named in `right` are aligned right (numbers)."""
    result = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0)
    )
    for name in columns:
        result.add_column(name, justify="right" if name in right else "left", no_wrap=name in right)
    for row in rows:
        result.add_row(*("" if cell is None else str(cell) for cell in row))
    return result


EVERY_S, PLAIN_EVERY_S = 0.2, 15.0


class ProgressLine:
    """One status line on stderr that is rewritten in place. If stderr is not a terminal, plain lines at intervals.

    Call `update` at every step: it prints at most every EVERY_S seconds (PLAIN_EVERY_S without a terminal).
    """

    def __init__(self, label: str = "") -> None:
        self.label = label
        self._live = err.is_terminal and not err.quiet
        self._every_s = EVERY_S if self._live else PLAIN_EVERY_S
        self._last_mark = -float("inf")
        self._shown = ""
        self._pending = ""

    def update(self, text: str, *, force: bool = False) -> None:
        """Show `text`, unless the last update was a moment ago."""
        self._pending = text
        now = time.monotonic()
        if force or now - self._last_mark >= self._every_s:
            self._last_mark = now
            self._show(text)

    def note(self, text: str) -> None:
        """Print a permanent line above the status line."""
        self._wipe()
        err.print(text)
        if self._live and self._shown:
            self._show(self._shown)

    def close(self, text: str | None = None) -> None:
        """Keep the last text (or `text`) and end the line. A second call does nothing."""
        last = self._pending if text is None else text
        if last and (self._live or last != self._shown):
            self._wipe()
            err.print(f"{self.label} {last}".strip())
        self._shown = self._pending = ""

    def _show(self, text: str) -> None:
        line = f"{self.label} {text}".strip()
        self._shown = text
        if not self._live:
            err.print(line)
            return
        stream = err.file
        stream.write(f"\r\x1b[2K{line[: max(err.width - 1, 10)]}")
        stream.flush()

    def _wipe(self) -> None:
        if self._live and self._shown:
            err.file.write("\r\x1b[2K")

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
