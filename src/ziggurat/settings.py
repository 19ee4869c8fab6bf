"""Configuration: frozen pydantic models beside each component, resolved here from layers, every value with its source.

    default < inherited < recipe < environment < --set

`resolve` overlays the layers key by key: nested configurations merge, everything else is replaced. It refuses unknown
keys with a suggestion, reports all problems together, and keeps the layer that each value came from. A run's
`config.yaml` holds the result as YAML, with the source behind each line. Deliberately absent: interpolation, includes
and Python in YAML.
"""

from __future__ import annotations

import os
import shlex
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from ziggurat.errors import ConfigError, did_you_mean
from ziggurat.files import FORMAT_VERSION, check_format
from ziggurat.yaml_text import parse_yaml, scalar

SETTINGS_FORMAT = 1
"""Version of config.yaml."""

SOURCE_COLUMN = 44  # where the `# source` comments of config.yaml begin


class Config(BaseModel):
    """Base of every configuration: frozen, extra keys forbidden, defaults validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    removed: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {}
    """Settings of earlier versions: from the name to a function from the value to today's settings."""

    short: ClassVar[Mapping[str, Callable[[Any], Mapping[str, Any]]]] = {}
    """Short names, likewise: `trainable=lora` for `train.trainable=lora`."""


C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Resolved(Generic[C]):
    """A configuration and, for each dotted key, the layer that gave it."""

    config: C
    sources: dict[str, str]

    def source(self, key: str) -> str:
        """The layer that gave `key`, or the nearest part of it (a preset's name gives all the values in it)."""
        while key:
            if key in self.sources:
                return self.sources[key]
            key = key.rpartition(".")[0]
        return "default"

    def to_yaml(self) -> str:
        """Every value, one a line, with `# source` behind it; `load_yaml` reads it back."""
        version = f"{FORMAT_VERSION}: {SETTINGS_FORMAT}\n"
        return version + "".join(self._lines(self.config.model_dump(mode="json"), "", ""))

    def _lines(self, values: Mapping[str, Any], prefix: str, indent: str) -> typing.Iterator[str]:
        for name, value in values.items():
            key = f"{prefix}{name}"
            if isinstance(value, Mapping) and value:
                yield f"{indent}{scalar(name)}:\n"
                yield from self._lines(value, f"{key}.", indent + "  ")
            else:
                text = f"{indent}{scalar(name)}: {scalar(value)}"
                yield f"{text:<{SOURCE_COLUMN}}  # {self.source(key)}\n"


def resolve(cls: type[C], *layers: tuple[str, Mapping[str, Any] | Config]) -> Resolved[C]:
    """Overlay `(name, values)` layers on the defaults of `cls`; later ones win."""
    values = _defaults(cls)
    sources: dict[str, str] = {}
    problems: list[str] = []
    for name, layer in layers:
        _overlay(cls, values, _as_mapping(layer), name, "", sources, problems)
    return Resolved(checked(cls, values, sources, problems), sources)


def checked(
    cls: type[C], values: Mapping[str, Any], sources: Mapping[str, str], problems: Sequence[str] = ()
) -> C:
    """`values` as a `cls`. ConfigError with every problem, those found before included."""
    found = list(problems)
    try:
        config = cls.model_validate(values)
    except ValidationError as error:
        found += [_problem(cls, detail, sources) for detail in error.errors()]
    if found:
        raise ConfigError(" ".join(dict.fromkeys(found)))
    return config


def parse_sets(assignments: Iterable[str]) -> dict[str, Any]:
    """`["a.b=3", "c=x"]` -> `{"a": {"b": 3}, "c": "x"}`; values are read as YAML."""
    result: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.strip().split(".")):
            raise ConfigError(
                f'--set {assignment!r} is not of the form key=value, such as "train.steps=100".'
            )
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: the value {text!r} is not valid YAML.") from error
        nest({key.strip(): value}, result)
    return result


def environment_sets(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The "environment" layer: `ZIGGURAT_SET="train.steps=100 train.seed=3"`, written like --set."""
    return parse_sets(shlex.split(environ.get("ZIGGURAT_SET", "")))


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file: a recipe, or a run's config.yaml, without its format version.

    Raises:
        ConfigError: the file is missing, or is not YAML of the form `key: value`.
        FormatError: a newer Ziggurat wrote the file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; name an existing YAML file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    return parse_settings(text, path)


def parse_settings(text: str, path: str | Path) -> dict[str, Any]:
    """The settings in the text of the YAML file `path`; errors as in `load_yaml`."""
    try:
        loaded = parse_yaml(text)
    except RecursionError as error:
        raise ConfigError(f"{path}: the YAML is nested too deeply; write it with fewer levels.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)}).") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{path}: expected settings of the form `key: value`, found {type(loaded).__name__}."
        )
    return check_format(loaded, SETTINGS_FORMAT, path)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys: {"a": {"b": 3}} -> {"a.b": 3}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def nest(flat: Mapping[str, Any], tree: dict[str, Any] | None = None) -> dict[str, Any]:
    """Dotted keys as nested dictionaries, put into `tree`: {"a.b": 3} -> {"a": {"b": 3}}."""
    tree = {} if tree is None else tree
    for key, value in flat.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            if not isinstance(node.get(section), dict):
                node[section] = {}
            node = node[section]
        node[last] = value
    return tree


# --- overlaying ------------------------------------------------------------------------------------------------


def _as_mapping(layer: Mapping[str, Any] | Config) -> Mapping[str, Any]:
    return layer.model_dump() if isinstance(layer, Config) else layer


def _nested(annotation: Any) -> tuple[type[Config] | None, bool]:
    """The Config class that a field may hold, and whether it can hold nothing else."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation, True
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            found, _ = _nested(argument)
            if found:
                return found, False
    if typing.get_origin(annotation) is typing.Annotated:
        return _nested(typing.get_args(annotation)[0])
    return None, False


def _defaults(cls: type[Config]) -> dict[str, Any]:
    """The default values of `cls` as plain nested dicts; required fields are absent unless they are configs."""
    values: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, Config):
            values[name] = default.model_dump()
        elif default is not PydanticUndefined:
            values[name] = default
        else:
            nested, only = _nested(field.annotation)
            if nested and only:
                values[name] = _defaults(nested)
    return values


def _overlay(
    cls: type[Config],
    values: dict[str, Any],
    layer: Mapping[str, Any],
    layer_name: str,
    prefix: str,
    sources: dict[str, str],
    problems: list[str],
) -> None:
    for name, value in layer.items():
        key = f"{prefix}{name}"
        if name not in cls.model_fields and (meant := {**cls.removed, **cls.short}.get(name)):
            today, source = meant(value), f"{layer_name}, as {key}"
            _overlay(cls, values, today, source, prefix, sources, problems)
            continue
        if name not in cls.model_fields:
            hint = did_you_mean(str(name), [*cls.model_fields, *cls.short])
            problems.append(f'Unknown setting "{key}" (from {layer_name}).{hint}')
            continue
        nested, _ = _nested(cls.model_fields[name].annotation)
        if nested and isinstance(value, Mapping | Config):
            if not isinstance(values.get(name), dict):
                values[name] = _defaults(nested)
                sources.pop(key, None)
            _overlay(nested, values[name], _as_mapping(value), layer_name, f"{key}.", sources, problems)
        else:
            values[name] = value
            for other in [s for s in sources if s.startswith(f"{key}.")]:
                del sources[other]
            sources[key] = layer_name


def _problem(cls: type[Config], detail: ErrorDetails, sources: Mapping[str, str]) -> str:
    """One sentence naming the setting, its value, where it came from, and what was expected."""
    key, current = "", cls
    for part in detail["loc"]:
        field = current.model_fields.get(str(part)) if current else None
        if field is None and isinstance(part, str) and key:
            continue  # pydantic's tag for a member of a union
        key = f"{key}.{part}" if key else str(part)
        current = _nested(field.annotation)[0] if field else None  # type: ignore[assignment]
    if detail["type"] == "missing":
        return f'Setting "{key}" is required; give it with --set {key}=...'
    value = detail["input"]
    source = Resolved(None, dict(sources)).source(key)  # type: ignore[type-var]
    shown = "" if isinstance(value, Mapping) else f"={value!r} (from {source})"
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if not key:
        return f"{message}."
    return f'Setting "{key}"{shown}: {message[:1].lower()}{message[1:]}.'
