"""From rows to items: Jinja over a row's fields, worked examples, the sentence that asks for steps.

A conversation shows examples as turns. Raw text shows them one after another, and a blank joins a prompt and what
follows it ("Answer:" and " B"), unless the prompt ends in white space or in Chinese, where nothing does. Templates run
in the sandbox of Jinja that chat templates run in; a field that a row lacks is an error, not an empty text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ziggurat.errors import DataError
from ziggurat.exam.item import Item
from ziggurat.exam.metrics import METRICS
from ziggurat.exam.reading import TASK_FILE, Row, Task
from ziggurat.exam.switches import Switches
from ziggurat.files import to_json
from ziggurat.records import Message
from ziggurat.store.words import is_cjk

_FIELD = re.compile(r"\s*\{\{\s*(\w+)\s*\}\}\s*")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
STEPS = "steps"
"""The field of a row with the way to its answer."""
_ENDS_CHINESE = re.compile(r"[\u3000-\u303f\uff00-\uffef]$")
_LEADS = {"zh": ("答案是", "。")}
_LEAD = ("The answer is ", ".")
"""How an example ends after its steps; `final` reads the answer after it."""
_FINAL = re.compile(
    r"(?:answer\s+is|answer\s*[:：]|答案是|答案为|答案\s*[:：]|####)\s*[:：]?\s*", re.IGNORECASE
)
_ASK_LETTER = {"zh": "只回答选项的字母。"}
ASK_LETTER = "Answer with the letter only."
_END_WITH_LETTER = {"zh": "最后写“答案是”和选项的字母。"}
END_WITH_LETTER = 'End with "The answer is" and the letter.'
"""In its place where steps are asked for."""
DEFAULT_THINK = {"zh": "让我们一步一步地思考。"}
THINK = "Let's think step by step."
"""Of a task that has no sentence of its own. Source: arXiv:2205.11916, table 1."""


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["tojson"] = to_json
    environment.filters["letters"] = lettered
    return environment


def lettered(choices: Sequence[str]) -> str:
    """A filter: `A. one`, `B. two`, a line each."""
    return "\n".join(f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices))


@lru_cache(256)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


def fill(template: str, row: Row, task: Task) -> str:
    """The template's text for a row. DataError names the task, the row and the field."""
    try:
        return _compiled(template).render(**row)
    except jinja2.TemplateError as error:
        raise DataError(
            f"row {row.get('id')}: the template {template!r:.60} cannot be filled in ({error}); "
            "correct the template or the row.",
            path=task.folder / TASK_FILE,
        ) from None
    except Exception as error:  # an expression of the template's author may raise anything
        raise DataError(
            f"row {row.get('id')}: the template {template!r:.60} fails ({type(error).__name__}: {error}); "
            "correct the template or the row.",
            path=task.folder / TASK_FILE,
        ) from None


def value_of(template: str, row: Row, task: Task) -> Any:
    """A template that is one field gives its value (a list, a number); any other gives text."""
    found = _FIELD.fullmatch(template)
    return row[found[1]] if found and found[1] in row else fill(template, row, task)


def items(task: Task, switches: Switches) -> list[Item]:
    """The items of a task as a model will see them, in the order of its rows."""
    if task.items is not None:
        return task.items(task, switches)
    rows = task.rows[: switches.limit]
    return [_item(task, row, switches) for row in rows]


def _item(task: Task, row: Row, switches: Switches) -> Item:
    file = task.file
    choices = choices_of(task, row) if file.form == "choice" else ()
    target: Any = None
    if file.answer is not None:
        target = value_of(file.answer, row, task)
    if file.form == "choice":
        target = index_of(target, choices, task, row)
    messages: tuple[Message, ...] = ()
    raw = ""
    if file.form == "dialogue":
        _check_turns(task, row)
    elif file.form == "text":
        raw = fill(file.prompt or "{{ text }}", row, task)
    else:
        shown = examples(task, row, switches)
        messages, raw = _conversation(task, row, shown, switches), _raw(task, row, shown, switches)
    continued = choices
    if choices and not switches.chat:
        continued = tuple(joint(raw) + choice for choice in choices)
    return Item(
        id=str(row["id"]),
        messages=messages,
        raw=raw,
        choices=continued,
        target=target,
        stratum=_part(task, row, file.strata),
        cluster=_part(task, row, file.cluster),
        pair=_part(task, row, file.pair),
        row=row,
    )


def _part(task: Task, row: Row, field: str | None) -> str:
    if field is None:
        return ""
    if field not in row:
        raise DataError(
            f"row {row['id']} has no field {field!r}, which task.yaml names; add it to the row.",
            path=task.folder / TASK_FILE,
        )
    return str(row[field])


# --- a question, and examples before it -------------------------------------------------------------------------


def examples(task: Task, row: Row, switches: Switches) -> list[Row]:
    """The worked examples for a row: the first of `shots.file`, else drawn from the task's other rows by the row's id.

    A row that is the one that is asked, or shares a pair or a cluster with it, would give its answer away, so it is not
    shown.
    """
    file = task.file
    count = file.shots.count if switches.shots is None else switches.shots
    if count == 0:
        return []
    joined = [field for field in (file.pair, file.cluster) if field is not None]

    def apart(one: Row) -> bool:
        return not _same(one, row) and all(
            field not in one or one[field] != row.get(field) for field in joined
        )

    if task.examples:
        chosen = [one for one in task.examples if apart(one)][:count]
    else:
        pool = [one for one in task.rows if one["id"] != row["id"] and apart(one)]
        draw = random.Random(f"{file.name}:{switches.seed}:{row['id']}")
        chosen = draw.sample(pool, min(count, len(pool)))
    if len(chosen) < count:
        raise DataError(
            f"{count} examples are asked for and there are {len(chosen)}; ask for fewer (--shots) or add rows.",
            path=task.folder / TASK_FILE,
        )
    return chosen


def _same(one: Row, other: Row) -> bool:
    """Whether two rows are equal but for their ids."""
    return len(one) == len(other) and all(
        one.get(key) == value for key, value in other.items() if key != "id"
    )


def question(task: Task, row: Row, switches: Switches) -> str:
    """The prompt; of a choice that is written, not compared, with its choices below it where it does not list them."""
    text = fill(task.file.prompt or "", row, task)
    if task.file.form != "choice" or not switches.generate:
        return text
    choices = choices_of(task, row)
    if are_letters(choices) or all(choice in text for choice in choices):
        return text
    words, otherwise = (_END_WITH_LETTER, END_WITH_LETTER) if switches.think else (_ASK_LETTER, ASK_LETTER)
    ask = words.get(task.file.language, otherwise)
    return f"{text}\n{lettered(choices)}\n{ask}"


def are_letters(choices: Sequence[str]) -> bool:
    """Whether the choices are A, B, C ..., and their texts stand in the question."""
    return list(choices) == list(LETTERS[: len(choices)])


def think_sentence(task: Task, switches: Switches) -> str:
    """The sentence that asks for steps; "" where none are asked for."""
    if not switches.think:
        return ""
    return task.file.think or DEFAULT_THINK.get(task.file.language, THINK)


def shows_steps(task: Task, switches: Switches) -> bool:
    return switches.think or task.file.shots.think


def worked(task: Task, row: Row, switches: Switches) -> str:
    """An example's answer, after its steps where they are asked for."""
    answer = right_text(task, row, letter=switches.generate)
    steps = row.get(STEPS)
    if not (shows_steps(task, switches) and steps):
        return answer
    text = steps if isinstance(steps, str) else "\n".join(map(str, steps))
    before, after = _LEADS.get(task.file.language, _LEAD)
    return f"{text}\n{before}{answer}{after}"


def right_text(task: Task, row: Row, *, letter: bool = False) -> str:
    """The right answer as a model would write it; of a choice, the choice, or its letter; of several, the first."""
    if task.file.answer is None:
        raise DataError(
            "examples need right answers, and task.yaml has no `answer`; add it, or use --shots 0.",
            path=task.folder / TASK_FILE,
        )
    value = value_of(task.file.answer, row, task)
    if task.file.form == "choice":
        choices = choices_of(task, row)
        index = index_of(value, choices, task, row)
        return LETTERS[index] if letter else choices[index]
    if isinstance(value, list) and value:
        value = value[0]
    return str(value)


def _conversation(task: Task, row: Row, shown: Sequence[Row], switches: Switches) -> tuple[Message, ...]:
    think = think_sentence(task, switches)
    found: list[Message] = []
    if task.file.system:
        found.append(Message(role="system", content=fill(task.file.system, row, task)))
    for one in (*shown, row):
        asked = question(task, one, switches)
        found.append(Message(role="user", content=f"{asked}\n{think}" if think else asked))
        if one is not row:
            found.append(Message(role="assistant", content=worked(task, one, switches)))
    return tuple(found)


def _raw(task: Task, row: Row, shown: Sequence[Row], switches: Switches) -> str:
    think = think_sentence(task, switches)
    parts: list[str] = []
    if task.file.system:
        parts.append(fill(task.file.system, row, task))
    for one in (*shown, row):
        asked = question(task, one, switches)
        if think:
            asked += joint(asked) + think
        if one is not row:
            asked += joint(asked) + worked(task, one, switches)
        parts.append(asked)
    return task.file.shots.delimiter.join(parts)


def joint(text: str) -> str:
    """What stands between raw text and its continuation."""
    if not text or text[-1].isspace() or is_cjk(text[-1]) or _ENDS_CHINESE.search(text):
        return ""
    return " "


def final(text: str) -> str:
    """The answer at the end of a chain of thought: what follows the last "the answer is", "Answer:", "答案是" or
    "####"; the whole text where there is none of them."""
    ends = [match.end() for match in _FINAL.finditer(text)]
    return text[ends[-1] :].strip() if ends and text[ends[-1] :].strip() else text


# --- choices ----------------------------------------------------------------------------------------------------


def choices_of(task: Task, row: Row) -> tuple[str, ...]:
    """The choices of a row. DataError where it has none."""
    given = task.file.choices
    found = row.get(given) if isinstance(given, str) else given
    if isinstance(found, Mapping):
        found = list(found.values())
    if not isinstance(found, list | tuple) or len(found) < 2:
        raise DataError(
            f"row {row['id']} needs at least two choices in the field {given!r}; add them.",
            path=task.folder / TASK_FILE,
        )
    return tuple(str(one) for one in found)


def index_of(answer: Any, choices: Sequence[str], task: Task, row: Row) -> int:
    """The index of the right choice, given as an index from 0, a letter, or the choice itself."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    text = str(answer).strip()
    if text in choices:
        return list(choices).index(text)
    if len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
        return LETTERS.index(text.upper())
    if text.isdecimal() and int(text) < len(choices):
        return int(text)
    raise DataError(
        f"row {row['id']}: the answer {answer!r:.60} is no index, letter or text of its {len(choices)} choices; "
        "correct the row.",
        path=task.folder / TASK_FILE,
    )


# --- dialogues ----------------------------------------------------------------------------------------------------


def _check_turns(task: Task, row: Row) -> None:
    turns = row.get("turns")
    whole = task.file.metric is not None and bool(task.file.metric.settings.get("whole"))
    problem = ""
    if not (isinstance(turns, list) and turns and all(map(_is_turn, turns))):
        problem = "needs `turns`: a list of objects that each have a text `user`"
    elif any("metric" in turn and not _is_metric(turn["metric"]) for turn in turns):
        problem = f"has a turn whose `metric` is no object with a name of {', '.join(sorted(METRICS))}"
    elif not whole and not any(("answer" in t or "metric" in t) and "assistant" not in t for t in turns):
        problem = "has no turn that is judged: one with `answer` or `metric`, which the model answers"
    if problem:
        raise DataError(f"row {row['id']} {problem}; correct the row.", path=task.folder / TASK_FILE)


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("user"), str)


def _is_metric(given: Any) -> bool:
    """`{"name": ..., "settings"?: {...}}`."""
    return (
        isinstance(given, dict)
        and isinstance(given.get("name"), str)
        and given["name"] in METRICS
        and isinstance(given.get("settings", {}), dict)
    )


def transcript(messages: Iterable[Message]) -> str:
    """A conversation as raw text that awaits the assistant's words, for models that only continue."""
    names = {"user": "User", "assistant": "Assistant"}
    lines = [f"{names[m.role]}: {m.content}" if m.role in names else m.content for m in messages]
    return "\n".join([*lines, "Assistant:"])
