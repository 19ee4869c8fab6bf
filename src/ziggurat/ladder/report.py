"""The report of a climb: terminal tables, exam/report.json, exam/answers.jsonl and the page exam/report.html."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.console import human_time
from ziggurat.evaluation.plots import Series, line_plot
from ziggurat.evaluation.report import Section, Table, html_table, render_page, verdict_list
from ziggurat.files import atomic_write_text, to_json, write_json
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.targets import Target, summarize, target_table, verdicts
from ziggurat.ladder.world import left_out
from ziggurat.memory import peak_memory_bytes
from ziggurat.runs import Run

EXAM_FORMAT = 2
"""Version of exam/report.json. Version 1 calls the targets `gates`."""
BESIDE_THE_STAGES = ("exam", "controls")
"""What the clock is kept on beside the stages."""
PLOTTED = ("loss", "reward", "kl", "gold")


@dataclass(kw_only=True)
class Exam:
    """What an exam found, ready to be reported."""

    tables: list[Table]
    """Printed, and on the page."""
    targets: list[Target]
    figures: dict[str, Any]
    """The world's own fields of report.json."""
    answers: list[dict[str, Any]]
    """The rows of answers.jsonl: model, question, answer and what else is known."""
    intro: str = ""
    """HTML above the tables."""
    plots: list[str] = field(default_factory=list)
    """SVG above the tables."""
    sections: list[Section] = field(default_factory=list)
    """More of the page, after the targets."""
    examples: list[dict[str, str]] = field(default_factory=list)
    """Questions that the chat page offers: text, lang, kind."""

    @property
    def passed(self) -> bool:
        return all(target.passed for target in self.targets)


def terminal_tables(climb: Climb, exam: Exam) -> list[Table]:
    """What a command prints after a climb."""
    targets = [target_table(exam.targets)] if exam.targets else []
    return [*exam.tables, *targets, cost_table(climb)]


def report_path(climb: Climb) -> Path:
    return climb.folder / "exam" / "report.html"


def write_report(climb: Climb, exam: Exam) -> dict[str, Any]:
    """Write exam/answers.jsonl, report.json and report.html (and examples.json); returns what report.json holds."""
    folder = climb.folder / "exam"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [to_json(row) + "\n" for row in exam.answers]
    atomic_write_text(folder / "answers.jsonl", "".join(lines))
    report = {
        "world": asdict(climb.world.options),
        "seed": climb.seed,
        "work": climb.work.__dict__,
        "left_out": left_out(climb.world),
        "seconds": climb.seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        "runs": {name: path.name for name, path in climb.runs.items()},
        **exam.figures,
        "reward_card": climb.card,
        "reward_truth": {kind: x.to_dict() for kind, x in climb.true_kinds.items()},
        "targets": [target.to_dict() for target in exam.targets],
        "passed": exam.passed,
        "summary": summarize(exam.targets),
    }
    write_json(folder / "report.json", report, EXAM_FORMAT)
    atomic_write_text(folder / "report.html", _page(climb, exam))
    if exam.examples:
        atomic_write_text(climb.folder / "examples.json", to_json(exam.examples, indent=1))
    return report


def targets_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets of a report.json of any version."""
    found: list[dict[str, Any]] = report["targets"] if "targets" in report else report["gates"]
    return found


def _page(climb: Climb, exam: Exam) -> str:
    sections = [
        Section("", exam.intro + _plots(exam.plots)),
        *(Section(table.title, html_table(table)) for table in exam.tables),
        Section("Targets", verdict_list(verdicts(exam.targets)) if exam.targets else ""),
        *exam.sections,
        Section("Training", _plots(stage_plots(climb))),
        Section("What it cost", html_table(cost_table(climb))),
    ]
    return render_page(climb.world.title, climb.world.subtitle, sections)


def _plots(plots: Iterable[str]) -> str:
    return f'<div class="plots">{"".join(plots)}</div>'


def cost_table(climb: Climb) -> Table:
    """Time and memory by stage."""
    gibibytes = {stage: f"{peak / 2**30:.2f} GiB" for stage, peak in climb.peaks.items()}
    rows = [[stage, human_time(s), gibibytes.get(stage, "–")] for stage, s in climb.seconds.items()]
    stages = sum(s for stage, s in climb.seconds.items() if stage not in BESIDE_THE_STAGES)
    rows += [
        ["stages with rounds and files", human_time(stages), ""],
        ["in all", human_time(sum(climb.seconds.values())), f"{peak_memory_bytes() / 2**30:.2f} GiB"],
    ]
    return Table("What it cost", ["", "time", "peak memory so far"], rows)


def stage_plots(climb: Climb) -> list[str]:
    """The curves of every stage, as SVG."""
    plots = []
    for name, path in climb.runs.items():
        rows = Run.open(path).read_metrics()
        for key in PLOTTED:
            points = [(r["step"], r[key]) for r in rows if isinstance(r.get(key), int | float)]
            if points:
                line = Series(key, [float(x) for x, _ in points], [float(y) for _, y in points])
                plots.append(line_plot([line], title=f"{name}: {key}"))
    return plots
