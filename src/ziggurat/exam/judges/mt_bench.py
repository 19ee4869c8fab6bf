"""Two-turn questions: a model answers both turns, a judge grades each from 1 to 10 and compares it with a baseline.

Questions are read from a folder as MT-Bench is published (`question.jsonl`, and `reference_answer/*.jsonl` where there
are references); our own 16, two of each of eight categories, one in English and one in Chinese, are shipped.

    grade      mean over questions of the mean grade of the two turns, 1 to 10
    win_rate   share of turns where both orders prefer the model to the baseline (ties are no wins)
    half_rate  the same with half a win for a tie; 0.5 is the baseline itself
    same       share of comparisons, read in both orders, that do not change with the order

The figure's `score` is the mean grade over 10. A turn whose grade could not be read has none and is counted. Answers
are greedy in every category; the published bench samples some of them at 0.7.
Source: Zheng et al. (arXiv:2306.05685), section 2.2 and appendix A; grade of the second turn with the first as context.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ziggurat.errors import DataError, UsageError
from ziggurat.exam.candidate import Ask, Candidate
from ziggurat.exam.judges.judge import AnyJudge, Case, Compared, Pair, both_orders, unread
from ziggurat.records import Message

NAME, VERSION = "mt-bench", 1
TITLE = {"en": "Two-turn questions, graded by a judge", "zh": "两轮问答，由裁判打分"}
MAX_TOKENS = 512
TURNS = 2


@dataclass(frozen=True)
class Question:
    """One question of two turns."""

    id: str
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """The two answers of one model to one question."""

    question: Question
    turns: tuple[str, ...]

    def before(self, turn: int) -> tuple[Message, ...]:
        """The conversation that awaits the answer of a turn."""
        said: list[Message] = []
        for at in range(turn):
            said += [
                Message(role="user", content=self.question.turns[at]),
                Message(role="assistant", content=self.turns[at]),
            ]
        return (*said, Message(role="user", content=self.question.turns[turn]))

    @property
    def row(self) -> dict[str, Any]:
        return {"category": self.question.category}


@dataclass(frozen=True)
class Judged:
    """What came of one question: grades by turn (None: not read), and against the baseline the verdicts by turn."""

    answered: Answered
    baseline: Answered | None
    grades: tuple[float | None, ...]
    reasons: tuple[str, ...]
    verdicts: tuple[str | None, ...] = ()
    changed: tuple[bool, ...] = ()
    unread: int = 0
    said: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def grade(self) -> float | None:
        read = [one for one in self.grades if one is not None]
        return sum(read) / len(read) if read else None

    def to_row(self) -> dict[str, Any]:
        """A line of rows.jsonl, in the shape of `exam.item.Found`."""
        scores: dict[str, float] = {}
        if self.grade is not None:
            scores |= {"score": self.grade / 10, "grade": self.grade}
        scores |= {f"grade_turn_{at + 1}": one for at, one in enumerate(self.grades) if one is not None}
        decided = [one for one in self.verdicts if one is not None]
        if decided:
            scores["win_rate"] = sum(one == "a" for one in decided) / len(decided)
            scores["half_rate"] = sum({"a": 1.0, "tie": 0.5}.get(one, 0.0) for one in decided) / len(decided)
            scores["same"] = 1 - sum(self.changed) / len(decided)  # what was not read did not change
        question = self.answered.question
        detail: dict[str, Any] = {
            "turns": list(question.turns),
            "unread": self.unread,
            "reasons": list(self.reasons),
        }
        if self.baseline is not None:
            detail |= {
                "baseline": list(self.baseline.turns),
                "verdicts": list(self.verdicts),
                "said": [list(one) for one in self.said],
            }
        return {
            "id": question.id,
            "stratum": question.category,
            "cluster": question.id,
            "pair": "",
            "answers": list(self.answered.turns),
            "mark": {"scores": scores, "why": "" if scores else "not read", "detail": detail},
        }


def shipped() -> Path:
    """The folder of our own questions."""
    return Path(str(files("ziggurat.exam.judges") / "questions"))


def read_questions(folder: Path) -> list[Question]:
    """The questions of a folder with `question.jsonl`, or of such a file.

    Raises:
        UsageError: there is no such file.
        DataError: a line is no question of two turns.
    """
    path = folder / "question.jsonl" if folder.is_dir() else folder
    if not path.is_file():
        raise UsageError(
            f"There are no questions at {path}; name a folder with question.jsonl, as MT-Bench is published."
        )
    references = dict(_references(path.parent / "reference_answer"))
    found = []
    for number, row in _lines(path):
        turns, name = row.get("turns"), str(row.get("question_id", number))
        if not isinstance(turns, list) or len(turns) != TURNS or not all(isinstance(t, str) for t in turns):
            raise DataError(f"a question has {TURNS} turns, texts.", path=path, line=number, field="turns")
        reference = row.get("reference") or references.get(name) or ()
        found.append(
            Question(name, str(row.get("category") or "other"), tuple(turns), tuple(map(str, reference)))
        )
    if not found:
        raise DataError("the file holds no question.", path=path)
    return found


def _references(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """By question: the turns of the first choice, as the published references have them."""
    for path in sorted(folder.glob("*.jsonl")):
        for _, row in _lines(path):
            choices = row.get("choices") or [{}]
            yield str(row.get("question_id")), list(choices[0].get("turns") or [])


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"no JSON ({error}).", path=path, line=number) from error
        if not isinstance(row, dict):
            raise DataError("expected an object.", path=path, line=number)
        yield number, row


def answer(candidate: Candidate, questions: Sequence[Question], ask: Ask) -> list[Answered]:
    """Both turns of each question; the second turn sees the first answer. Two batches in all."""
    done = [Answered(question, ()) for question in questions]
    for turn in range(TURNS):
        replies = candidate.answers([one.before(turn) for one in done], ask)
        done = [
            Answered(one.question, (*one.turns, reply[0].strip()))
            for one, reply in zip(done, replies, strict=True)
        ]
    return done


def judge_all(
    judge: AnyJudge, ours: Sequence[Answered], theirs: Sequence[Answered] | None = None
) -> list[Judged]:
    """Grades of all turns, and comparisons with the baseline's answers in both orders.

    A comparison of a second turn shows each model's own first turn inside its answer, since the two conversations
    differ from there on.
    """
    cases = [
        Case(f"{one.question.id}:{turn}", one.before(turn), one.turns[turn], one.row | _reference(one, turn))
        for one in ours
        for turn in range(TURNS)
    ]
    grades = judge.grade(cases)
    compared: list[Compared] = []
    if theirs is not None:
        pairs = [pair_of(a, b, turn) for a, b in zip(ours, theirs, strict=True) for turn in range(TURNS)]
        compared = both_orders(judge, pairs)
    found = []
    for at, one in enumerate(ours):
        mine, said = grades[TURNS * at : TURNS * (at + 1)], compared[TURNS * at : TURNS * (at + 1)]
        found.append(
            Judged(
                answered=one,
                baseline=None if theirs is None else theirs[at],
                grades=tuple(grade.value for grade in mine),
                reasons=tuple(grade.said for grade in mine),
                verdicts=tuple(verdict.winner for verdict in said),
                changed=tuple(verdict.changed for verdict in said),
                unread=sum(grade.value is None for grade in mine) + unread(said),
                said=tuple((verdict.there.said, verdict.back.said) for verdict in said),
            )
        )
    return found


def pair_of(ours: Answered, theirs: Answered, turn: int) -> Pair:
    """The answers of both to one turn."""
    question = ours.question
    asked = "\n\n".join(f"{at + 1}. {text}" for at, text in enumerate(question.turns[: turn + 1]))
    return Pair(
        id=f"{question.id}:{turn}",
        messages=(Message(role="user", content=asked if turn else question.turns[0]),),
        a=_shown(ours, turn),
        b=_shown(theirs, turn),
        cluster=question.id,
        row=ours.row | _reference(ours, turn),
    )


def _shown(one: Answered, turn: int) -> str:
    return (
        one.turns[0] if turn == 0 else "\n\n".join(f"{at + 1}. {text}" for at, text in enumerate(one.turns))
    )


def _reference(one: Answered, turn: int) -> dict[str, str]:
    known = one.question.reference
    return {"reference": known[turn]} if turn < len(known) and known[turn] else {}
