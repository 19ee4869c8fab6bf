"""From what was found to figures: means with intervals, chance and majority, strata, consistency, the clean part.

Intervals are percentile bootstraps over clusters (evaluation/statistics.py); where every cluster has the same score,
which a bootstrap cannot widen, Wilson's interval over clusters; a single cluster has none. The minimum detectable
difference (`mde`) is what a second model must differ by to be told apart with 80 % power at 5 %, if both models' scores
were independent: 2.8 standard errors of a difference. Models that answer the same items are compared in pairs, which
detects less.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.evaluation.statistics import Interval, cluster_bootstrap, paired_bootstrap, wilson
from ziggurat.exam.forms.answer import settings_of
from ziggurat.exam.forms.text import summary as text_summary
from ziggurat.exam.item import Found, Item
from ziggurat.exam.metrics import metric, summary
from ziggurat.exam.metrics.common import normalised
from ziggurat.exam.reading import Task
from ziggurat.exam.switches import Switches
from ziggurat.files import to_json

POWER = 2.8
"""Standard errors of a difference that is found in 80 of 100 trials at 5 %: 1.96 + 0.84."""
DIGITS = 6
CHEAP = frozenset({"choice_letter", "choice_set", "contains", "exact", "number"})
"""Metrics by which the commonest answer is marked, to find the majority's score."""


def figure(
    task: Task,
    items: Sequence[Item],
    found: Sequence[Found],
    switches: Switches,
    overlap: Mapping[str, bool] | None = None,
) -> dict[str, Any]:
    """figure.json of one task. `overlap`: for each item that could be judged whether the corpora hold it."""
    added = _summaries(task, found, switches)
    main = as_interval(added.pop("score")) if "score" in added else mean(found)
    names = dict.fromkeys(name for one in found for name in one.mark.scores if name != "score")
    metrics = {name: shown(mean(found, name), ("score", "low", "high")) for name in names}
    metrics |= {name: shown(as_interval(value), ("score", "low", "high")) for name, value in added.items()}
    if task.file.pair:
        metrics["consistency"] = shown(consistency(task, found), ("score", "low", "high"))
    strata = sorted({one.stratum for one in found} - {""})
    by_stratum = {name: [one for one in found if one.stratum == name] for name in strata}
    result: dict[str, Any] = {
        "task": task.name,
        "title": task.file.title,
        "ability": task.file.ability,
        "version": task.file.version,
        "better": task.file.better if task.file.form != "text" else "lower",
        "unit": "bits per byte" if task.file.form == "text" else "share",
        **shown(main, ("n", "score", "low", "high")),
        "chance": _rounded(chance(task, items)),
        "majority": _rounded(majority(task, items, switches)),
        "mde": _rounded(detectable(found, main)),
        "strata": {
            name: shown(mean(part), ("n", "score", "low", "high")) for name, part in by_stratum.items()
        },
        "metrics": metrics,
    }
    cut = sum(bool(one.mark.detail.get("cut")) for one in found)
    if cut:
        result["cut"] = cut
    return result | clean_part(found, overlap or {})


def clean_part(found: Sequence[Found], overlap: Mapping[str, bool]) -> dict[str, Any]:
    """Of the items that were sat and could be judged: the share in the corpora, and the score on the others."""
    judged = [one for one in found if one.id in overlap]
    if not judged:
        return {}
    clean = [one for one in judged if not overlap[one.id]]
    return {
        "contaminated": _rounded(1 - len(clean) / len(judged)),
        "judged": len(judged),
        "clean": shown(mean(clean), ("n", "score", "low", "high")),
    }


def mean(found: Sequence[Found], name: str = "score") -> Interval:
    """The mean of a score over the items that have it, weighted where marks have weights."""
    kept = [one for one in found if name in one.mark.scores]
    values = [float(one.mark.scores[name]) for one in kept]
    clusters = [one.cluster or one.id for one in kept]
    weights = [float(one.mark.detail.get("weight", 1.0)) for one in kept]
    return _widened(cluster_bootstrap(values, clusters, weights=weights))


def _widened(found: Interval) -> Interval:
    """An interval of a mean that a bootstrap could not widen: of one cluster none, of a share Wilson's."""
    if found.clusters < 2:
        return dataclasses.replace(found, low=math.nan, high=math.nan)
    if found.low == found.high and 0 <= found.value <= 1:
        sure = wilson(found.value * found.clusters, found.clusters)
        return dataclasses.replace(found, low=sure.low, high=sure.high)
    return found


def compared(ours: Sequence[Found], theirs: Sequence[Found]) -> Interval:
    """Our score less theirs on the items that both have, paired, over resampled clusters, weighted as the scores are.

    Where every item differs by the same d, the share p of items that differ so has Wilson's interval, and the others
    are taken to differ by -d: (2 p - 1) d. Models that agree on every item differ by 0, without an interval.
    """
    known = {one.id: one for one in theirs}
    both = [(one, known[one.id]) for one in ours if one.id in known]
    found = paired_bootstrap(
        [one.mark.scores.get("score", 0.0) for one, _ in both],
        [other.mark.scores.get("score", 0.0) for _, other in both],
        [one.cluster or one.id for one, _ in both],
        weights=[float(one.mark.detail.get("weight", 1.0)) for one, _ in both],
    )
    if found.clusters < 2:
        return _widened(found)
    if found.low == found.high and found.value:
        other = found.value * (2 * wilson(found.clusters, found.clusters).low - 1)
        return dataclasses.replace(found, low=min(found.value, other), high=max(found.value, other))
    return found


def consistency(task: Task, found: Sequence[Found]) -> Interval:
    """How often two rows of one `pair` are answered alike, over resampled pairs; every two rows of a pair count."""
    groups: dict[str, list[Any]] = {}
    for one in found:
        groups.setdefault(one.pair, []).append(_answer_of(task, one))
    values, clusters = [], []
    for name, answers in groups.items():
        for i, first in enumerate(answers):
            for second in answers[i + 1 :]:
                values.append(float(first == second))
                clusters.append(name)
    return _widened(cluster_bootstrap(values, clusters))


def _answer_of(task: Task, one: Found) -> Any:
    """What an item was answered, as it is compared: of a choice its text, since the order may differ."""
    given = one.mark.detail.get("answer")
    if given is not None and task.file.form != "choice":
        return given
    return normalised(one.answers[0], {}) if one.answers else ""


def chance(task: Task, items: Sequence[Item]) -> float | None:
    """The score of guessing: task.yaml's, or one of the choices of each item."""
    if task.file.chance is not None or task.file.form != "choice" or not items:
        return task.file.chance
    return sum(sum(_grades(item)) / len(item.choices) for item in items) / len(items)


def _grades(item: Item) -> list[float]:
    """The score of each choice: 1 for a right one, of which there may be several; BIG-bench gives grades of its own."""
    given = item.row.get("grades")
    if isinstance(given, list) and len(given) == len(item.choices):
        return [float(one) for one in given]
    right = [
        _place(one, item.choices) for one in (item.target if isinstance(item.target, list) else [item.target])
    ]
    return [float(place in right) for place in range(len(item.choices))]


def _place(target: Any, choices: Sequence[str]) -> int:
    """The index of a right choice, which a loader may give as its text; -1 where it is none."""
    if isinstance(target, str):
        bare = [choice.strip() for choice in choices]
        return bare.index(target.strip()) if target.strip() in bare else -1
    return int(target) if target is not None else -1


def majority(task: Task, items: Sequence[Item], switches: Switches) -> float | None:
    """The score of always giving the commonest right answer; None where answers are not compared with one."""
    if not items or task.file.form not in ("choice", "answer"):
        return None
    if task.file.form == "choice":
        grades = [_grades(item) for item in items]
        longest = max(len(one) for one in grades)
        return max(sum(one[place] for one in grades if place < len(one)) for place in range(longest)) / len(
            items
        )
    file = task.file
    if file.metric is None or file.metric.name not in CHEAP or any(item.target is None for item in items):
        return None
    commonest = Counter(to_json(item.target) for item in items).most_common(1)[0][0]
    given = next(item.target for item in items if to_json(item.target) == commonest)
    text = str(given[0] if isinstance(given, list) and given else given)
    marks = [metric(file.metric.name)([text], item, settings_of(task, switches)) for item in items]
    return sum(mark.scores["score"] for mark in marks) / len(marks)


def detectable(found: Sequence[Found], main: Interval) -> float | None:
    """The smallest difference to an independent model that would be found; see the module."""
    if main.clusters < 2 or math.isnan(main.high):
        return None
    error = (main.high - main.low) / (2 * 1.96)
    if all(0 <= one.mark.scores.get("score", 0.0) <= 1 for one in found):
        near = (main.value * main.clusters + 2) / (main.clusters + 4)  # Agresti and Coull: no error of 0
        error = max(error, math.sqrt(near * (1 - near) / (main.clusters + 4)) if 0 < near < 1 else 0.0)
    return POWER * math.sqrt(2) * error


def _summaries(task: Task, found: Sequence[Found], switches: Switches) -> dict[str, Any]:
    """Figures of the whole task that the form or the metric's module adds."""
    own = task.file.form == "text" and task.sit is None and found
    added: dict[str, Any] = dict(text_summary(found)) if own else {}
    if task.summary is not None:
        added |= task.summary(found)
    elif task.file.metric is not None and (add := summary(task.file.metric.name)) is not None and found:
        added |= add(found, settings_of(task, switches))
    return added


def as_interval(value: Any) -> Interval:
    """A figure of a summary, which may be a number without an interval."""
    return value if isinstance(value, Interval) else Interval(float(value), math.nan, math.nan, 0, 0)


def shown(interval: Interval, names: Sequence[str]) -> dict[str, Any]:
    """The parts of an interval for JSON, rounded; what is not a number is null."""
    values = {"score": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
    return {name: _rounded(values[name]) for name in names}


def _rounded(value: float | None) -> float | None:
    if value is None or isinstance(value, int):
        return value
    return None if math.isnan(value) else round(value, DIGITS)
