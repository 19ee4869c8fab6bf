"""All errors that a person can correct, as a tree. Each message is one sentence: what, where, and the way out.

    ZigguratError                 exit 2, HTTP 400   anything a person can correct
    ├── UsageError                                   a command or call whose arguments do not fit together
    ├── DataError                                    a file of records: missing, empty, broken at a line, a wrong field
    ├── ConfigError                                  a setting that is unknown, missing or out of range
    ├── FormatError                                  a file that a newer Ziggurat wrote
    ├── RunError                                     a run folder: not found, locked, torn, other configuration
    ├── ModelFolderError                             a model folder: missing file, wrong shapes, another tokenizer
    ├── ContextError                                 a prompt longer than the model's context
    ├── TrainingError             exit 1, HTTP 500   a step that cannot be taken: a non-finite loss or gradient
    └── BusyError                 exit 1, HTTP 503   no room now; try again

A bug is not in this tree: it keeps its own exception and its traceback. `cli/main.py` turns these errors into one
sentence and an exit code; `service/http/problems.py` turns them into one JSON shape.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ZigguratError(Exception):
    """Base of all; raise a subclass."""

    exit_code: int = 2
    http_status: int = 400


class UsageError(ZigguratError):
    """Arguments that do not fit together."""


class ConfigError(ZigguratError):
    """A setting that is unknown, missing or out of range; the message collects every problem found."""


class DataError(ZigguratError):
    """A data file that cannot be used. The place is put before the message:

    >>> str(DataError("expected 3 ranks, got 2.", path="votes.jsonl", line=7, field="ranks"))
    'votes.jsonl line 7, field ranks: expected 3 ranks, got 2.'
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.line = line  # 1-based; the row number in a Parquet file
        self.field = field
        self.reason = message
        place = "" if path is None else str(path)
        if line is not None:
            place += f" line {line}" if place else f"line {line}"
        if field:
            place += f", field {field}" if place else f"field {field}"
        super().__init__(f"{place}: {message}" if place else message)


class FormatError(ZigguratError):
    """A file whose `format_version` is newer than this version of Ziggurat reads."""


class RunError(ZigguratError):
    """A run folder that is not there, is locked, is torn, or belongs to another configuration."""


class ModelFolderError(ZigguratError):
    """A model folder with a missing file, a wrong shape or a tokenizer that is not its own."""


class ContextError(ZigguratError):
    """A prompt that does not fit; the message holds both numbers."""


class TrainingError(ZigguratError):
    """A training step refused before the weights moved; the message names the step."""

    exit_code = 1
    http_status = 500


class BusyError(ZigguratError):
    """Everything is in use; try again later. `code` says more: busy (a queue is full), failed, shutting_down."""

    exit_code = 1
    http_status = 503

    def __init__(self, message: str, *, code: str | None = None) -> None:
        self.code = code
        super().__init__(message)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A suggestion to append to a sentence, or nothing.

    >>> did_you_mean("contxt", ["context", "layers"])
    ' Did you mean "context"?'
    """
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""
