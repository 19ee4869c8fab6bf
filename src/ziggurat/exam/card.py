"""Lets models sit tasks, one model after the other, and keeps what came out: the report card before it is printed.

What could not be measured stays on the card with its reason: data that are not on this machine, a server that gives no
likelihoods, a task that needs a judge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ziggurat.checkpoint_folders import whole_checkpoints
from ziggurat.errors import BusyError, UsageError, ZigguratError
from ziggurat.evaluation.statistics import Interval
from ziggurat.exam.candidate import Candidate
from ziggurat.exam.candidates import address_of, open_candidate
from ziggurat.exam.contamination import Corpora, corpora_of, overlaps
from ziggurat.exam.figures import compared
from ziggurat.exam.reading import MissingData, Task, open_tasks
from ziggurat.exam.run import Result, sit
from ziggurat.exam.suites import suite
from ziggurat.exam.switches import Switches
from ziggurat.places import find_run, runs_home


@dataclass(frozen=True, eq=False)
class Entry:
    """A task and how it is sat; `label` tells the ways of one task apart."""

    task: Task
    switches: Switches
    label: str = ""

    @property
    def name(self) -> str:
        return f"{self.task.name} ({self.label})" if self.label else self.task.name


@dataclass
class Card:
    """The results of several models in several tasks."""

    entries: list[Entry]
    models: list[str] = field(default_factory=list)
    results: dict[tuple[str, int], Result] = field(default_factory=dict)
    """By model and the number of the entry."""
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    """(model, or "" for all; task; why it was not measured)."""
    corpora: dict[str, Corpora] = field(default_factory=dict)
    baseline: str | None = None
    curves: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Of a model whose checkpoints sat: (step, name of the checkpoint as a model)."""

    def figure(self, model: str, entry: int) -> Mapping[str, Any] | None:
        result = self.results.get((model, entry))
        return None if result is None else result.figure

    def difference(self, model: str, entry: int) -> Interval | None:
        """The model's score less the baseline's, paired; None where one of them is not there."""
        ours = self.results.get((model, entry))
        theirs = self.results.get((self.baseline, entry)) if self.baseline else None
        if ours is None or theirs is None or model == self.baseline:
            return None
        return compared(ours.found, theirs.found)


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The switches of the command, of which some have several values."""

    shots: Sequence[int] = ()
    think: bool = False
    """Each task that is answered in words also with its steps."""
    chat: bool = True
    generate: bool = False
    limit: int | None = None
    samples: int | None = None
    seed: int = 0
    judge: str | None = None

    def of(self, task: Task) -> list[Switches]:
        """Every way in which a task is sat."""
        common = Switches(
            chat=self.chat,
            generate=self.generate,
            limit=self.limit,
            samples=self.samples,
            seed=self.seed,
            judge=self.judge,
        )
        writes = task.file.form in ("answer", "code") or (task.file.form == "choice" and self.generate)
        writes = writes and task.follows("think")
        takes_shots = task.file.form in ("choice", "answer", "code") and task.follows("shots")
        return [
            dataclasses.replace(common, shots=shots, think=think)
            for shots in (self.shots if self.shots and takes_shots else (None,))
            for think in ((False, True) if self.think and writes else (False,))
        ]


def entries_of(
    names: Sequence[str], suite_name: str | None, ways: Ways, *, trust_code: bool = False
) -> tuple[list[Entry], list[tuple[str, str, str]]]:
    """The tasks of a command with their rows read, and those that cannot be read here with the reason.

    Raises:
        UsageError, DataError: a task that is named is not there, or is wrong.
    """
    found: list[Entry] = []
    missing: list[tuple[str, str, str]] = []
    for name in names:
        for task in open_tasks(name, trust_code=trust_code):
            _add(found, missing, task, ways.of(task))
    for part in suite(suite_name).tasks if suite_name else ():
        try:
            tasks = open_tasks(part.task)
        except UsageError as error:
            missing.append(("", part.task, str(error)))
            continue
        own = part.model_dump(exclude_none=True, exclude={"task"})
        for task in tasks:
            given = [dataclasses.replace(one, **own) for one in ways.of(task)]
            if ways.limit is not None and part.limit is not None:
                given = [dataclasses.replace(one, limit=min(ways.limit, part.limit)) for one in given]
            _add(found, missing, task, list(dict.fromkeys(given)))
    return _labelled(found), missing


def _add(
    found: list[Entry], missing: list[tuple[str, str, str]], task: Task, ways: Iterable[Switches]
) -> None:
    try:
        task.rows  # noqa: B018 - read here, so that a missing file is known before a model sits
        task.examples  # noqa: B018
    except MissingData as error:
        missing.append(("", task.name, str(error)))
        return
    found.extend(Entry(task, switches) for switches in ways)


def _labelled(entries: Sequence[Entry]) -> list[Entry]:
    """Ways of one task are told apart by what differs between them."""
    labelled = []
    for one in {(one.task.name, one.switches): one for one in entries}.values():
        others = [other.switches for other in entries if other.task.name == one.task.name]
        words = []
        if len({other.shots for other in others}) > 1:
            shots = one.task.file.shots.count if one.switches.shots is None else one.switches.shots
            words.append(f"{shots}-shot")
        if len({other.think for other in others}) > 1 and one.switches.think:
            words.append("steps")
        for name, plural in (("limit", "items"), ("samples", "samples")):
            given = getattr(one.switches, name)
            if len({getattr(other, name) for other in others}) > 1 and given is not None:
                words.append(f"{given} {plural}")
        labelled.append(dataclasses.replace(one, label=", ".join(words)))
    return labelled


def hold(
    models: Sequence[str],
    entries: Sequence[Entry],
    *,
    missing: Sequence[tuple[str, str, str]] = (),
    baseline: str | None = None,
    checkpoints: bool = False,
    upstreams: Mapping[str, str] | None = None,
    fresh: bool = False,
    say: Callable[[str], None] | None = None,
) -> Card:
    """Let every model, and the baseline, sit every task. `say`: what is being done.

    Raises:
        UsageError, RunError: a model is not there.
        BusyError: a server stopped answering; the same command goes on.
    """
    names = list(dict.fromkeys([*models, *([baseline] if baseline else [])]))
    card = Card(list(entries), names, missing=list(missing), baseline=baseline)
    for name in names:
        if checkpoints:
            card.curves[name] = checkpoints_of(name, upstreams)
        for one in (*(path for _, path in card.curves.get(name, ())), name):
            _sit_all(
                card, open_candidate(one, upstreams), say or _silent, fresh=fresh, upstreams=upstreams or {}
            )
    return card


def _silent(text: str) -> None:
    del text


def checkpoints_of(name: str, upstreams: Mapping[str, str] | None = None) -> list[tuple[int, str]]:
    """The whole checkpoints of a run, by step. UsageError for a model that has none."""
    folder = None if address_of(name, upstreams or {}) else find_run(name)
    found = [] if folder is None else whole_checkpoints(folder / "checkpoints")
    if not found:
        raise UsageError(f"{name} has no checkpoints; leave out --checkpoints, or name a run of `runs list`.")
    home = runs_home().resolve()
    return [
        (
            int(path.name.removeprefix("step-")),
            path.resolve().relative_to(home).as_posix() if path.resolve().is_relative_to(home) else str(path),
        )
        for path in found
    ]


def _sit_all(
    card: Card,
    candidate: Candidate,
    say: Callable[[str], None],
    *,
    fresh: bool,
    upstreams: Mapping[str, str],
) -> None:
    """One model sits everything; what it cannot sit is noted."""
    local = address_of(candidate.name, upstreams) is None
    corpora = corpora_of(candidate.name) if local else Corpora()
    card.corpora[candidate.name] = corpora
    known: Mapping[str, Mapping[str, bool]] = {}
    if corpora.files:
        say(f"{candidate.name}: looking for the tasks in {len(corpora.files)} files of its lineage")
        known = overlaps(corpora, list({entry.task.name: entry.task for entry in card.entries}.values()))
    for number, entry in enumerate(card.entries):

        def progress(done: int, whole: int, entry: Entry = entry, number: int = number) -> None:
            place = f"task {number + 1} of {len(card.entries)}"
            say(f"{candidate.name}: {entry.name}, {done} of {whole} ({place})")

        try:
            card.results[candidate.name, number] = sit(
                candidate,
                entry.task,
                entry.switches,
                overlap=known.get(entry.task.name),
                fresh=fresh,
                progress=progress,
            )
        except BusyError:
            raise
        except ZigguratError as error:
            card.missing.append((candidate.name, entry.name, str(error)))
