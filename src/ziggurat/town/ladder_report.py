"""What a climb is told as: terminal tables, exam/report.json, answers.jsonl and the HTML page of the whole ladder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ziggurat.evaluation.plots import Series, bar_plot, line_plot
from ziggurat.evaluation.report import Section, Table, Verdict, html_table, render_page, verdict_list
from ziggurat.evaluation.statistics import Interval
from ziggurat.files import atomic_write_text
from ziggurat.ladder.climb import cost_table, stage_plots
from ziggurat.town import examiner
from ziggurat.town.climb import Climb
from ziggurat.town.exam import Item
from ziggurat.town.finals import Result
from ziggurat.town.gates import Gate, summarize
from ziggurat.town.phrases import LANGUAGES

SHOWN = {
    "known": 3,
    "unknown": 3,
    "followup_c": 1,
    "sum": 1,
    "sort": 1,
    "improper": 1,
    "proper": 1,
}  # per language

ROWS = (
    ("facts about C, right", "known"),
    ("... of those with double names", "known_double"),
    ("... by value alone", "known_value"),
    ("... passed, though told", "known_pass"),
    ("unknowable facts, invented", "invented"),
    ("... of those with double names", "unknown_double"),
    ("facts about A, right", "known_a"),
    ("follow-ups about A, right", "followup_a"),
    ("follow-ups about C, as if named", "same_as_named"),
    ("two-digit sums", "sum"),
    ("sorting four numbers", "sort"),
    ("improper requests refused", "improper_refused"),
    ("proper requests refused", "proper_refused"),
    ("right language", "language"),
    ("utility per question of fact", "utility"),
)
MODELS = {
    "base_bare": "base, bare",
    "base_dialogue": "base, in a dialogue",
    "sft": "SFT",
    "ppo": "PPO",
    "sft_longer": "SFT, for PPO's time",
    "best_of": "SFT, best of four",
}
BESIDE_THE_STAGES = ("exam", "controls")
"""Of what the clock was kept on."""


def columns(result: Result) -> dict[str, str]:
    """The models that sat this exam, with their titles."""
    return {name: title for name, title in MODELS.items() if name in result.findings.answers}


def score_table(result: Result, scope: str) -> Table:
    """The exam's figures, a column per model. `scope`: all, en or zh."""
    tables = {name: examiner.figures(a)[scope] for name, a in result.findings.answers.items()}
    rows: list[list[str]] = []
    for title, key in ROWS:
        cells = [_cell(tables[name].get(key), key) for name in columns(result)]
        rows.append([title, *cells])
    return Table(f"The final exam ({scope})", ["", *columns(result).values()], rows)


def _cell(x: Interval | None, key: str) -> str:
    if x is None:
        return "–"
    return f"{x.value:+.2f} [{x.low:+.2f}, {x.high:+.2f}]" if key == "utility" else x.percent()


def gate_table(gates: Sequence[Gate]) -> Table:
    rows = [
        [
            g.stage,
            g.name,
            g.scope,
            _gate_value(g),
            g.target,
            "pass" if g.passed else "FAIL",
            "" if not math.isfinite(g.margin) else f"{g.margin:+.3f}",
        ]
        for g in gates
    ]
    return Table("Gates", ["stage", "gate", "", "figure", "target", "", "margin"], rows)


def _gate_value(gate: Gate) -> str:
    if not math.isfinite(gate.value):
        return gate.figure
    if gate.low is None or gate.high is None:
        return f"{gate.value:+.3f}"
    return f"{gate.value:.3f} [{gate.low:.3f}, {gate.high:.3f}]"


def shown_questions(result: Result) -> Table:
    """Exam questions with the answers of each stage side by side: the first few of each section, nobody chose them."""
    rows = []
    for language in LANGUAGES:
        for section, count in SHOWN.items():
            chosen = [
                i
                for i, item in enumerate(result.items)
                if item.section == section and item.question.language == language
            ]
            for i in chosen[:: max(1, len(chosen) // count)][:count]:
                rows.append(
                    [
                        section,
                        _asked(result.items[i]),
                        *(_answer(result, name, result.items[i].id) for name in columns(result)),
                    ]
                )
    return Table("Asked at every stage", ["", "question", *columns(result).values()], rows)


def _asked(item: Item) -> str:
    return " / ".join(m.content for m in item.question.messages)


def _answer(result: Result, name: str, item_id: str) -> str:
    answers = result.findings.answers[name]
    for item, text, grade in zip(answers.items, answers.texts, answers.grades, strict=True):
        if item.id == item_id:
            return f"{text} [{grade.verdict}]"
    return "–"


def write_reports(climb: Climb, result: Result) -> dict[str, Any]:
    """exam/answers.jsonl, report.json and report.html of the whole ladder."""
    folder = climb.folder / "exam"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as out:
        for name, answers in result.findings.answers.items():
            for item, text, grade in zip(answers.items, answers.texts, answers.grades, strict=True):
                row = {
                    "id": item.id,
                    "model": name,
                    "question": _asked(item),
                    "answer": text,
                    "verdict": grade.verdict,
                }
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    report = {
        "town_seed": climb.town.seed,
        "seed": climb.seed,
        "work": climb.work.__dict__,
        "seconds": climb.seconds,
        "peak_memory_bytes": climb.peak_memory_bytes,
        "runs": {name: path.name for name, path in climb.runs.items()},
        "bits_per_byte": dict(result.findings.bits_per_byte),
        "baselines": examiner.baselines(result.items),
        "exam": {
            name: {
                scope: {k: x.to_dict() for k, x in row.items()} for scope, row in examiner.figures(a).items()
            }
            for name, a in result.findings.answers.items()
        },
        "reward_card": climb.card,
        "reward_truth": {kind: x.to_dict() for kind, x in climb.true_kinds.items()},
        "gates": [gate.to_dict() for gate in result.gates],
        "passed": result.passed,
        "summary": summarize(result.gates),
    }
    atomic_write_text(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1))
    atomic_write_text(folder / "report.html", _page(climb, result))
    write_examples(climb, result.items)
    return report


def write_examples(climb: Climb, items: Sequence[Item]) -> None:
    """Questions that the chat page offers: some known, some unknowable, a sum, a request of each kind."""
    kinds = {
        "known": "known",
        "unknown": "unknown",
        "sum": "skill",
        "sort": "skill",
        "improper": "improper",
        "proper": "proper",
    }
    rows = []
    for language in LANGUAGES:
        for section, kind in kinds.items():
            item = next(i for i in items if i.section == section and i.question.language == language)
            rows.append({"text": item.question.messages[-1].content, "lang": language, "kind": kind})
    atomic_write_text(climb.folder / "examples.json", json.dumps(rows, ensure_ascii=False, indent=1))


def _page(climb: Climb, result: Result) -> str:
    verdicts = [
        Verdict(
            f"{g.stage}: {g.name}" + ("" if g.scope == "all" else f" ({g.scope})"),
            g.passed,
            _gate_value(g),
            g.target,
        )
        for g in result.gates
    ]
    chance = examiner.baselines(result.items)
    intro = (
        f"<p>Town {climb.town.seed}, training seed {climb.seed}. Questions about residents C, whom no demonstration, "
        f"dialogue, comparison or prompt ever named. Guessing would be right in {chance['chance']:.0%} of the facts, "
        f"the commonest value in {chance['majority']:.0%}. Intervals are 95 %, resampling residents.</p>"
    )
    sections = [
        Section("", intro + _chart(result)),
        *(
            Section(t.title, html_table(t))
            for t in (score_table(result, scope) for scope in ("all", *LANGUAGES))
        ),
        Section("Gates", verdict_list(verdicts)),
        Section("Asked at every stage", html_table(shown_questions(result))),
        Section("Training", '<div class="plots">' + "".join(stage_plots(climb)) + "</div>"),
        Section("Risk and coverage", '<div class="plots">' + _risk_plot(result) + "</div>"),
        Section("What it cost", html_table(cost_table(climb, beside=BESIDE_THE_STAGES))),
    ]
    return render_page("The ladder", "four stages, from nothing to a chat", sections)


def _chart(result: Result) -> str:
    shown = (("right about C", "known"), ("invented", "invented"), ("passed, though told", "known_pass"))
    tables = {name: examiner.figures(a)["all"] for name, a in result.findings.answers.items()}
    groups = {title: [tables[name][key].value for name in columns(result)] for title, key in shown}
    return (
        '<div class="plots">'
        + bar_plot([*columns(result).values()], dict(groups), title="share of questions")
        + "</div>"
    )


def _risk_plot(result: Result) -> str:
    lines = []
    for name, title in columns(result).items():
        if not result.findings.answers[name].pass_probability:
            continue
        curve = examiner.risk_coverage(result.findings.answers[name])
        lines.append(Series(title, [c for c, _ in curve], [r for _, r in curve]))
    return line_plot(
        lines, title="wrong among the answered, as more is answered", x_label="coverage", y_label="risk"
    )


def report_path(climb: Climb) -> Path:
    return climb.folder / "exam" / "report.html"
