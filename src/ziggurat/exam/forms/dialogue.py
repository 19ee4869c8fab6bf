"""Several turns; the model's own answers stay in the conversation, and some turns are judged.

A row holds `turns`, in order:

    {"user": "My name is Ada."}                                      asked, and not judged
    {"user": "What is my name?", "answer": "Ada"}                    judged by the task's metric
    {"user": "Spell it.", "answer": "A-d-a", "metric": {"name": "contains"}}     judged by a metric of its own
    {"user": "And yours?", "assistant": "Bo."}                       this answer is put in; the model is not asked

`session`: turns of another session have a conversation of their own, which begins with the `system` of its first turn
(default: the task's). All conversations of a batch take each turn together. The score of a row is the mean over its
judged turns, each of which is a score too (`turn_2`); with `whole: true` in the metric's settings the metric is called
once, with all answers of the model in order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ziggurat.errors import DataError
from ziggurat.exam.candidate import Ask, Candidate
from ziggurat.exam.forms.answer import ask_of, called, found, settings_of
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.reading import TASK_FILE, Task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import fill, transcript
from ziggurat.records import Message

GIVEN = ("judge", "model")
"""Settings that the command gives to every metric."""
STOPS = ("\nUser:", "\n\n")
"""Where an answer in raw text ends."""


@dataclass
class _Talk:
    """One row while it is sat."""

    item: Item
    sessions: dict[str, list[Message]] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    """The model's own, in order."""
    marks: dict[int, Mark] = field(default_factory=dict)
    cut: bool = False

    @property
    def turns(self) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = self.item.row["turns"]
        return turns


def sit(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    talks = [_Talk(item) for item in items]
    ask = dataclasses.replace(ask_of(task, switches), samples=1)
    if not switches.chat and not task.file.stop:
        ask = dataclasses.replace(ask, stop=STOPS)
    whole = bool(settings_of(task, switches).get("whole", False))
    for number in range(max((len(talk.turns) for talk in talks), default=0)):
        asked = [talk for talk in talks if number < len(talk.turns) and _begin(task, talk, number)]
        if not asked:
            continue
        texts = _answers(candidate, [_history(talk, number) for talk in asked], ask, switches)
        for i, (talk, text) in enumerate(zip(asked, texts, strict=True)):
            talk.cut |= i in getattr(candidate, "cut", ())
            talk.answers.append(text)
            turn = talk.turns[number]
            if not whole and ("answer" in turn or "metric" in turn):
                talk.marks[number + 1] = _mark(task, talk, number, text, switches)
            _history(talk, number).append(Message(role="assistant", content=text))
    return [_found(task, talk, switches, whole) for talk in talks]


def _begin(task: Task, talk: _Talk, number: int) -> bool:
    """Put a turn's question into its conversation; False where its answer is given, which is put in too."""
    turn = talk.turns[number]
    name = str(turn.get("session", ""))
    if name not in talk.sessions:
        system = turn.get("system")
        if system is None and task.file.system:
            system = fill(task.file.system, talk.item.row, task)
        talk.sessions[name] = [Message(role="system", content=system)] if system else []
    talk.sessions[name].append(Message(role="user", content=turn["user"]))
    if "assistant" in turn:
        talk.sessions[name].append(Message(role="assistant", content=str(turn["assistant"])))
        return False
    return True


def _history(talk: _Talk, number: int) -> list[Message]:
    return talk.sessions[str(talk.turns[number].get("session", ""))]


def _answers(
    candidate: Candidate, conversations: Sequence[Sequence[Message]], ask: Ask, switches: Switches
) -> list[str]:
    if switches.chat:
        return [texts[0] for texts in candidate.answers(conversations, ask)]
    written = candidate.continuations([transcript(one) for one in conversations], ask)
    return [texts[0].strip() for texts in written]


def _mark(task: Task, talk: _Talk, number: int, text: str, switches: Switches) -> Mark:
    turn = talk.turns[number]
    own: Mapping[str, Any] | None = turn.get("metric")
    if own is None and task.file.metric is None:
        raise DataError(
            f"row {talk.item.id}, turn {number + 1} has an answer and no metric; name one in it or in task.yaml.",
            path=task.folder / TASK_FILE,
        )
    settings = settings_of(task, switches)
    if own is not None:
        settings = {**{k: v for k, v in settings.items() if k in GIVEN}, **own.get("settings", {})}
    name = str(own["name"]) if own is not None else task.file.metric.name if task.file.metric else ""
    item = dataclasses.replace(
        talk.item,
        id=f"{talk.item.id}/{number + 1}",
        messages=tuple(_history(talk, number)),
        target=turn.get("answer"),
        row={**talk.item.row, **turn},
    )
    return called(task, name, [text], item, settings)


def _found(task: Task, talk: _Talk, switches: Switches, whole: bool) -> Found:
    cut = {"cut": True} if talk.cut else {}
    if whole and task.file.metric is not None:
        mark = called(task, task.file.metric.name, talk.answers, talk.item, settings_of(task, switches))
        return found(talk.item, talk.answers, dataclasses.replace(mark, detail={**mark.detail, **cut}))
    scores = {f"turn_{number}": mark.scores["score"] for number, mark in talk.marks.items()}
    mean = sum(scores.values()) / len(scores) if scores else 0.0
    why = "; ".join(f"turn {number}: {mark.why}" for number, mark in talk.marks.items() if mark.why)
    return found(talk.item, talk.answers, Mark({"score": mean, **scores}, why, cut))
