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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.exam.candidate import Ask, Candidate
from ziggurat.exam.judges import prompts
from ziggurat.exam.judges.judge import AnyJudge
from ziggurat.exam.judges.mt_bench import (
    MAX_TOKENS,
    NAME,
    TITLE,
    VERSION,
    Answered,
    Question,
    answer,
    judge_all,
)
from ziggurat.files import atomic_write_text, drop_lock, take_lock, to_json
from ziggurat.home import ziggurat_home
from ziggurat.version import __version__

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
        """Everything that can change a figure."""
        asked = [[one.id, one.category, one.turns, one.reference] for one in self.questions]
        return {
            "model": self.candidate.name,
            "sha256": self.candidate.sha256,
            "task": NAME,
            "version": VERSION,
            "questions": len(self.questions),
            "questions_sha256": _hash(asked),
            "judge": self.judge.name,
            "judge_sha256": self.judge.sha256,
            "wording": prompts.VERSION,
            "baseline": self.baseline.name if self.baseline else None,
            "baseline_sha256": self.baseline.sha256 if self.baseline else None,
            "max_tokens": self.max_tokens,
            "code_version": __version__,
        }

    @property
    def folder(self) -> Path:
        safe = self.candidate.name.replace("/", "+")
        model = f"{safe}--{self.candidate.sha256[:12]}"
        return ziggurat_home() / "exams" / model / f"{NAME}@{VERSION}--{_hash(self.settings)[:12]}"


def sit(one: Sitting, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The figure; what a killed sitting left is kept. `say`: called after each batch of questions.

    Raises:
        RunError: another process works in the same folder.
    """
    folder = one.folder
    if (folder / "figure.json").is_file():
        known: dict[str, Any] = json.loads((folder / "figure.json").read_text(encoding="utf-8"))
        return known
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder)
    try:
        atomic_write_text(folder / "settings.json", to_json(one.settings, indent=2) + "\n")
        rows = _rest(one, folder / "rows.jsonl", say)
        figure = figure_of(rows)
        atomic_write_text(folder / "figure.json", to_json(figure, indent=2) + "\n")
    finally:
        drop_lock(lock)
    return figure


def _rest(one: Sitting, path: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    rows = _whole_lines(path)
    ask = Ask(max_tokens=one.max_tokens, temperature=0.0)
    for at in range(len(rows), len(one.questions), BATCH):
        part = one.questions[at : at + BATCH]
        ours = answer(one.candidate, part, ask)
        theirs: list[Answered] | None = None
        if one.baseline is not None:
            theirs = answer(one.baseline, part, ask)
        new = [found.to_row() for found in judge_all(one.judge, ours, theirs)]
        with open(path, "a", encoding="utf-8", newline="") as file:
            file.writelines(to_json(row) + "\n" for row in new)
            file.flush()
            os.fsync(file.fileno())
        rows += new
        say(f"{len(rows)} of {len(one.questions)} questions")
    return rows


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The rows that are there; a last line that was cut off is removed."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        atomic_write_text(path, whole)
    return [json.loads(line) for line in whole.splitlines()]


def figure_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """figure.json, in the shape that all exams share; no chance or majority, since a grade has neither."""
    score = _interval(rows, "score")
    strata = sorted({str(row["stratum"]) for row in rows})
    return {
        "task": NAME,
        "title": TITLE,
        "ability": "dialogue",
        "version": VERSION,
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


def _hash(value: Any) -> str:
    return hashlib.sha256(to_json(value).encode("utf-8", "surrogatepass")).hexdigest()
