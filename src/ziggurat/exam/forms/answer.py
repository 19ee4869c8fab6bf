"""A question, and what the model writes, marked by the task's metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.dialogue.forms import Form
from ziggurat.errors import DataError
from ziggurat.exam.candidate import Ask, Candidate
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics import metric
from ziggurat.exam.reading import TASK_FILE, WRONG, Task
from ziggurat.exam.switches import Switches
from ziggurat.exam.task import Constrain
from ziggurat.exam.templates import final

THINK_TOKENS = 256
"""Tokens of an answer with its steps, where the task asks for fewer."""
SAMPLES_TEMPERATURE = 0.7
RAW_STOPS = {"code": ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\nassert ")}
"""Where a continuation of raw text ends, of a task without stops: of code at what follows a function
(arXiv:2107.03374, section 2.1), else at the blank line before the next question."""


def sit(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    written = write(candidate, task, items, switches)
    return [
        found(item, answers, mark_of(task, item, answers, switches))
        for item, answers in zip(items, written, strict=True)
    ]


def write(
    candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches
) -> list[tuple[str, ...]]:
    """The answers to every item."""
    ask = ask_of(task, switches)
    texts = (
        candidate.answers([item.messages for item in items], ask)
        if switches.chat
        else candidate.continuations([item.raw for item in items], ask)
    )
    return [tuple(one) for one in texts]


def ask_of(task: Task, switches: Switches) -> Ask:
    file = task.file
    samples = switches.samples or file.samples
    temperature = file.temperature if switches.temperature is None else switches.temperature
    if samples > 1 and temperature == 0:
        temperature = SAMPLES_TEMPERATURE
    tokens = switches.max_tokens or (
        max(file.max_tokens, THINK_TOKENS) if switches.think else file.max_tokens
    )
    stop = tuple(file.stop)
    if not switches.chat and not stop:
        stop = _next_question(task, switches) if switches.think else RAW_STOPS.get(file.form, ("\n\n",))
    return Ask(
        max_tokens=tokens,
        temperature=temperature,
        samples=samples,
        stop=stop,
        seed=switches.seed,
        form=form_of(file.constrain),
    )


def _next_question(task: Task, switches: Switches) -> tuple[str, ...]:
    """Where raw text with steps, which may hold blank lines, goes on to a question of its own: at what is between
    examples and what each prompt begins with; where prompts begin with a field, at a blank line that examples show."""
    file = task.file
    begins = (file.prompt or "").partition("{")[0].strip()
    between = file.shots.delimiter
    if begins:
        return (between + begins,)
    shown = file.shots.count if switches.shots is None else switches.shots
    return (between,) if shown and between.count("\n") > 1 else ()


def form_of(constrain: Constrain | None) -> Form | None:
    """What decoding holds the answers of a task to."""
    if constrain is None:
        return None
    if constrain.json_schema is not None:
        return Form.schema(constrain.json_schema)
    return Form("regex", str(constrain.regex))


def mark_of(task: Task, item: Item, answers: Sequence[str], switches: Switches) -> Mark:
    """The metric's mark; of a chain of thought, of what follows "the answer is"."""
    assert task.file.metric is not None
    read = [final(one) for one in answers] if switches.think else answers
    return called(task, task.file.metric.name, read, item, settings_of(task, switches))


def called(task: Task, name: str, answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """A metric's mark. DataError, with the row, where the metric cannot work with its settings or the row."""
    mark = metric(name)
    try:
        return mark(answers, item, settings)
    except WRONG as error:
        raise DataError(
            f"row {item.id}: the metric {name} fails ({type(error).__name__}: {error}); correct metric.settings or "
            "the row.",
            path=task.folder / TASK_FILE,
        ) from error


def settings_of(task: Task, switches: Switches) -> dict[str, Any]:
    """The settings of the task's metric, with the candidate's name and the judge that the command names."""
    settings = dict(task.file.metric.settings) if task.file.metric else {}
    settings["model"] = switches.model
    if switches.judge is not None:
        settings["judge"] = switches.judge
    return settings


def found(item: Item, answers: Sequence[str], mark: Mark) -> Found:
    return Found(
        id=item.id,
        stratum=item.stratum,
        cluster=item.cluster,
        pair=item.pair,
        answers=tuple(answers),
        mark=mark,
    )
