"""The table of models: every figure of the exams folder, arena rating, size, cost of an answer, licence.

A task may have been sat with several settings (shots, judge, baseline). Figures of one column must be comparable, so a
column is a task with one choice of settings: the one with which most models sat, of equals the one with most items.
What is not known is None, and is shown as n/a.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ziggurat.errors import ZigguratError
from ziggurat.exam import costs
from ziggurat.exam.reference import TABLES
from ziggurat.exam.reference import read as read_reference
from ziggurat.files import to_json
from ziggurat.home import ziggurat_home
from ziggurat.product import leaderboard as arena
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can
from ziggurat.store.store import Store

OF_THE_MODEL = ("model", "sha256", "code", "format_version")
"""Settings that say who sat, not how."""
BY_THE_MODEL = ("chat",)
"""Switches that the kind of model decides: a base model sits the raw text of a task that others sit as a chat."""


class Figure(Thing):
    """One task of one model."""

    score: float | None
    low: float | None
    high: float | None
    n: int
    chance: float | None
    majority: float | None
    metrics: dict[str, float | None]
    """Further figures of the task, by name."""
    percentile: float | None = None
    """The share of the other models of the column that score worse; a lower bound, since equals do not count. None
    where no other model sat."""


class Column(Thing):
    """One task with the settings of its figures."""

    task: str
    title: dict[str, str]
    ability: str
    better: str
    unit: str
    """share, or bits per byte."""
    settings: dict[str, Any]
    models: int


class Entry(Thing):
    """One model. `figures`: by task."""

    model: str
    sha256: str
    figures: dict[str, Figure]
    mean: float | None
    """Over the tasks that every model of the table sat and where a higher figure is better; None: there are none."""
    grade: float | None
    """MT-Bench, 1 to 10."""
    win_rate: float | None
    """MT-Bench against its baseline."""
    rating: float | None
    rating_low: float | None
    rating_high: float | None
    parameters: int | None
    licence: str | None
    tokens_each: float | None
    seconds_each: float | None


class Board(Thing):
    columns: list[Column]
    models: list[Entry]
    references: dict[str, Any]


Found = tuple[str, str, dict[str, Any], dict[str, Any]]
"""(model, hash, settings, figure)."""


def board(
    ratings: Mapping[str, Sequence[float | None]] | None = None,
    costs: Mapping[str, Mapping[str, float]] | None = None,
    home: Path | None = None,
) -> Board:
    """`ratings`: of the arena, (rating, low, high) by the model's name; `costs`: tokens and seconds of an answer by it.
    Both hold models that sat no exam, too: these get a row. Of several hashes of one name that of the newest exam is
    the model that answers under this name: rating, cost, size and licence are in its row alone."""
    sat = list(_sat((home or ziggurat_home()) / "exams"))
    columns, chosen = _columns(sat)
    _with_percentiles(columns, chosen)
    ratings, costs = ratings or {}, costs or {}
    names = {(name, sha) for name, sha, _, _ in sat}
    newest = {name: sha for name, sha, _, _ in sat}
    names |= {(name, "") for name in ratings if name not in {known for known, _ in names}}
    common = _common(columns, chosen, {key for key in names if key in chosen})
    entries = [
        _entry(name, sha, chosen.get((name, sha), {}), common, ratings.get(name), costs.get(name))
        if newest.get(name, sha) == sha
        else _entry(name, sha, chosen.get((name, sha), {}), common, None, None, here=False)
        for name, sha in sorted(names)
    ]
    entries.sort(key=lambda one: (one.mean is None, -(one.mean or 0), one.model))
    return Board(columns=columns, models=entries, references={name: read_reference(name) for name in TABLES})


def of_store(store: Store, principal: Principal, offered: Collection[str] = ()) -> Board:
    """The board with the arena and the costs of this person's workspace. Who reads judgements sees every model of the
    machine, others those that the server offers them and those that their own workspace voted on."""
    rated = arena.leaderboard(store, principal).standings
    ratings = {one.name: (one.rating, one.low, one.high) for one in rated}
    found = board(ratings, costs.of_answers(store, principal))
    return found if can(principal, "judgement.read") else _only(found, {*offered, *ratings})


def _only(found: Board, models: Collection[str]) -> Board:
    """The rows of some models, and the columns that these have figures of."""
    kept = [one for one in found.models if one.model in models]
    tasks = {task for one in kept for task in one.figures}
    columns = [one for one in found.columns if one.task in tasks]
    return found.model_copy(update={"models": kept, "columns": columns})


def _sat(folder: Path) -> Iterable[Found]:
    """Every finished exam, the oldest first: of two results that differ only in the code, the newer one is shown. A
    folder that cannot be read is left out, since it may be being written."""
    for path in sorted(folder.glob("*--*/*/figure.json"), key=lambda path: (path.stat().st_mtime_ns, path)):
        try:
            figure = json.loads(path.read_text(encoding="utf-8"))
            settings = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
            if not isinstance(figure, dict) or not isinstance(settings, dict) or "task" not in figure:
                continue
        except (OSError, ValueError):
            continue
        name, _, sha = path.parent.parent.name.rpartition("--")
        model = settings.get("model")
        yield (
            model if isinstance(model, str) and model else name.replace("+", "/"),
            str(settings.get("sha256") or sha),
            settings,
            figure,
        )


def _columns(sat: Sequence[Found]) -> tuple[list[Column], dict[tuple[str, str], dict[str, Figure]]]:
    """The columns in the order of abilities and tasks, and the figures that belong to them by model."""
    by_task: dict[str, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for one in sat:
        settings, figure = one[2], one[3]
        shared = _shared(settings)
        key = hashlib.sha256(to_json(sorted(shared.items())).encode()).hexdigest()
        by_task[str(figure["task"])][key].append(one)
    columns, chosen = [], defaultdict[tuple[str, str], dict[str, Figure]](dict)
    for task, variants in by_task.items():
        newest = max(_version(found) for found in variants.values())
        current = {key: found for key, found in variants.items() if _version(found) == newest}
        key = min(
            current, key=lambda key: (-len({one[:2] for one in current[key]}), -_items(current[key]), key)
        )
        found = current[key]
        figure = found[0][3]
        columns.append(
            Column(
                task=task,
                title=_titles(figure.get("title"), task),
                ability=str(figure.get("ability") or ""),
                better=str(figure.get("better") or found[0][2].get("better") or "higher"),
                unit=str(figure.get("unit") or "share"),
                settings=without_addresses(_shared(found[0][2])),
                models=len({one[:2] for one in found}),
            )
        )
        for name, sha, _, figure in found:
            chosen[name, sha][task] = _figure(figure)
    return sorted(columns, key=lambda one: (one.ability, one.task)), dict(chosen)


def _shared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that two comparable figures have in common."""
    shared = {name: value for name, value in settings.items() if name not in OF_THE_MODEL}
    switches = settings.get("switches")
    if isinstance(switches, Mapping):
        shared["switches"] = {name: value for name, value in switches.items() if name not in BY_THE_MODEL}
    return shared


def without_addresses(value: Any) -> Any:
    """Settings without the addresses of servers: a judge "big@http://10.0.0.7:8000" is "big".

    >>> without_addresses({"judge": "big@http://10.0.0.7:8000", "shots": 5})
    {'judge': 'big', 'shots': 5}
    """
    if isinstance(value, Mapping):
        return {name: without_addresses(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_addresses(one) for one in value]
    return _ADDRESS.sub("", value) if isinstance(value, str) else value


_ADDRESS = re.compile(r"@?https?://\S+")


def percentile(value: float, others: Sequence[float], better: str = "higher") -> float | None:
    """The share of others that are worse; a lower bound, since equals do not count.

    >>> percentile(0.5, [0.1, 0.5, 0.7, 0.2])
    0.5
    """
    if not others:
        return None
    return sum(other < value if better == "higher" else other > value for other in others) / len(others)


def _with_percentiles(columns: Sequence[Column], chosen: Mapping[tuple[str, str], dict[str, Figure]]) -> None:
    for column in columns:
        sat = {key: one[column.task] for key, one in chosen.items() if column.task in one}
        for key, figure in sat.items():
            others = [one.score for name, one in sat.items() if name != key and one.score is not None]
            if figure.score is not None:
                found = percentile(figure.score, others, column.better)
                chosen[key][column.task] = figure.model_copy(update={"percentile": found})


def _items(found: Sequence[Found]) -> int:
    return max(int(one[3].get("n") or 0) for one in found)


def _version(found: Sequence[Found]) -> int:
    return max(int(one[3].get("version") or 0) for one in found)


def _titles(title: Any, task: str) -> dict[str, str]:
    if isinstance(title, Mapping):
        return {str(lang): str(text) for lang, text in title.items()}
    return {"en": str(title or task)}


def _figure(figure: Mapping[str, Any]) -> Figure:
    metrics = {
        name: _number(value.get("score")) if isinstance(value, Mapping) else _number(value)
        for name, value in (figure.get("metrics") or {}).items()
    }
    return Figure(
        n=int(figure.get("n") or 0),
        metrics=metrics,
        **{name: _number(figure.get(name)) for name in ("score", "low", "high", "chance", "majority")},
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _common(
    columns: Sequence[Column],
    chosen: Mapping[tuple[str, str], Mapping[str, Figure]],
    models: set[tuple[str, str]],
) -> list[str]:
    """Tasks with a figure of every model that sat anything, where higher is better and the figure is a share."""
    return [
        one.task
        for one in columns
        if one.better == "higher"
        and one.unit == "share"
        and models
        and all(
            (figure := chosen[key].get(one.task)) is not None and figure.score is not None for key in models
        )
    ]


def _entry(
    name: str,
    sha: str,
    figures: dict[str, Figure],
    common: Sequence[str],
    rating: Sequence[float | None] | None,
    cost: Mapping[str, float] | None,
    *,
    here: bool = True,
) -> Entry:
    parameters, licence = facts_of(name) if here else (None, None)
    bench = figures.get("mt-bench")
    scores = [figures[task].score or 0.0 for task in common] if figures else []
    middle, low, high = rating or (None, None, None)
    return Entry(
        model=name,
        sha256=sha,
        figures=figures,
        mean=sum(scores) / len(scores) if scores else None,
        grade=bench.metrics.get("grade") if bench else None,
        win_rate=bench.metrics.get("win_rate") if bench else None,
        rating=middle,
        rating_low=low,
        rating_high=high,
        parameters=parameters,
        licence=licence,
        tokens_each=(cost or {}).get("tokens"),
        seconds_each=(cost or {}).get("seconds"),
    )


def facts_of(name: str) -> tuple[int | None, str | None]:
    """(parameters, licence) of a model that is here; None where it is not, or where its card does not say."""
    from ziggurat.models import facts
    from ziggurat.places import model_folder

    try:
        row = facts.row(model_folder(name))
    except (ZigguratError, OSError):
        return None, None
    licence = str(row["licence"] or "")
    return int(row["parameters"]) or None, licence if licence not in ("", "unknown") else None
