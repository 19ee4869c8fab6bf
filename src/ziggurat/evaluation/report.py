"""What a run leaves for people to read: report.html (one file, no script, nothing fetched) and report.json.

    report = write_run_report(run, summary=..., numbers=..., verdicts=[...], samples=[...])
    run.finish(report)

Everything drawn comes from the run itself (metrics.jsonl, config.yaml, manifest.json) and from what the stage hands
in. Text is always escaped: models and users wrote much of it. `render_page` makes other pages of the same look.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ziggurat.console import human_time
from ziggurat.evaluation.page import STYLE
from ziggurat.evaluation.plots import Series, line_plot
from ziggurat.files import atomic_write_text
from ziggurat.runs import Run

NOT_PLOTTED = {"step", "elapsed_s", "tokens", "lr_matrix", "lr_adam", "epoch"}

METRIC_HELP = {
    "loss": "mean loss of each step's batch, in nats per counted target",
    "grad_norm": "norm of the gradient before clipping; spikes precede trouble",
    "tokens_per_s": "speed",
    "val_loss": "loss on held-out data, nats per target",
    "val_bits_per_byte": "bits per byte of held-out text; comparable between vocabularies",
    "val_token_accuracy": "held-out tokens that are the first choice",
    "val_exact_match": "held-out answers that greedy decoding writes word for word",
}


@dataclass(frozen=True)
class Verdict:
    """One claim with its measurement: passed, failed, or (None) only reported."""

    name: str
    passed: bool | None
    value: str
    target: str = ""
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """The model's own words, beside what was expected where that is known."""

    prompt: str
    text: str
    expected: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Section:
    """A heading with ready-made HTML below it."""

    title: str
    body: str


def write_run_report(
    run: Run,
    *,
    summary: str,
    numbers: Mapping[str, Any] | None = None,
    derived: Sequence[tuple[str, Any, str]] = (),
    verdicts: Sequence[Verdict] = (),
    samples: Sequence[Sample] = (),
    tables: Sequence[Table] = (),
) -> dict[str, Any]:
    """Write the run's report.html and return what `run.finish` writes as report.json."""
    manifest = run.manifest
    numbers = dict(numbers or {})
    title = f"{run.path.parent.name}/{run.path.name}"
    config_text = (run.path / "config.yaml").read_text(encoding="utf-8")
    sections = [
        Section("", f'<p class="summary">{html.escape(summary)}</p>{number_cards(numbers)}'),
        Section("Verdicts", verdict_list(verdicts) if verdicts else ""),
        Section("Plots", '<div class="plots">' + "".join(metric_plots(run.read_metrics())) + "</div>"),
        *(Section(t.title, html_table(t)) for t in tables),
        Section("In its own words", sample_list(samples) if samples else ""),
        Section(
            "Derived before the first step",
            html_table(Table("", ("number", "value", "from"), list(derived))) if derived else "",
        ),
        Section("Lineage", html_table(Table("", ("", ""), _lineage(manifest)))),
        Section(
            "Configuration",
            f"<details><summary>config.yaml</summary><pre>{html.escape(config_text)}</pre></details>",
        ),
    ]
    atomic_write_text(run.path / "report.html", render_page(title, f"stage {run.stage}", sections))
    return {
        "stage": run.stage,
        "summary": summary,
        "numbers": numbers,
        "verdicts": [asdict(v) for v in verdicts],
        "samples": [asdict(s) for s in samples],
        "tables": [
            {"title": t.title, "columns": list(t.columns), "rows": [list(r) for r in t.rows]} for t in tables
        ],
        "derived": [{"name": n, "value": v, "from": why} for n, v, why in derived],
    }


def render_page(title: str, subtitle: str, sections: Iterable[Section], language: str = "en") -> str:
    """One self-contained HTML page; sections without a body are left out."""
    body = "".join(
        f"<section>{f'<h2>{html.escape(s.title)}</h2>' if s.title else ''}{s.body}</section>"
        for s in sections
        if s.body
    )
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(title)} · Ziggurat</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p></header>{body}</main></body></html>\n"
    )


def metric_plots(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Loss first (with held-out loss upon it), learning rates together, then every other number that was logged."""
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    numeric = [n for n in names if any(isinstance(row.get(n), int | float) for row in rows)]

    def series(name: str, label: str = "") -> Series:
        kept = [
            (float(row["step"]), row[name]) for row in rows if row.get(name) is not None and "step" in row
        ]
        return Series(label or name, [x for x, _ in kept], [_finite(y) for _, y in kept])

    plots = []
    if "loss" in numeric:
        lines = [series("loss", "training")] + (
            [series("val_loss", "held out")] if "val_loss" in numeric else []
        )
        plots.append(line_plot(lines, title="loss", y_label="nats per target"))
    rest = [n for n in numeric if n not in NOT_PLOTTED | {"loss", "val_loss"}]
    plots += [line_plot([series(n)], title=f"{n}: {METRIC_HELP[n]}" if n in METRIC_HELP else n) for n in rest]
    rates = [series(n) for n in ("lr_matrix", "lr_adam") if n in numeric]
    if rates:
        plots.append(line_plot(rates, title="learning rates"))
    return [p for p in plots if p]


def number_cards(numbers: Mapping[str, Any]) -> str:
    cards = "".join(
        f'<div class="card"><b>{html.escape(show(value))}</b><span>{html.escape(name)}</span></div>'
        for name, value in numbers.items()
        if value is not None
    )
    return f'<div class="cards">{cards}</div>' if cards else ""


def verdict_list(verdicts: Sequence[Verdict]) -> str:
    kinds = {True: ("pass", "✓"), False: ("fail", "✗"), None: ("report", "·")}
    rows = []
    for v in verdicts:
        kind, mark = kinds[v.passed]
        target = f" <small>target {html.escape(v.target)}</small>" if v.target else ""
        note = f"<p>{html.escape(v.note)}</p>" if v.note else ""
        word = {"pass": "passed", "fail": "failed", "report": "reported"}[kind]
        rows.append(
            f'<li class="{kind}"><i role="img" aria-label="{word}">{mark}</i><div><b>{html.escape(v.name)}</b> '
            f"{html.escape(v.value)}{target}{note}</div></li>"
        )
    return f'<ul class="verdicts">{"".join(rows)}</ul>'


def sample_list(samples: Sequence[Sample]) -> str:
    parts = []
    for s in samples:
        prompt = f'<div class="prompt">{html.escape(s.prompt)}</div>' if s.prompt else ""
        expected = (
            f'<div class="expected"><small>expected</small> {html.escape(s.expected)}</div>'
            if s.expected
            else ""
        )
        note = f'<div class="expected"><small>{html.escape(s.note)}</small></div>' if s.note else ""
        said = html.escape(s.text) or "<em>(nothing)</em>"
        parts.append(
            f'<div class="sample" dir="auto">{prompt}<div class="said">{said}</div>{expected}{note}</div>'
        )
    return "".join(parts)


def html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in table.columns) if any(table.columns) else ""
    rows = "".join("<tr>" + "".join(_cell(c) for c in row) + "</tr>" for row in table.rows)
    head = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def show(value: Any) -> str:
    """A number as people read it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if math.isfinite(value) else "—"


def _cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (
        f'<td class="num">{html.escape(show(value))}</td>'
        if number
        else f"<td>{html.escape(str(value))}</td>"
    )


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _lineage(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    parent = manifest.get("parent")
    while isinstance(parent, dict):
        rows.append(("parent", f"{parent.get('stage') or 'model'} {parent.get('path')}"))
        parent = parent.get("parent")
    for entry in manifest.get("data") or []:
        name = Path(str(entry.get("path"))).name
        rows.append(
            ("data", f"{name}: {entry.get('records'):,} records, SHA-256 {str(entry.get('sha256'))[:16]}…")
        )
    code, machine = manifest.get("code") or {}, manifest.get("machine") or {}
    commit = (
        f", commit {str(code['commit'])[:12]}{' with changes' if code.get('dirty') else ''}"
        if code.get("commit")
        else ""
    )
    rows.append(("code", f"ziggurat {code.get('ziggurat')}{commit}"))
    rows.append(("seed", str(manifest.get("seed"))))
    rows.append(
        ("machine", f"{machine.get('cpu')}, {machine.get('cores')} cores, torch {machine.get('torch')}")
    )
    rows.append(("started", str(manifest.get("started_utc"))))
    if manifest.get("wall_s"):
        rows.append(("wall time", human_time(float(manifest["wall_s"]))))
    return rows
