"""Tasks of the exam room as a criterion: the candidate and the serving release sit the same items, compared in pairs.

Each task counts the same, whatever its number of items; items of one cluster are resampled together.
Tasks that measure bits are left out: text_loss measures those.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggurat.errors import ZigguratError
from ziggurat.evaluation.statistics import cluster_bootstrap
from ziggurat.exam.candidates.local import Local, load
from ziggurat.exam.contamination import corpora_of, overlaps
from ziggurat.exam.reading import Task, open_tasks
from ziggurat.exam.run import Result, sit
from ziggurat.exam.suites import Part, parts_of
from ziggurat.exam.switches import Switches
from ziggurat.flywheel.gate.criterion import Bench, Finding, of_chance, percent, verdict_of_fall
from ziggurat.home import portable

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat


def measure(bench: Bench) -> Finding:
    """Refused where the mean over tasks falls by more than the tolerance, beyond chance; undecided where a task of the
    policy cannot be sat."""
    bar = bench.policy.exam_tolerance
    if bench.theirs is None or bench.against is None:
        sentence = "No release serves yet, so there is no exam to compare with."
        return Finding(verdict="passed", bar=-bar, unit="difference", sentence=sentence)
    ours = candidate_of(bench.candidate, bench.ours)
    theirs = candidate_of(bench.against, bench.theirs)
    values: list[float] = []
    weights: list[float] = []
    clusters: list[str] = []
    detail: dict[str, Any] = {"tasks": {}, "not_measured": {}}
    for part in parts_of(bench.policy.exam_tasks):
        try:
            for task in open_tasks(part.task):
                if task.file.form == "text":
                    continue
                after, before = (_sat(one, task, part, bench.policy.exam_items) for one in (ours, theirs))
                known = {one.id: one for one in before.found}
                sign = -1.0 if task.file.better == "lower" else 1.0
                for one in after.found:
                    change = one.mark.scores["score"] - known[one.id].mark.scores["score"]
                    values.append(sign * change)
                    weights.append(1 / len(after.found))
                    clusters.append(f"{task.name}/{one.cluster or one.id}")
                detail["tasks"][task.name] = {
                    "candidate": after.figure["score"],
                    "serving": before.figure["score"],
                    "better": task.file.better,
                }
        except ZigguratError as error:
            detail["not_measured"][part.task] = str(error)
    if not values:
        reasons = " ".join(detail["not_measured"].values()) or "Its tasks measure bits only."
        sentence = f"No task of the exam could be sat. {reasons}"
        return Finding(verdict="not_measured", bar=-bar, unit="difference", sentence=sentence, detail=detail)
    fall = cluster_bootstrap(values, clusters, weights=weights)
    verdict = verdict_of_fall(fall, bar)
    sentence = _sentence(detail["tasks"], fall.value, bar) + of_chance(fall, bar, "exam_tolerance")
    if missing := detail["not_measured"]:
        verdict = "refused" if verdict == "refused" else "undecided"
        sentence += f" Not measured: {', '.join(missing)}. {' '.join(missing.values())}"
    return Finding(
        verdict=verdict,
        figure=fall.value,
        low=fall.low,
        high=fall.high,
        bar=-bar,
        unit="difference",
        n=fall.n,
        sentence=sentence,
        detail=detail,
    )


def candidate_of(folder: Path, chat: Chat) -> Local:
    """A model of the bench, as it is loaded there."""
    return load(portable(folder), lambda: chat)


def _sat(candidate: Local, task: Task, part: Part, most: int) -> Result:
    own = part.model_dump(exclude_none=True, exclude={"task", "limit"})
    switches = Switches(limit=min(most, part.limit or most), **own)
    known = overlaps(corpora_of(candidate.name), [task])
    return sit(candidate, task, switches, overlap=known.get(task.name))


def _sentence(tasks: Mapping[str, Mapping[str, Any]], change: float, bar: float) -> str:
    before, after = (
        sum(_value(one, name) for one in tasks.values()) / len(tasks) for name in ("serving", "candidate")
    )
    gains = {name: _value(one, "candidate") - _value(one, "serving") for name, one in tasks.items()}
    worst = min(gains, key=lambda name: gains[name])
    least = (
        f" {worst} changes most, by {100 * gains[worst]:+.1f} points."
        if gains[worst] < 0 and len(tasks) > 1
        else ""
    )
    low = any(one["better"] == "lower" for one in tasks.values())
    least += " A score that should be low counts as 1 less the score." if low else ""
    return (
        f"The mean score of {len(tasks)} exam tasks goes from {percent(before)} to {percent(after)} "
        f"({100 * change:+.1f} points); a fall of {100 * bar:.1f} points is allowed.{least}"
    )


def _value(one: Mapping[str, Any], name: str) -> float:
    """A score as it counts in the mean: higher is better."""
    score = float(one[name] or 0.0)
    return 1.0 - score if one["better"] == "lower" else score
