"""The report of a series: report.html, report.json and law.json in its folder, and tables for the terminal."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from ziggurat.console import human_count, human_time
from ziggurat.evaluation.plots import Series as Drawn
from ziggurat.evaluation.plots import line_plot
from ziggurat.evaluation.report import Section, Table, Verdict, html_table, render_page, verdict_list
from ziggurat.evaluation.saved_law import save_law, series_folder
from ziggurat.evaluation.scaling_laws import Bounds, Law
from ziggurat.exam.scaling.findings import (
    TARGET,
    HeldOut,
    Laws,
    Skilled,
    document,
    saved_law,
    skilled,
)
from ziggurat.exam.scaling.plan import Series
from ziggurat.exam.scaling.series import Measured
from ziggurat.exam.scaling.skills import SKILLS
from ziggurat.files import atomic_write_text, write_json

REPORT_FORMAT = 1
"""Version of a series' report.json."""
SIZE = "log10 of the parameters"
DRAWN = 40
"""Points of a law's curve."""


def write_report(series: Series, found: Sequence[Measured], laws: Laws | None) -> Path:
    """Write the three files, and return the page's path. `laws`: None for a series that compares shares."""
    folder = series_folder(series.name)
    if laws:
        save_law(saved_law(series, found, laws))
    write_json(folder / "report.json", document(series, found, laws), REPORT_FORMAT)
    rows = skilled(found)
    sections = [
        Section("", f'<p class="summary">{html.escape(summary(series, found, laws))}</p>'),
        *(_law_sections(series, found, laws) if laws else []),
        *(_skill_sections(series, rows, found) if rows else []),
        _curve_section(found),
        Section("Every run", html_table(runs_table(series, found))),
    ]
    page = render_page(f"scaling {series.name}", f"a series of {len(found)} runs on {series.text}", sections)
    atomic_write_text(folder / "report.html", page)
    return folder / "report.html"


def terminal_tables(series: Series, found: Sequence[Measured], laws: Laws | None) -> list[Table]:
    """What the command prints at its end."""
    tables = [runs_table(series, found)]
    if laws:
        tables += [constants_table(laws), advice_table(laws)]
    rows = skilled(found)
    if rows:
        tables.append(skill_table(series, rows))
    return tables


def summary(series: Series, found: Sequence[Measured], laws: Laws | None) -> str:
    """A few sentences that need no table."""
    sizes = sorted({one.cell.parameters for one in found})
    text = (
        f"{len(found)} models of {human_count(sizes[0])} to {human_count(sizes[-1])} parameters were trained on "
        f"{series.text} in {human_time(sum(one.seconds for one in found))}."
    )
    if laws is None:
        return text
    if laws.held_out:
        text += " " + held_out_sentence(laws.held_out)
    best = max(laws.lines.items(), default=None)
    if best:
        ratio, line = best
        text += (
            f" Ten times the parameters, at {ratio:g} tokens each, change the loss by {line.slope:.3f} nats a token "
            f"(R² of the line {line.r2:.3f})."
        )
    return text


def held_out_sentence(held: HeldOut) -> str:
    within, size = abs(held.error) <= TARGET, human_count(held.prediction.parameters)
    return (
        f"The loss of a model of {size} parameters, larger than all others, was predicted before it was trained: "
        f"{held.prediction.loss.value:.4f}. It came to {held.measured:.4f}; the prediction was "
        f"{100 * abs(held.error):.2f} % too {'high' if held.error > 0 else 'low'}, "
        f"{'within' if within else 'not within'} {100 * TARGET:g} %."
    )


# --- laws -------------------------------------------------------------------------------------------------------------


def _law_sections(series: Series, found: Sequence[Measured], laws: Laws) -> list[Section]:
    plots = _size_plot(found, laws) + _compute_plot(found, laws)
    held = laws.held_out
    verdicts = []
    if held:
        of = held.prediction
        verdicts.append(
            Verdict(
                "Loss of the held-out model",
                abs(held.error) <= TARGET,
                f"predicted {bounds(held.prediction.loss)}, measured {held.measured:.4f} ({100 * held.error:+.2f} %)",
                f"within {100 * TARGET:g} %",
                f"{of.run}: {of.parameters:,} parameters, {of.tokens:,} tokens; prediction.json was written "
                "before its first step.",
            )
        )
    verdicts.append(
        Verdict(
            "Fit of the law",
            None,
            f"R² {laws.r2:.4f} on {laws.law.runs} runs",
            note=f"The series was kept from larger models by {series.limit}.",
        )
    )
    lines = Table(
        "",
        ("tokens a parameter", "nats a token for ten times the parameters", "R²"),
        [(f"{ratio:g}", line.slope, line.r2) for ratio, line in laws.lines.items()],
    )
    return [
        Section("Verdicts", verdict_list(verdicts)),
        Section("Size, compute and loss", f'<div class="plots">{plots}</div>'),
        Section("The laws", html_table(constants_table(laws)) + html_table(lines)),
        Section(
            "What to train for a budget",
            html_table(advice_table(laws)) + f"<p><small>{ADVICE_NOTE}</small></p>",
        ),
    ]


ADVICE_NOTE = (
    "On this machine, at the speed that was measured for the largest shape of the series. Beyond the sizes of the fit "
    "this is extrapolation: the intervals show the scatter of the runs, not whether the law goes on. The text is read "
    "at most four times; what it lacks for that is in the last column."
)


def constants_table(laws: Laws) -> Table:
    fits = [("L(N, D) of all runs", laws.law), ("L(N, D) before the held-out model", laws.before)]
    if laws.compute:
        fits.append(("L(C) of the runs that no cheaper one beats", laws.compute))
    rows = [
        (name, constant, f"{value.value:.4g}", f"{value.low:.3g} to {value.high:.3g}")
        for name, law in fits
        for constant, value in law.constants().items()
        if law is not laws.before or laws.held_out
    ]
    return Table("Constants", ("law", "constant", "value", "95 % interval"), rows)


def advice_table(laws: Laws) -> Table:
    rows = [
        (
            one.budget,
            f"{one.flops:.2g}",
            f"{one.layers} × {one.width}",
            human_count(one.parameters),
            human_count(one.choice.tokens),
            bounds(one.choice.loss),
            f"{human_count(one.closed_form[0])}, {human_count(one.closed_form[1])}",
            human_count(one.short_of_text) if one.short_of_text else "—",
        )
        for one in laws.advice
    ]
    columns = ("budget", "FLOPs", "shape", "parameters", "tokens", "predicted loss", "N and D where C = 6ND",
               "tokens of text lacking")  # fmt: skip
    return Table("Size and tokens for a budget on this machine", columns, rows)


def _size_plot(found: Sequence[Measured], laws: Laws) -> str:
    """Loss against size, a line for each number of tokens a parameter, with the held-out model's two points."""
    lines = []
    for ratio in sorted({one.cell.ratio for one in found}):
        some = sorted(
            (one.cell.parameters, one.loss)
            for one in found
            if one.cell.ratio == ratio and not one.cell.held_out
        )
        lines.append(
            Drawn(f"{ratio:g} tokens a parameter", [math.log10(n) for n, _ in some], [y for _, y in some])
        )
    if held := laws.held_out:
        at = [math.log10(held.prediction.parameters)]
        lines.append(Drawn("held out: predicted", at, [held.prediction.loss.value]))
        lines.append(Drawn("held out: measured", at, [held.measured]))
    return line_plot(lines, title="Loss of held-out text by size", x_label=SIZE, y_label="nats a token")


def _compute_plot(found: Sequence[Measured], laws: Laws) -> str:
    points = sorted((math.log10(one.cell.flops), one.loss) for one in found)
    lines = [Drawn("runs", [x for x, _ in points], [y for _, y in points])]
    if laws.compute:
        lines.append(_curve(laws.compute, points[0][0], points[-1][0] + 0.5))
    return line_plot(
        lines, title="Loss by compute, and the law L(C)", x_label="log10 of the FLOPs", y_label="nats a token"
    )


def _curve(law: Law, low: float, high: float) -> Drawn:
    at = [low + (high - low) * i / (DRAWN - 1) for i in range(DRAWN)]
    return Drawn("L(C)", at, [law.loss(10**x) for x in at])


# --- skills -----------------------------------------------------------------------------------------------------------


def _skill_sections(series: Series, rows: Sequence[Skilled], found: Sequence[Measured]) -> list[Section]:
    about = SKILLS[series.skill].about
    shares = sorted({row.share for row in rows})

    def drawn(value: str) -> list[Drawn]:
        return [
            Drawn(
                f"{share:g} %",
                [math.log10(r.parameters) for r in rows if r.share == share],
                [r.exact.value if value == "exact" else getattr(r, value) for r in rows if r.share == share],
            )
            for share in shares
        ]

    plots = [
        line_plot(
            drawn("exact"), title="Sharp: share of answers that are right to the last character", x_label=SIZE
        ),
        line_plot(
            drawn("nats"), title="Smooth: -log p of a token of the right answer, in nats", x_label=SIZE
        ),
        line_plot(drawn("similarity"), title="Between: 1 - edit distance / length", x_label=SIZE),
    ]
    note = (
        f"The skill: {about}. The same questions, none of which is in the text, are scored by a sharp measure and by "
        "smooth ones. Where the first one leaps and the second one moves steadily, the leap is in the measure "
        "(arXiv:2304.15004)."
    )
    asked = next((one.asked for one in reversed(found) if one.asked), None)
    examples = Table(
        "",
        ("question", "right", "the last model writes"),
        [tuple(map(repr, e)) for e in asked.examples] if asked else [],
    )
    title = "One skill, two measures" if len(shares) == 1 else "A skill out of a share of the text"
    return [
        Section(
            title,
            f"<p>{html.escape(note)}</p>" + f'<div class="plots">{"".join(plots)}</div>'
            + html_table(skill_table(series, rows)) + html_table(examples),
        )
    ]  # fmt: skip


def skill_table(series: Series, rows: Sequence[Skilled]) -> Table:
    """Shares down, sizes across; in each cell the exact answers with their interval."""
    sizes = sorted({(row.parameters, row.shape) for row in rows})
    by = {(row.share, row.parameters): row for row in rows}

    def cell(share: float, size: int) -> str:
        row = by.get((share, size))
        return f"{row.exact.percent(0)}, {row.nats:.2f} nats" if row else "—"

    columns = ("share of the text", *(f"{human_count(n)} ({label})" for n, label in sizes))
    lines = [
        (f"{share:g} %", *(cell(share, n) for n, _ in sizes)) for share in sorted({r.share for r in rows})
    ]
    return Table(f"{series.skill}: right answers by share and size", columns, lines)


def _curve_section(found: Sequence[Measured]) -> Section:
    points = next((one.curve for one in reversed(found) if one.curve), ())
    if not points:
        return Section("", "")
    steps = [float(p.step) for p in points]
    plots = [
        line_plot(
            [Drawn(name, steps, [p.values[name] for p in points])],
            title=f"{name} in what the largest model writes",
        )
        for name in points[0].values
    ]
    samples = Table(
        "",
        ("step", *points[0].values, "what it writes from nothing"),
        [(p.step, *(f"{v:.2f}" for v in p.values.values()), p.sample) for p in points],
    )
    return Section(
        "Over the training of the largest model",
        f'<div class="plots">{"".join(plots)}</div>' + html_table(samples),
    )


# --- runs -------------------------------------------------------------------------------------------------------------


def runs_table(series: Series, found: Sequence[Measured]) -> Table:
    rows = [
        (
            one.cell.run + (" (held out)" if one.cell.held_out else ""),
            one.cell.label,
            human_count(one.cell.parameters),
            human_count(one.cell.tokens),
            f"{one.cell.ratio:g}",
            *((f"{one.cell.share:g} %",) if series.skill else ()),
            f"{one.cell.flops:.2g}",
            f"{one.loss:.4f}",
            f"{one.bits_per_byte:.4f}",
            human_time(one.seconds),
        )
        for one in found
    ]
    columns = ("run", "shape", "parameters", "tokens", "a parameter", *(("share",) if series.skill else ()),
               "FLOPs", "loss", "bits per byte", "time")  # fmt: skip
    return Table("Runs", columns, rows)


def bounds(value: Bounds) -> str:
    """`3.2734 [3.2701, 3.2790]`."""
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
