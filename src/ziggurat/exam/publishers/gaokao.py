"""GAOKAO-Bench's objective questions: JSON Lines of subject, year, question, answer (letters), score (points).

A row with several answers is one passage with several questions: each is an item of its own, and intervals resample
passages (`cluster`). Questions with several right letters are left out: comparing letters picks one.
`percentiles.csv` beside the file (subject, percent, percentile) makes of each subject's share of points the share of
test takers below it at least. Source: Zhang et al., arXiv:2305.12474.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ziggurat.errors import DataError
from ziggurat.exam.item import Found
from ziggurat.exam.publishers.lines import read
from ziggurat.exam.reading import Row, Task
from ziggurat.exam.task import TaskFile
from ziggurat.files import to_json

LETTERS = "ABCDEFG"
PERCENTILES = "percentiles.csv"


def gaokao(path: str) -> list[Task]:
    """The questions of a file, or of the file of a folder. DataError names a row that is not as published."""

    def check(row: dict[str, Any]) -> dict[str, Any]:
        answers = [answer.strip() for answer in row["answer"]]
        if not answers or any(not answer or set(answer) - set(LETTERS) for answer in answers):
            raise ValueError(f"answer {row['answer']!r}")
        return {
            "subject": str(row["subject"]),
            "question": row["question"].strip(),
            "answers": answers,
            "points": float(row["score"]),
        }

    file, given = read(path, check, "objective")
    rows = [item for number, row in enumerate(given, start=1) for item in _questions(row, number)]
    points = {str(row["id"]): float(row["points"]) for row in rows}
    left = sum(len(row["answers"]) for row in given) - len(rows)
    table = _percentiles(file.parent / PERCENTILES)
    return [
        Task(
            TaskFile(
                name="gaokao",
                title={"en": "Gaokao: objective questions", "zh": "高考客观题"},
                about={
                    "en": f"Choices by letter in {len({row['subject'] for row in rows})} subjects; {left} questions "
                    "with several right letters are left out.",
                    "zh": f"各科选择题；略去 {left} 道多选题。",
                },
                version=1,
                ability="knowledge",
                language="zh",
                source="OpenLMLab/GAOKAO-Bench",
                licence="Apache-2.0",
                rows=file.name,
                form="choice",
                prompt="{{ question }}\n{% if of > 1 %}第 {{ number }} 小题的{% endif %}答案：",
                choices="letters",
                answer="{{ answer }}",
                strata="subject",
                cluster="passage",
            ),
            file.parent,
            given=rows,
            also=to_json(table) if table else "",
            summary=lambda found: summary(found, points, table),
        )
    ]


def _questions(row: Mapping[str, Any], passage: int) -> list[Row]:
    most = max(max(answer) for answer in row["answers"])
    letters = list(LETTERS if most > "D" else LETTERS[:4])
    return [
        {
            "id": f"{passage}.{number}",
            "subject": row["subject"],
            "passage": passage,
            "question": row["question"],
            "number": number,
            "of": len(row["answers"]),
            "letters": letters,
            "answer": answer,
            "points": row["points"],
        }
        for number, answer in enumerate(row["answers"], start=1)
        if len(answer) == 1
    ]


def _percentiles(path: Path) -> dict[str, list[tuple[float, float]]]:
    """By subject: (percent of points, percentile), ascending; empty without the file."""
    if not path.is_file():
        return {}
    found: dict[str, list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                pair = float(row["percent"]), float(row["percentile"])
                found.setdefault(row["subject"], []).append(pair)
            except (KeyError, TypeError, ValueError):
                raise DataError(
                    "expected the columns subject, percent, percentile with numbers; correct the line.",
                    path=path,
                    line=line,
                ) from None
    return {subject: sorted(pairs) for subject, pairs in found.items()}


def summary(
    found: Sequence[Found], points: Mapping[str, float], table: Mapping[str, Sequence[tuple[float, float]]]
) -> dict[str, float]:
    """The share of points, and by subject the percentile that is reached at least."""
    reached: dict[str, float] = {}
    whole: dict[str, float] = {}
    for one in found:
        weight = points[one.id]
        whole[one.stratum] = whole.get(one.stratum, 0.0) + weight
        reached[one.stratum] = reached.get(one.stratum, 0.0) + weight * float(one.mark.scores["score"])
    if not whole:
        return {}
    figures = {"points": sum(reached.values()) / sum(whole.values())}
    for subject, pairs in table.items():
        if subject in whole:
            percent = 100 * reached[subject] / whole[subject]
            figures[f"percentile: {subject}"] = max((p for at, p in pairs if at <= percent), default=0.0)
    return figures
