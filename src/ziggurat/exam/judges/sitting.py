"""One model sits the two-turn questions: resumable, bound to hashes, and written where the leaderboard reads.

`$ZIGGURAT_HOME/exams/<model>--<sha256>/mt-bench@1--<settings>/` has settings.json, rows.jsonl (a line a question, in
the order of questions, written as it goes) and figure.json, written last. Judging again with the same settings reads
what is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.exam.candidate import Ask, Candidate
from ziggurat.exam.judges import prompts
from ziggurat.exam.judges.judge import AnyJudge, Pair
from ziggurat.exam.judges.mt_bench import (
    MAX_TOKENS,
    NAME,
    TITLE,
    TURNS,
    VERSION,
    Answered,
    Question,
    answer,
    judge_all,
    pair_of,
)
from ziggurat.exam.run import FIGURE, FORMAT, ROWS, SETTINGS, folder_of, read_found, read_result
from ziggurat.files import cut_torn_line, drop_lock, take_lock, to_json, write_json
from ziggurat.lineage import code_version

BATCH = 8
"""Questions whose answers and verdicts are lost at most when an exam is killed."""
METRICS = ("grade", "grade_turn_1", "grade_turn_2", "win_rate", "half_rate", "same")


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """Who sits, who judges, against whom."""

    questions: Sequence[Question]
    candidate: Candidate
    judge: AnyJudge
    baseline: Candidate | None = None
    max_tokens: int = MAX_TOKENS

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that can change a figure, in the shape of other exams."""
        asked = [[one.id, one.category, one.turns, one.reference] for one in self.questions]
        return {
            "model": self.candidate.name,
            "sha256": self.candidate.sha256,
            "task": NAME,
            "version": VERSION,
            "task_sha256": hashlib.sha256(to_json(asked).encode("utf-8", "surrogatepass")).hexdigest(),
            "switches": {
                "judge": self.judge.name,
                "judge_sha256": self.judge.sha256,
                "wording": prompts.VERSION,
                "baseline": self.baseline.name if self.baseline else None,
                "baseline_sha256": self.baseline.sha256 if self.baseline else None,
                "max_tokens": self.max_tokens,
            },
            "code": code_version(),
        }

    @property
    def folder(self) -> Path:
        return folder_of(self.settings)


def sit(one: Sitting, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The figure; what a killed sitting left is kept. `say`: called after each batch of questions.

    Raises:
        RunError: another process works in the same folder, or a file there is damaged.
    """
    folder = one.folder
    if (folder / FIGURE).is_file():
        return dict(read_result(folder).figure)
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder)
    try:
        write_json(folder / SETTINGS, one.settings, FORMAT)
        figure = figure_of(_rest(one, folder / ROWS, say))
        write_json(folder / FIGURE, figure, FORMAT)
    finally:
        drop_lock(lock)
        (folder / "lock").unlink(missing_ok=True)
    return figure


def _rest(one: Sitting, path: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """All rows: those that are there, and the others, written batch after batch."""
    if path.is_file():
        cut_torn_line(path)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    ask = Ask(max_tokens=one.max_tokens, temperature=0.0)
    for at in range(len(rows), len(one.questions), BATCH):
        part = one.questions[at : at + BATCH]
        ours = answer(one.candidate, part, ask)
        theirs = answer(one.baseline, part, ask) if one.baseline is not None else None
        new = [found.to_row() for found in judge_all(one.judge, ours, theirs)]
        with open(path, "ab") as file:
            file.write("".join(to_json(row) + "\n" for row in new).encode())
            file.flush()
            os.fsync(file.fileno())
        rows += new
        say(f"{len(rows)} of {len(one.questions)} questions")
    return rows


def pairs_of_result(folder: Path) -> list[Pair]:
    """The answers of a finished result beside its baseline's, as pairs whose models are known: for self-preference.

    Raises:
        UsageError: the folder is no result with a baseline.
    """
    if not (folder / FIGURE).is_file() or not (
        baseline := read_result(folder).settings["switches"].get("baseline")
    ):
        raise UsageError(
            f"{folder} is no finished result with a baseline; `ziggurat judge mt-bench ... --baseline MODEL` makes one."
        )
    models = (str(read_result(folder).settings["model"]), str(baseline))
    made = []
    for one in read_found(folder / ROWS):
        detail = one.mark.detail
        question = Question(one.id, one.stratum, tuple(detail["turns"]))
        ours = Answered(question, one.answers)
        theirs = Answered(question, tuple(detail["baseline"]))
        made += [replace(pair_of(ours, theirs, turn), models=models) for turn in range(TURNS)]
    return made


def figure_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """figure.json, in the shape that all exams share; no chance or majority, since a grade has neither."""
    score = _interval(rows, "score")
    strata = sorted({str(row["stratum"]) for row in rows})
    return {
        "task": NAME,
        "title": TITLE,
        "ability": "dialogue",
        "version": VERSION,
        "better": "higher",
        "unit": "share",
        "n": len(rows),
        **_numbers(score),
        "chance": None,
        "majority": None,
        "mde": None,
        "unread": sum(row["mark"]["detail"]["unread"] for row in rows),
        "strata": {
            name: {
                "n": sum(row["stratum"] == name for row in rows),
                **_numbers(_interval([row for row in rows if row["stratum"] == name], "score")),
            }
            for name in strata
        },
        "metrics": {name: _numbers(found) for name in METRICS if (found := _interval(rows, name)).n},
    }


def _interval(rows: Sequence[Mapping[str, Any]], name: str) -> Interval:
    kept = [row for row in rows if name in row["mark"]["scores"]]
    values = [float(row["mark"]["scores"][name]) for row in kept]
    return cluster_bootstrap(values, [row["cluster"] for row in kept])


def _numbers(one: Interval) -> dict[str, float | None]:
    known = one.to_dict()
    return {
        "score": _round(known["value"]),
        "low": _round(known["low"]),
        "high": _round(known["high"]),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
