"""What alignment costs: abilities before and after a stage, item by item; and which old facts a fine-tune forgets.

`tax` compares two models on the tasks that both have sat: by task the difference of scores (after less before) on the
same items, paired, with an interval over clusters; by ability the mean of those of its tasks that are shares and better
when higher, each of which counts alike; bits per byte stand beside them by task. A loss
is where the whole interval lies below 0. Source of the term: InstructGPT (arXiv:2203.02155), section 3.5, which lowers
the tax by mixing in gradients of pre-training.

`retention` follows the items through a chain of models (base, SFT, PPO, or fine-tune after fine-tune): of what was
right at the first model, what is still right at each later one; and what was learned; intervals are over clusters.

    figures of two models with their items: `run.Result` (settings, figure, found)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.errors import UsageError
from ziggurat.evaluation.report import Table
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.exam.item import Found
from ziggurat.exam.run import Result

RIGHT = 0.5
"""A score above which an item counts as right in `retention`."""


@dataclass(frozen=True)
class Change:
    """One task or one ability: means before and after as they are, and the paired difference, which is above 0 where
    the model after is better, also of a figure that is better when lower."""

    name: str
    ability: str
    before: float
    after: float
    difference: Interval
    tasks: int = 1

    @property
    def verdict(self) -> str:
        """`lost`, `gained`, or `no difference found`."""
        if self.difference.high < 0:
            return "lost"
        return "gained" if self.difference.low > 0 else "no difference found"


@dataclass(frozen=True)
class Tax:
    before: str
    after: str
    tasks: list[Change]
    abilities: list[Change]

    @property
    def lost(self) -> list[Change]:
        """Abilities whose whole interval lies below 0."""
        return [one for one in self.abilities if one.verdict == "lost"]


def tax(before: Sequence[Result], after: Sequence[Result]) -> Tax:
    """Results of one model and of another; tasks that only one has sat are left out.

    Raises:
        UsageError: they share no task, or have sat one task with other questions or other switches.
    """
    ours = {str(one.settings["task"]): one for one in after}
    theirs = {str(one.settings["task"]): one for one in before}
    shared = [name for name in theirs if name in ours]
    if not shared:
        raise UsageError(
            "the two models have sat no task in common; examine both with one suite, such as --suite tax."
        )
    tasks, rows = [], {}
    for name in shared:
        if why := _other(theirs[name], ours[name]):
            raise UsageError(
                f"the task {name} was sat with other {why} by the two models; examine both with one command."
            )
        sign = -1.0 if ours[name].figure.get("better") == "lower" else 1.0
        rows[name] = _differences(theirs[name].found, ours[name].found, sign)
        tasks.append(_change(name, str(ours[name].figure["ability"]), [rows[name]], sign))
    groups: dict[str, list[str]] = defaultdict(list)
    for one in tasks:
        figure = ours[one.name].figure
        if figure.get("unit", "share") == "share" and figure.get("better", "higher") == "higher":
            groups[one.ability].append(one.name)
    abilities = [
        _change(ability, ability, [rows[name] for name in names]) for ability, names in groups.items()
    ]
    model = [str(next(iter(results)).settings["model"]) for results in (before, after)]
    return Tax(model[0], model[1], tasks, abilities)


def _other(one: Result, other: Result) -> str:
    if one.settings.get("task_sha256") != other.settings.get("task_sha256"):
        return "questions"
    mine, yours = (dict(result.settings.get("switches", {})) for result in (one, other))
    for switches in (mine, yours):
        for name in ("chat", "model"):  # a base model only continues: that is part of what is compared
            switches.pop(name, None)
    return "" if mine == yours else "switches"


_Row = tuple[float, float, str]
"""Score before, score after (both better when higher), cluster."""


def _differences(before: Sequence[Found], after: Sequence[Found], sign: float) -> list[_Row]:
    known = {one.id: one for one in before}
    return [
        (
            sign * float(known[one.id].mark.scores["score"]),
            sign * float(one.mark.scores["score"]),
            one.cluster or one.id,
        )
        for one in after
        if one.id in known and "score" in one.mark.scores and "score" in known[one.id].mark.scores
    ]


def _change(name: str, ability: str, groups: Sequence[Sequence[_Row]], sign: float = 1.0) -> Change:
    """The mean over tasks of the mean over items; clusters of different tasks are different. `sign` of the rows."""
    groups = [rows for rows in groups if rows]
    weights = [1 / len(rows) for rows in groups for _ in rows]
    clusters = [f"{i}:{cluster}" for i, rows in enumerate(groups) for _, _, cluster in rows]
    flat = [row for rows in groups for row in rows]
    difference = cluster_bootstrap([b - a for a, b, _ in flat], clusters, weights=weights)
    total = math.fsum(weights) or 1.0
    return Change(
        name,
        ability,
        sign * math.fsum(w * a for w, (a, _, _) in zip(weights, flat, strict=True)) / total,
        sign * math.fsum(w * b for w, (_, b, _) in zip(weights, flat, strict=True)) / total,
        difference,
        len(groups),
    )


@dataclass(frozen=True)
class Kept:
    """One model of a chain against the first: shares with intervals, and counts."""

    model: str
    kept: Interval
    """Of the items that the first model answered right: the share that is right here."""
    learned: Interval
    """Of those that it answered wrong: the share that is right here."""
    forgotten: tuple[str, ...]
    """`task/item` of what was right and is wrong."""


def retention(chain: Sequence[Sequence[Result]]) -> list[Kept]:
    """The results of each model, the oldest model first; one entry for each later model.

    Raises:
        UsageError: fewer than two models, or they share no item.
    """
    if len(chain) < 2:
        raise UsageError("retention compares a model with its ancestors; name at least two models.")
    right = [_right(results) for results in chain]
    clusters = {
        f"{result.settings['task']}/{one.id}": f"{result.settings['task']}/{one.cluster or one.id}"
        for result in chain[0]
        for one in result.found
    }
    found = []
    for results, known in zip(chain[1:], right[1:], strict=True):
        both = [key for key in right[0] if key in known]
        if not both:
            raise UsageError("the models share no item of a task; examine all with one suite.")
        old = [key for key in both if right[0][key]]
        new = [key for key in both if not right[0][key]]
        found.append(
            Kept(
                str(results[0].settings["model"]),
                cluster_bootstrap([float(known[key]) for key in old], [clusters[key] for key in old]),
                cluster_bootstrap([float(known[key]) for key in new], [clusters[key] for key in new]),
                tuple(key for key in old if not known[key]),
            )
        )
    return found


def _right(results: Sequence[Result]) -> dict[str, bool]:
    return {
        f"{result.settings['task']}/{one.id}": float(one.mark.scores.get("score", 0.0)) > RIGHT
        for result in results
        if result.figure.get("unit", "share") == "share" and result.figure.get("better", "higher") == "higher"
        for one in result.found
    }


def tax_tables(found: Tax) -> list[Table]:
    """By ability, then by task."""
    columns = ["", "before", "after", "difference", "95 % interval", "verdict"]

    def line(one: Change) -> list[str]:
        low, high = one.difference.low, one.difference.high
        return [
            one.name,
            f"{one.before:.3f}",
            f"{one.after:.3f}",
            f"{one.difference.value:+.3f}",
            f"[{low:+.3f}, {high:+.3f}]",
            one.verdict,
        ]

    title = f"{found.after} against {found.before}"
    return [
        Table(f"Abilities: {title}", ["ability", *columns[1:]], [line(one) for one in found.abilities]),
        Table(f"Tasks: {title}", ["task", *columns[1:]], [line(one) for one in found.tasks]),
    ]


def retention_table(first: str, found: Sequence[Kept]) -> Table:
    rows = [[one.model, _percent(one.kept), _percent(one.learned), str(len(one.forgotten))] for one in found]
    return Table(
        f"What was right at {first}",
        ["model", "still right", "wrong before, right now", "forgotten items"],
        rows,
    )


def _percent(value: Interval) -> str:
    return "–" if math.isnan(value.value) else value.percent()
