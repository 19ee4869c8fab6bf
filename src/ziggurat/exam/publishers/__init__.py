"""Test sets as their publishers ship them: `ziggurat exam MODEL --tasks mmlu:FOLDER`.

Nothing is shipped or fetched: the folder or file is one's own copy. Task files of lm-evaluation-harness read by
`exam/harness`, MT-Bench by `exam/judges`.

    mmlu        folder with dev/ and test/ (or val/) of `<subject>_<split>.csv` without header
    ceval       folder with dev/ and val/ of `<subject>_<split>.csv`
    cmmlu       folder with dev/ and test/ of `<subject>.csv`
    bigbench    a task.json, the folder of one, or a folder of such folders
    gaokao      GAOKAO-Bench's objective questions as JSON Lines
    gsm8k, arc, hellaswag, lambada      JSON Lines as published
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from ziggurat.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ziggurat.exam.reading import Task

PUBLISHERS: dict[str, str] = {
    "arc": "ziggurat.exam.publishers.lines:arc",
    "bigbench": "ziggurat.exam.publishers.bigbench:bigbench",
    "ceval": "ziggurat.exam.publishers.subjects:ceval",
    "cmmlu": "ziggurat.exam.publishers.subjects:cmmlu",
    "gaokao": "ziggurat.exam.publishers.gaokao:gaokao",
    "gsm8k": "ziggurat.exam.publishers.lines:gsm8k",
    "hellaswag": "ziggurat.exam.publishers.lines:hellaswag",
    "lambada": "ziggurat.exam.publishers.lines:lambada",
    "mmlu": "ziggurat.exam.publishers.subjects:mmlu",
}
"""Prefix of a name -> module:function of (path) -> list[Task]."""


def open_published(name: str, path: str | Path) -> list[Task]:
    """The tasks of a publisher's file or folder. UsageError for an unknown name or a path that holds something else."""
    if name not in PUBLISHERS:
        raise UsageError(f"there is no loader {name!r}.{did_you_mean(name, PUBLISHERS)}")
    module, _, function = PUBLISHERS[name].partition(":")
    found: list[Task] = getattr(importlib.import_module(module), function)(str(path))
    return found
