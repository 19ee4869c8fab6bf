"""MMLU, C-Eval and CMMLU: a CSV file for each subject, five worked examples of it, four choices by letter.

The score is over questions, as MMLU's own code averages. C-Eval and CMMLU average over subjects, and C-Eval's groups
are averages over their subjects (its table's average is not the mean of its four groups); `summary` gives both.
Sources: Hendrycks et al., arXiv:2009.03300; Huang et al., arXiv:2305.08322; Li et al., arXiv:2306.09212.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggurat.errors import DataError, UsageError
from ziggurat.exam import templates
from ziggurat.exam.item import Found, Item
from ziggurat.exam.reading import Row, Task
from ziggurat.exam.task import Shots, TaskFile
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.exam.switches import Switches

LETTERS = ["A", "B", "C", "D"]
SHOTS = 5
HARD = (
    "advanced_mathematics", "discrete_mathematics", "probability_and_statistics", "college_chemistry",
    "college_physics", "high_school_mathematics", "high_school_chemistry", "high_school_physics",
)  # fmt: skip
"""C-Eval Hard."""
CHOICES = "A. {{ A }}\nB. {{ B }}\nC. {{ C }}\nD. {{ D }}"


@lru_cache(1)
def _known() -> dict[str, dict[str, list[str]]]:
    """By set and subject: its name in prompts, and its group."""
    found: dict[str, dict[str, list[str]]] = json.loads(
        Path(__file__).with_name("subjects.json").read_text(encoding="utf-8")
    )
    return found


@dataclass(frozen=True)
class Subject(Task):
    """The questions of one subject; `shown` are its worked examples."""

    shown: Sequence[Row] = ()

    @property
    def examples(self) -> list[Row]:
        return list(self.shown)


@dataclass(frozen=True)
class Subjects(Task):
    """A set of subjects as one task, whose strata they are."""

    parts: Sequence[Subject] = ()

    @cached_property
    def sha256(self) -> str:
        """Of every subject's questions and examples."""
        return hashlib.sha256(to_json([part.sha256 for part in self.parts]).encode()).hexdigest()


def mmlu(path: str) -> list[Task]:
    """A folder with dev/ and test/ of `<subject>_<split>.csv`: question, four choices, letter; no header."""
    folder = _folder(path, "dev", "MMLU")
    split = "test" if (folder / "test").is_dir() else "val"
    file = _file(
        folder,
        name="mmlu",
        title={"en": "MMLU", "zh": "MMLU 综合知识"},
        about={"en": f"Multiple choice in {{}} subjects ({split} split); chance is 25 %."},
        source="hendrycks/test",
        licence="MIT",
        system="The following are multiple choice questions (with answers) about {{ topic }}.",
        prompt=f"{{{{ question }}}}\n{CHOICES}\nAnswer:",
    )
    return _task(
        "mmlu", file, folder, f"{{subject}}_{split}.csv", split, "{subject}_dev.csv", _without_header
    )


def ceval(path: str) -> list[Task]:
    """A folder with dev/ and val/ of `<subject>_<split>.csv`: id, question, A, B, C, D, answer."""
    folder = _folder(path, "val", "C-Eval")
    file = _file(
        folder,
        name="ceval",
        title={"en": "C-Eval", "zh": "C-Eval 中文综合考试"},
        about={"en": "Chinese multiple choice in {} subjects (val split); chance is 25 %."},
        language="zh",
        source="ceval/ceval-exam",
        licence="CC BY-NC-SA 4.0",
        system="以下是中国关于{{ topic }}考试的单项选择题，请选出其中的正确答案。",
        prompt=f"{{{{ question }}}}\n{CHOICES}\n答案：",
    )
    return _task("ceval", file, folder, "{subject}_val.csv", "val", "{subject}_dev.csv", _with_header)


def cmmlu(path: str) -> list[Task]:
    """A folder with dev/ and test/ of `<subject>.csv`: Question, A, B, C, D, Answer."""
    folder = _folder(path, "test", "CMMLU")
    file = _file(
        folder,
        name="cmmlu",
        title={"en": "CMMLU", "zh": "CMMLU 中文综合知识"},
        about={"en": "Chinese multiple choice in {} subjects; chance is 25 %."},
        language="zh",
        source="haonan-li/CMMLU",
        licence="CC BY-NC 4.0",
        system="以下是关于{{ topic }}的单项选择题，请直接给出正确答案的选项。",
        prompt=f"题目：{{{{ question }}}}\n{CHOICES}\n答案是：",
    )
    return _task("cmmlu", file, folder, "{subject}.csv", "test", "{subject}.csv", _with_header)


def _file(folder: Path, **own: Any) -> TaskFile:
    """What the three sets have in common, with what is a set's own."""
    return TaskFile(
        version=1,
        ability="knowledge",
        rows=folder.name,
        form="choice",
        choices=LETTERS,
        answer="{{ answer }}",
        shots=Shots(count=SHOTS),
        strata="subject",
        **own,
    )


def _folder(path: str, needed: str, name: str) -> Path:
    folder = Path(path).expanduser()
    inner = folder / "data"  # MMLU's archive unpacks to data/
    folder = inner if not (folder / needed).is_dir() and (inner / needed).is_dir() else folder
    if not (folder / needed).is_dir():
        raise UsageError(
            f"{folder} has no folder {needed}/, so it is not {name} as published; give its folder."
        )
    return folder


def _task(
    name: str,
    file: TaskFile,
    folder: Path,
    asked: str,
    split: str,
    shown: str,
    read: Callable[[Path], list[Row]],
) -> list[Task]:
    """`asked` and `shown`: the names of a subject's files in `split`/ and dev/."""
    before, after = asked.split("{subject}")
    paths = sorted((folder / split).glob(f"*{after}"))
    if not paths:
        raise UsageError(f"{folder / split} has no file *{after}; give the folder as its publisher ships it.")
    parts = []
    for path in paths:
        subject = path.name.removeprefix(before).removesuffix(after)
        topic = _known()[name].get(subject, [subject.replace("_", " ")])[0]
        examples = folder / "dev" / shown.format(subject=subject)
        parts.append(
            Subject(
                file,
                folder,
                given=_named(read(path), subject, topic, ""),
                shown=_named(read(examples) if examples.is_file() else [], subject, topic, "dev/"),
            )
        )
    about = {language: text.format(len(parts)) for language, text in file.about.items()}
    rows = [row for part in parts for row in part.rows]
    made = file.model_copy(update={"about": about})
    return [
        Subjects(
            made,
            folder,
            given=rows,
            items=_items,
            summary=lambda found: summary(name, found),
            parts=tuple(parts),
        )
    ]


def _named(rows: Sequence[Row], subject: str, topic: str, before: str) -> list[Row]:
    return [
        {**row, "subject": subject, "topic": topic, "id": f"{before}{subject}/{number}"}
        for number, row in enumerate(rows)
    ]


def _without_header(path: Path) -> list[Row]:
    return [
        _row(dict(zip(("question", *LETTERS, "answer"), cells, strict=False)), path, i)
        for i, cells in _csv(path)
    ]


def _with_header(path: Path) -> list[Row]:
    (_, header), *rows = _csv(path)
    names = [name.strip().lower() if name.strip() not in LETTERS else name.strip() for name in header]
    return [_row(dict(zip(names, cells, strict=False)), path, line) for line, cells in rows]


def _csv(path: Path) -> list[tuple[int, list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = [(line, cells) for line, cells in enumerate(csv.reader(file), start=1) if cells]
    if not found:
        raise DataError("the file is empty; get it again.", path=path)
    return found


def _row(row: Mapping[str, Any], path: Path, line: int) -> Row:
    kept = {name: str(row.get(name) or "").strip() for name in ("question", *LETTERS, "answer")}
    if kept["answer"] not in LETTERS or not kept["question"]:
        raise DataError(
            "expected a question, four choices and a letter A to D; use a split that has answers.",
            path=path,
            line=line,
        )
    return kept


def _items(task: Task, switches: Switches) -> list[Item]:
    """With a limit, the first questions of every subject in turn, so that all subjects are asked."""
    assert isinstance(task, Subjects)
    counts = [len(part.rows) for part in task.parts]
    if switches.limit is not None:
        turns = sorted((number, i) for i, count in enumerate(counts) for number in range(count))[
            : switches.limit
        ]
        counts = [sum(1 for _, i in turns if i == part) for part in range(len(counts))]
    return [
        item
        for part, count in zip(task.parts, counts, strict=True)
        if count
        for item in templates.items(part, replace(switches, limit=count))
    ]


def summary(name: str, found: Sequence[Found]) -> dict[str, float]:
    """Averages over subjects: of all, of each group, and of C-Eval Hard."""
    by_subject: dict[str, list[float]] = {}
    for one in found:
        by_subject.setdefault(one.stratum, []).append(float(one.mark.scores["score"]))
    means = {subject: sum(scores) / len(scores) for subject, scores in by_subject.items()}
    groups: dict[str, list[float]] = {"subject_average": list(means.values())}
    for subject, value in means.items():
        group = _known()[name].get(subject, ["", ""])[1]
        if group:
            groups.setdefault(group, []).append(value)
        if name == "ceval" and subject in HARD:
            groups.setdefault("hard", []).append(value)
    return {group: sum(values) / len(values) for group, values in groups.items()}
