"""Two or more runs side by side: the settings that differ, curves, figures with intervals.

Runs that differ only in their seeds form a group (`--seeds 3` makes such runs). The figure of a curve is its mean over
the last rows. What its interval covers depends on the runs:

    one run against one run       the steps that both have, paired: noise from step to step, not from seed to seed
    groups that share seeds       the seeds, paired (Student's t): what another seed would give

Rows of one run depend on each other, so an interval over steps is too narrow to decide between two methods; an interval
over seeds decides. Not here: tests of significance over many fields at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ziggurat.errors import UsageError, did_you_mean
from ziggurat.evaluation.plots import Series, line_plot
from ziggurat.evaluation.report import Section, Table, html_table, render_page, show
from ziggurat.evaluation.statistics import Interval, paired_bootstrap, student_interval
from ziggurat.runs import Run
from ziggurat.settings import flatten

MAIN_FIELDS = (
    "loss",
    "val_loss",
    "val_accuracy",
    "val_bits_per_byte",
    "reward",
    "gold",
    "kl",
    "entropy",
    "length",
)
"""Shown in the terminal if a run has them; `fields` chooses others."""

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 32


@dataclass(frozen=True)
class Compared:
    """One run, read once."""

    name: str
    stage: str
    seed: Any
    settings: dict[str, Any]
    data: tuple[str, ...]
    rows: list[dict[str, Any]]
    report: dict[str, Any]

    @classmethod
    def read(cls, run: Run) -> Compared:
        manifest = run.manifest
        return cls(
            name=f"{run.path.parent.name}/{run.path.name}",
            stage=run.stage,
            seed=manifest.get("seed"),
            settings=flatten(run.config),
            data=tuple(sorted(str(entry.get("sha256")) for entry in manifest.get("data") or [])),
            rows=run.read_metrics(),
            report=run.report or {},
        )

    def curve(self, name: str) -> dict[int, float]:
        """Step to value, of the rows that hold a finite number."""
        return {
            int(row["step"]): float(row[name])
            for row in self.rows
            if isinstance(row.get(name), int | float) and math.isfinite(row[name]) and "step" in row
        }

    @cached_property
    def fields(self) -> list[str]:
        """Metrics with a number in some row; seconds and rates (`_s`) describe the machine and are left out."""
        names = dict.fromkeys(
            name for row in self.rows for name in row if name != "step" and not name.endswith("_s")
        )
        return [name for name in names if self.curve(name)]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for runs that differ in nothing but their seeds."""
        settings = {
            key: repr(value) for key, value in self.settings.items() if key.rpartition(".")[2] != "seed"
        }
        return self.stage, self.data, tuple(sorted(settings.items()))


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found; `fields` are the curves that are shown."""

    runs: list[Compared]
    groups: list[list[Compared]]
    fields: list[str]
    last: int
    settings: dict[str, list[Any]] = field(default_factory=dict)
    """Setting to its value in each run, where they differ; None where a run does not have it."""

    def figure(self, group: Sequence[Compared], name: str) -> Interval | None:
        """The mean of a curve's last rows; over the seeds of a group, with its interval."""
        means = [_mean(list(run.curve(name).values())[-self.last :]) for run in group if run.curve(name)]
        return student_interval(means) if means else None

    def difference(self, group: Sequence[Compared], name: str) -> Interval | None:
        """This group minus the first one; None where neither steps nor seeds can be paired."""
        first = self.groups[0]
        if len(first) == len(group) == 1:
            ours, theirs = group[0].curve(name), first[0].curve(name)
            steps = sorted(ours.keys() & theirs.keys())[-self.last :]
            if len(steps) < 2:  # one difference has no interval
                return student_interval([ours[s] - theirs[s] for s in steps]) if steps else None
            return paired_bootstrap([ours[s] for s in steps], [theirs[s] for s in steps])
        by_seed = [{run.seed: self.figure([run], name) for run in one} for one in (group, first)]
        pairs = [(by_seed[0][seed], by_seed[1][seed]) for seed in by_seed[0].keys() & by_seed[1].keys()]
        changes = [ours.value - theirs.value for ours, theirs in pairs if ours and theirs]
        return student_interval(changes) if len(changes) > 1 else None

    def figures(self) -> list[tuple[str, list[Any]]]:
        """(name, a value for each run) of the reports: numbers, and intervals as text."""
        found = [dict(_figures(run.report)) for run in self.runs]
        names = dict.fromkeys(name for one in found for name in one)
        return [(name, [one.get(name) for one in found]) for name in names]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        groups = []
        for group in self.groups:
            curves = {}
            for name in self.fields:
                value, change = self.figure(group, name), self.difference(group, name)
                curves[name] = {
                    "mean_of_last_rows": value.to_dict() if value else None,
                    "minus_first": change.to_dict() if change and group is not self.groups[0] else None,
                }
            members = [{"run": run.name, "seed": run.seed, "rows": len(run.rows)} for run in group]
            groups.append({"name": group_name(group), "runs": members, "curves": curves})
        names = [run.name for run in self.runs]
        return {
            "last_rows": self.last,
            "groups": groups,
            "settings": {key: dict(zip(names, values, strict=True)) for key, values in self.settings.items()},
            "figures": {name: dict(zip(names, values, strict=True)) for name, values in self.figures()},
        }


def compare_runs(runs: Sequence[Run], *, fields: Sequence[str] = (), last: int = 20) -> Comparison:
    """Compare two or more runs by the mean of their last `last` rows.

    Raises:
        UsageError: fewer than two runs, or a field that no run has.
    """
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        raise UsageError("Name at least two different runs to compare, such as town/ppo-1 town/ppo-2.")
    read = [Compared.read(run) for run in runs]
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for one in read:
        groups.setdefault(one.kind, []).append(one)
    known = list(dict.fromkeys(name for one in read for name in one.fields))
    for name in fields:
        if name not in known:
            hint = did_you_mean(name, known) or f" They have: {', '.join(known) or 'no rows yet'}."
            raise UsageError(f'None of the runs has a metric "{name}".{hint}')
    keys = dict.fromkeys(key for one in read for key in one.settings)
    settings = {key: [one.settings.get(key) for one in read] for key in keys}
    return Comparison(
        runs=read,
        groups=list(groups.values()),
        fields=list(fields) or [name for name in MAIN_FIELDS if name in known] or known[:6],
        last=last,
        settings={
            key: values for key, values in settings.items() if any(value != values[0] for value in values)
        },
    )


def group_name(group: Sequence[Compared]) -> str:
    """`own/sft-1`, or `own/sft-1 and 2 more seeds`."""
    more = len(group) - 1
    return group[0].name + (f" and {more} more seed{'s' * (more > 1)}" if more else "")


# --- tables and the page -------------------------------------------------------------------------------------------


def settings_table(found: Comparison) -> Table:
    rows = [
        [key, *("–" if value is None else str(value) for value in values)]
        for key, values in found.settings.items()
    ]
    return Table("Settings that differ", ["setting", *(run.name for run in found.runs)], rows)


def curve_table(found: Comparison) -> Table:
    """One row for each curve and group: its sparkline, its figure, and the difference from the first group."""
    rows = []
    for name in found.fields:
        for group in found.groups:
            value = found.figure(group, name)
            if value is None:
                continue
            change = found.difference(group, name) if group is not found.groups[0] else None
            spark = sparkline(list(group[0].curve(name).values()))
            rows.append([name, group_name(group), spark, interval_text(value), interval_text(change)])
    title = f"Curves: mean of up to {found.last} last rows, 95 % interval"
    return Table(title, ["metric", "run", "curve", "mean", "minus the first"], rows)


def figure_table(found: Comparison) -> Table:
    rows = [
        [name, *("–" if value is None else show(value) for value in values)]
        for name, values in found.figures()
    ]
    return Table("Figures of the reports", ["figure", *(run.name for run in found.runs)], rows)


def comparison_page(found: Comparison) -> str:
    """One self-contained HTML page with a plot for each curve."""
    names = dict.fromkeys(name for run in found.runs for name in run.fields)
    plots = [
        line_plot(
            [
                Series(run.name, [float(step) for step in curve], list(curve.values()))
                for run in found.runs
                if (curve := run.curve(name))
            ],
            title=name,
        )
        for name in names
    ]
    tables = [curve_table(found), settings_table(found), figure_table(found)]
    sections = [Section("Curves", '<div class="plots">' + "".join(plots) + "</div>")]
    sections += [Section(one.title, html_table(one)) for one in tables if one.rows]
    return render_page("Runs compared", ", ".join(run.name for run in found.runs), sections)


def sparkline(values: Sequence[float]) -> str:
    """A curve in one line of text, from its smallest value (▁) to its largest (█).

    >>> sparkline([0, 1, 2, 3])
    '▁▃▆█'
    """
    if not values:
        return ""
    width = min(SPARK_WIDTH, len(values))
    means = [_mean(values[i * len(values) // width : (i + 1) * len(values) // width]) for i in range(width)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(SPARKS[round((mean - low) / span * (len(SPARKS) - 1))] for mean in means)


def interval_text(value: Interval | None) -> str:
    """`0.412 [0.398, 0.427]`; without bounds where there is one observation."""
    if value is None:
        return ""
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return f"{value.value:.4g}"
    return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"


def _figures(report: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values of the numbers in a report; an interval is one figure."""
    found: list[tuple[str, Any]] = []
    for name, value in report.items():
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            middle, low, high = (
                math.nan if value[k] is None else float(value[k]) for k in ("value", "low", "high")
            )
            found.append((f"{prefix}{name}", interval_text(Interval(middle, low, high, 0, 0))))
        elif isinstance(value, Mapping):
            found += _figures(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            found.append((f"{prefix}{name}", value))
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
