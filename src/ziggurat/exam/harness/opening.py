"""A task file of lm-evaluation-harness as a `Task` of the exam room; a group is one task with a stratum a member."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ziggurat.errors import UsageError, ZigguratError
from ziggurat.exam.candidate import with_cuts
from ziggurat.exam.harness import running
from ziggurat.exam.harness.files import Group, open_file
from ziggurat.exam.harness.prompts import HarnessTask
from ziggurat.exam.item import Found, Item
from ziggurat.exam.reading import WRONG, Task
from ziggurat.exam.task import Ability, Form, Shots, TaskFile
from ziggurat.files import sha256_file, to_json

if TYPE_CHECKING:
    from ziggurat.exam.candidate import Candidate
    from ziggurat.exam.switches import Switches

ABILITIES: dict[str, Ability] = {
    "multiple_choice": "knowledge",
    "generate_until": "reasoning",
    "loglikelihood": "continuation",
    "loglikelihood_rolling": "continuation",
}
FORMS: dict[str, Form] = {"multiple_choice": "choice", "loglikelihood_rolling": "text"}


def open_yaml(path: str | Path, *, trust_code: bool = False) -> list[Task]:
    """The task of a file, or of a group file, as one task.

    Raises:
        UsageError: the file uses what is not read here, its data are not local, or it needs `trust_code` to import the
            Python that it names.
    """
    path = Path(path).expanduser()
    try:
        group = open_file(path)
        members = [HarnessTask(settings, path.parent, trust_code=trust_code) for settings in group.tasks()]
        return [_Opened(group, members, path).task()]
    except ZigguratError:
        raise
    except WRONG as error:
        raise UsageError(
            f"{path} is not read here ({type(error).__name__}: {' '.join(str(error).split())}); correct its settings "
            "or its documents."
        ) from error


class _Opened:
    def __init__(self, group: Group, members: Sequence[HarnessTask], path: Path) -> None:
        self.group, self.members, self.path = group, {member.name: member for member in members}, path

    def task(self) -> Task:
        outputs = {member.output for member in self.members.values()}
        one = next(iter(self.members.values()))
        known = hashlib.sha256(
            to_json([_plain(m.settings) for m in self.members.values()]).encode()
        ).hexdigest()
        rows = [
            {"id": f"{member.name}/{i}", "doc": doc, "of": member.name}
            for member in self.members.values()
            for i, doc in enumerate(member.docs)
        ]
        metadata = self.group.settings.get("metadata") or one.settings.get("metadata") or {}
        version = metadata.get("version", 1) if isinstance(metadata, Mapping) else metadata
        file = TaskFile(
            name=re.sub(r"[^a-z0-9_.-]+", "-", self.group.name.lower()).strip("-._") or "harness",
            title={"en": self.group.title},
            about={"en": f"A task file of lm-evaluation-harness with {one.output}, asked as raw text."},
            version=max(1, int(float(version))),
            ability=ABILITIES[one.output],
            source=f"{self.path.name}, settings {known[:12]}",
            licence="as its publisher says",
            rows=self.path.name,
            form=FORMS.get(one.output, "answer") if len(outputs) == 1 else "answer",
            shots=Shots(count=one.shots(None)),
            raw=True,
            strata="of" if len(self.members) > 1 else None,
            better="lower" if outputs == {"loglikelihood_rolling"} else "higher",
        )
        fixed = all(member.settings.get("num_fewshot") == 0 for member in self.members.values())
        return Task(
            file,
            self.path.parent,
            given=rows,
            items=self.items,
            sit=self.sit,
            summary=self.summary,
            also=hashlib.sha256(
                to_json([member.splits for member in self.members.values()]).encode()
            ).hexdigest(),
            heeds=frozenset() if fixed else frozenset({"shots"}),
        )

    def items(self, task: Task, switches: Switches) -> list[Item]:
        del task
        return [
            item
            for member in self.members.values()
            for item in running.items_of(member, switches.shots, switches.limit, switches.seed)
        ]

    def sit(self, candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
        del task
        found: dict[str, Found] = {}
        for name in dict.fromkeys(item.stratum for item in items):
            own = [item for item in items if item.stratum == name]
            for one in with_cuts(candidate, running.sit(candidate, self.members[name], own, switches.seed)):
                found[one.id] = one
        return [found[item.id] for item in items]

    def summary(self, found: Sequence[Found]) -> dict[str, float]:
        """Every metric as the harness names it; of a group also those of its subgroups, `name: metric`."""
        by_task = {name: [one for one in found if one.stratum == name] for name in self.members}
        each = {name: running.figures(self.members[name], own) for name, own in by_task.items() if own}
        if len(self.members) == 1:
            return next(iter(each.values()), {})
        results: dict[str, float] = {}
        for group in self.group.groups():
            names = [name for name in (str(settings["task"]) for settings in group.tasks()) if name in each]
            before = "" if group is self.group else f"{group.title}: "
            for metric, value in _joined(group, each, {name: len(by_task[name]) for name in names}).items():
                results[before + metric] = value
        return results


def _joined(
    group: Group, each: Mapping[str, Mapping[str, float]], sizes: Mapping[str, int]
) -> dict[str, float]:
    """The metrics that a group joins: means of its tasks, by their documents unless `weight_by_size` is false."""
    found: dict[str, float] = {}
    for asked in group.metrics:
        for key in dict.fromkeys(key for name in sizes for key in each[name]):
            if key.partition(",")[0] != asked["metric"]:
                continue
            held = [name for name in sizes if key in each[name]]
            weights = [sizes[name] if asked.get("weight_by_size", True) else 1 for name in held]
            total = sum(weight * each[name][key] for weight, name in zip(weights, held, strict=True))
            found[key] = total / sum(weights)
    return found


def _plain(value: object) -> object:
    """Settings as JSON: functions by their names and the bytes of the file that holds them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if not callable(value):
        return value
    file = Path(getattr(getattr(value, "__code__", None), "co_filename", ""))
    known = sha256_file(file) if file.is_file() else ""
    return f"{getattr(value, '__qualname__', value)} {known}".strip()
