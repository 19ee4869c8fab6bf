"""Task files of lm-evaluation-harness as settings: YAML with `include` and `!function`, groups and tags by name.

A name in a group is a task, a group or a tag of any YAML file below the folder of the file that is opened, as the
harness finds them below its `--include_path`. Left out: tasks that are Python classes.
Source: lm-evaluation-harness 0.4.13, `tasks/_yaml_loader.py`, `tasks/_factory.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ziggurat.errors import UsageError, did_you_mean

GROUP_FIELDS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "include")
Settings = dict[str, Any]


@dataclass(frozen=True)
class Function:
    """What `!function module.name` names; not imported yet."""

    written: str
    folder: Path

    def load(self) -> Callable[..., Any]:
        """Import it: a module beside the YAML file, else an installed one."""
        module_name, _, name = self.written.rpartition(".")
        path = (self.folder / f"{module_name.replace('.', '/')}.py").resolve()
        try:
            module = _import_file(path) if path.is_file() else importlib.import_module(module_name)
            found: Callable[..., Any] = getattr(module, name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(
                f"!function {self.written} in {self.folder} cannot be imported ({error}); install what it needs, or "
                "correct the name."
            ) from None
        return found


def _import_file(path: Path) -> Any:
    name = f"ziggurat_harness_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> Settings:
    """The settings of a file, those of its `include` below its own. UsageError names the file."""
    path = path.resolve()
    if path in above:
        raise UsageError(f"{path} includes itself; correct `include`.")

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Function:
        return Function(str(loader.construct_scalar(node)), path.parent)

    Loader.add_constructor("!function", function)
    try:
        found = yaml.load(path.read_bytes(), Loader=Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); correct the path.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML ({' '.join(str(error).split())}); mend it.") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no settings; it is no task file of lm-evaluation-harness.")
    included = found.pop("include", [])
    below: Settings = {}
    for each in included if isinstance(included, list) else [included]:
        below |= read_yaml(path.parent / each, (*above, path))
    return below | found


@dataclass
class Group:
    """A group file: its members, and how their figures are joined."""

    name: str
    title: str
    members: list[Settings | Group] = field(default_factory=list)
    metrics: list[Mapping[str, Any]] = field(default_factory=list)
    settings: Settings = field(default_factory=dict)

    def tasks(self) -> Iterator[Settings]:
        for member in self.members:
            yield from member.tasks() if isinstance(member, Group) else [member]

    def groups(self) -> Iterator[Group]:
        yield self
        for member in self.members:
            if isinstance(member, Group):
                yield from member.groups()


def open_file(path: Path) -> Group:
    """A task file as a group of one task, or a group with all that it names."""
    settings = read_yaml(path)
    if "group" in settings and "output_type" not in settings:
        return _Index(path.parent).group(str(settings["group"]), settings, {})
    if "task" not in settings:
        raise UsageError(
            f"{path} has neither `task` nor `group`; it is no task file of lm-evaluation-harness."
        )
    if "class" in settings:
        raise UsageError(f"{path} is a task written in Python (`class`), which is not read here.")
    name = str(settings["task"])
    return Group(name, str(settings.get("task_alias") or name), [settings])


class _Index:
    """Every task, group and tag below a folder, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks: dict[str, Path] = {}
        self.groups: dict[str, Path] = {}
        self.tags: dict[str, list[str]] = {}
        for path in sorted(folder.rglob("*.yaml")):
            try:
                found = read_yaml(path)
            except UsageError:
                continue  # a file that no name refers to may be anything
            if "group" in found and isinstance(found.get("task"), list):
                self.groups[str(found["group"])] = path
            elif isinstance(name := found.get("task"), str):
                self.tasks[name] = path
                tags = found.get("tag") or []
                for tag in [tags] if isinstance(tags, str) else tags:
                    self.tags.setdefault(str(tag), []).append(name)

    def group(self, name: str, settings: Settings, above: Settings) -> Group:
        listed = settings.get("task") or []
        for_all = above | {key: value for key, value in settings.items() if key not in GROUP_FIELDS}
        metrics = settings.get("aggregate_metric_list") or []
        made = Group(
            name,
            str(settings.get("group_alias") or name),
            metrics=[metrics] if isinstance(metrics, dict) else metrics,
            settings=settings,
        )
        for each in [listed] if isinstance(listed, str) else listed:
            own = {"task": each} if isinstance(each, str) else dict(each)
            if "group" in own and not isinstance(own.get("task"), list):
                own["task"] = own.pop("group")
            if "group" in own:
                made.members.append(self.group(str(own["group"]), own, for_all))
            else:
                made.members.extend(self.named(str(own.pop("task")), for_all | own))
        return made

    def named(self, name: str, settings: Settings) -> list[Settings | Group]:
        if name in self.tasks:
            return [read_yaml(self.tasks[name]) | settings | {"task": name}]
        if name in self.groups:
            return [self.group(name, read_yaml(self.groups[name]), settings)]
        if name in self.tags:
            return [
                read_yaml(self.tasks[each]) | settings | {"task": each} for each in sorted(self.tags[name])
            ]
        if "dataset_path" in settings:  # a task that is written within the group
            return [settings | {"task": name}]
        hint = did_you_mean(name, [*self.tasks, *self.groups, *self.tags])
        raise UsageError(f'No YAML file below {self.folder} has the task, group or tag "{name}".{hint}')
