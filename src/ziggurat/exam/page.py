"""The report card as one HTML page: sentences first, then tables, curves, answers, and what was not measured."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.evaluation.plots import Series, line_plot
from ziggurat.evaluation.report import (
    Sample,
    Section,
    Table,
    Verdict,
    html_table,
    render_page,
    sample_list,
    verdict_list,
)
from ziggurat.exam import wording
from ziggurat.exam.card import Card, Entry
from ziggurat.exam.item import Found, Item
from ziggurat.exam.run import Result
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items as items_of

SAMPLES = 2
"""Right and wrong answers shown of each model and task."""
TEXT_SHOWN = 700
"""Characters of a question or an answer on the page."""


def page(card: Card, language: str = "en") -> str:
    """The whole page."""
    say = wording.word
    sections = [
        Section("", f'<p class="summary">{html.escape(wording.INTRO[language])}</p>'),
        *(
            Section(_title(model, language), verdict_list(_verdicts(card, model, language)))
            for model in card.models
        ),
        Section(say("all", language), html_table(figures_table(card, language))),
        Section(say("curves", language), _curves(card, language)),
        Section(say("strata", language), _strata(card, language)),
        Section(say("more", language), _more(card, language)),
        Section(say("samples", language), _samples(card, language)),
        Section(say("contamination", language), _contamination(card, language)),
        Section(say("missing", language), _missing(card, language)),
        Section(say("how", language), _how(card, language)),
    ]
    return render_page(say("title", language), " · ".join(card.models), sections, language)


def _title(model: str, language: str) -> str:
    return f"{model}：会什么" if language == "zh" else f"What {model} can do"


def _verdicts(card: Card, model: str, language: str) -> list[Verdict]:
    """A sentence for each task, by ability."""
    found = []
    for number, entry in enumerate(card.entries):
        figure = card.figure(model, number)
        if figure is None:
            continue
        title = entry.task.text(entry.task.file.title, language) + (
            f" ({entry.label})" if entry.label else ""
        )
        text = wording.sentence(title, figure, card.difference(model, number), card.baseline, language)
        about = entry.task.text(entry.task.file.about, language)
        name = wording.ability(figure["ability"], language)
        found.append(
            (
                list(wording.ABILITIES).index(figure["ability"]),
                Verdict(name, wording.standing(figure), text, note=about),
            )
        )
    return [verdict for _, verdict in sorted(found, key=lambda one: one[0])]


def figures_table(card: Card, language: str) -> Table:
    """Abilities and tasks by models, with guessing and majority beside them."""
    say = wording.word
    columns = [say("ability", language), say("task", language), say("items", language), *card.models]
    if card.baseline:
        columns += [f"{model} – {card.baseline}" for model in card.models if model != card.baseline]
    columns += [say("chance", language), say("majority", language), say("mde", language)]
    rows = []
    for number, entry in enumerate(card.entries):
        figures = [card.figure(model, number) for model in card.models]
        known = next((one for one in figures if one is not None), None)
        if known is None:
            continue
        cells: list[Any] = [wording.ability(known["ability"], language), entry.name, known["n"]]
        cells += ["–" if one is None else wording.value(one) for one in figures]
        if card.baseline:
            for model in card.models:
                if model != card.baseline:
                    change = card.difference(model, number)
                    cells.append("–" if change is None else _difference(change, known))
        for key in ("chance", "majority", "mde"):  # the largest holds for every model
            values = [one[key] for one in figures if one is not None and one[key] is not None]
            cells.append(_bar(max(values), known, key) if values else "–")
        rows.append(cells)
    return Table("", columns, sorted(rows, key=lambda row: _order(row[0], language)))


def _order(name: str, language: str) -> int:
    names = [words[language] for words in wording.ABILITIES.values()]
    return names.index(name) if name in names else len(names)


def _bar(value: float, figure: Mapping[str, Any], key: str) -> str:
    if figure["unit"] == "bits per byte" and key == "mde":
        return f"{value:.2f} bits"
    return wording.share(value)


def _difference(change: Any, figure: Mapping[str, Any]) -> str:
    factor, digits = (1, 3) if figure["unit"] == "bits per byte" else (100, 0)
    low, high = (f"{factor * one:+.{digits}f}" for one in (change.low, change.high))
    if math.isnan(change.low):  # of one cluster
        return f"{factor * change.value:+.{digits}f}"
    return f"{factor * change.value:+.{digits}f} [{low}, {high}]"


# --- curves -----------------------------------------------------------------------------------------------------


def _curves(card: Card, language: str) -> str:
    plots = [*_shot_plots(card, language), *_step_plots(card, language)]
    return f'<div class="plots">{"".join(plots)}</div>' if plots else ""


def _shot_plots(card: Card, language: str) -> list[str]:
    """Score over the number of examples, with and without steps, where a task was sat with several numbers."""
    plots = []
    for name in dict.fromkeys(entry.task.name for entry in card.entries):
        own = [(i, entry) for i, entry in enumerate(card.entries) if entry.task.name == name]
        if len({entry.switches.shots for _, entry in own}) < 2:
            continue
        series = []
        for model in card.models:
            for think in (False, True):
                points = sorted(
                    (_shots(result, entry), result.figure["score"])
                    for i, entry in own
                    if entry.switches.think is think and (result := card.results.get((model, i))) is not None
                )
                if points:
                    label = f"{model}, steps" if think else model
                    series.append(Series(label, [x for x, _ in points], [y for _, y in points]))
        title = own[0][1].task.text(own[0][1].task.file.title, language)
        plots.append(line_plot(series, title=title, x_label="examples" if language == "en" else "例子数"))
    return plots


def _shots(result: Result, entry: Entry) -> int:
    """Worked examples; where a loader's files say how many, the number that they say."""
    given = result.settings["switches"]["shots"]
    return entry.task.file.shots.count if given is None else int(given)


def _step_plots(card: Card, language: str) -> list[str]:
    """Score over the steps of training."""
    plots = []
    for number, entry in enumerate(card.entries):
        series = []
        for model, checkpoints in card.curves.items():
            points = [(step, card.figure(name, number)) for step, name in checkpoints]
            kept = [(step, figure["score"]) for step, figure in points if figure is not None]
            if kept:
                series.append(Series(model, [x for x, _ in kept], [y for _, y in kept]))
        if series:
            title = entry.task.text(entry.task.file.title, language)
            plots.append(line_plot(series, title=title, x_label="step" if language == "en" else "步"))
    return plots


# --- tables, answers, notes -------------------------------------------------------------------------------------


def _strata(card: Card, language: str) -> str:
    rows = []
    for number, entry in enumerate(card.entries):
        names = dict.fromkeys(
            name for model in card.models for name in (card.figure(model, number) or {}).get("strata", {})
        )
        for name in names:
            cells = []
            for model in card.models:
                figure = card.figure(model, number) or {}
                part = figure.get("strata", {}).get(name)
                cells.append("–" if part is None else wording.value({**part, "unit": figure.get("unit")}))
            rows.append([entry.name, name, *cells])
    columns = [wording.word("task", language), wording.word("part", language), *card.models]
    return html_table(Table("", columns, rows)) if rows else ""


def _more(card: Card, language: str) -> str:
    rows = []
    for number, entry in enumerate(card.entries):
        names = dict.fromkeys(
            name for model in card.models for name in (card.figure(model, number) or {}).get("metrics", {})
        )
        for name in names:
            cells = []
            for model in card.models:
                part = (card.figure(model, number) or {}).get("metrics", {}).get(name)
                known = part is not None and part["score"] is not None
                cells.append(wording.metric(name, part["score"], part["low"], part["high"]) if known else "–")
            rows.append([entry.name, name, *cells])
    if not rows:
        return ""
    columns = [wording.word("task", language), wording.word("figure", language), *card.models]
    title = html.escape(wording.word("more", language))
    return f"<details><summary>{title}: {len(rows)}</summary>{html_table(Table('', columns, rows))}</details>"


def _samples(card: Card, language: str) -> str:
    parts = []
    for number, entry in enumerate(card.entries):
        shown = []
        for model in card.models:
            result = card.results.get((model, number))
            if result is not None and any(one.answers for one in result.found):
                known = {one.id: one for one in items_of(entry.task, Switches(**result.settings["switches"]))}
                shown.append(
                    f"<h3>{html.escape(model)}</h3>{sample_list(_chosen(result.found, known, language))}"
                )
        if shown:
            title = html.escape(entry.task.text(entry.task.file.title, language))
            parts.append(f"<details><summary>{title}</summary>{''.join(shown)}</details>")
    return "".join(parts)


def _chosen(found: Sequence[Found], items: Mapping[str, Item], language: str) -> list[Sample]:
    """The first right and the first wrong answers."""
    right = [one for one in found if one.mark.scores.get("score", 0) >= 0.5][:SAMPLES]
    wrong = [one for one in found if one.mark.scores.get("score", 0) < 0.5][:SAMPLES]
    return [_sample(one, items[one.id], language) for one in (*right, *wrong) if one.id in items]


def _sample(one: Found, item: Item, language: str) -> Sample:
    if item.row.get("turns"):
        asked = "\n".join(f"– {turn['user']}" for turn in item.row["turns"])
    else:
        asked = "\n".join(m.content for m in item.messages) if item.messages else item.raw
    expected = item.target
    if item.choices and isinstance(expected, int):
        expected = item.choices[expected].strip()
    if isinstance(expected, list):
        expected = " / ".join(map(str, expected))
    good = one.mark.scores.get("score", 0) >= 0.5
    note = wording.word("right" if good else "wrong", language) + (
        f": {one.mark.why}" if one.mark.why else ""
    )
    return Sample(
        _short(asked), _short("\n".join(one.answers)), "" if expected is None else str(expected), note
    )


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"… {text[-TEXT_SHOWN:]}"


def _contamination(card: Card, language: str) -> str:
    zh, lines = language == "zh", []
    for model in card.models:
        corpora = card.corpora.get(model)
        if corpora is None or not (corpora.files or corpora.gone):
            lines.append(
                f"{model}：没有学习资料的记录，无法检查。"
                if zh
                else f"{model}: no lineage names its data, so this was not checked."
            )
            continue
        read, gone = len(corpora.files), corpora.gone
        lines.append(
            f"{model}：读了 {read} 个数据文件" + (f"；没有读：{'；'.join(gone)}" if gone else "") + "。"
            if zh
            else f"{model}: {read} data files of its lineage were read"
            + (f"; not read: {'; '.join(gone)}" if gone else "")
            + "."
        )
    rows = []
    for number, entry in enumerate(card.entries):
        for model in card.models:
            figure = card.figure(model, number) or {}
            if "contaminated" in figure:
                clean = wording.value({**figure["clean"], "unit": figure["unit"]})
                rows.append(
                    [entry.name, model, figure["judged"], wording.share(figure["contaminated"]), clean]
                )
    columns = (
        ["题目", "模型", "能检查的题", "资料里有的", "其余题的分数"]
        if zh
        else ["task", "model", "items that could be checked", "found in its data", "score on the others"]
    )
    table = html_table(Table("", columns, rows)) if rows else ""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines) + table


def _missing(card: Card, language: str) -> str:
    if not card.missing:
        return ""
    columns = [wording.word(key, language) for key in ("model", "task", "why")]
    return html_table(Table("", columns, [[model or "–", task, why] for model, task, why in card.missing]))


def _how(card: Card, language: str) -> str:
    rows = []
    for (model, number), result in sorted(card.results.items()):
        switches = result.settings["switches"]
        said = ", ".join(
            f"{key} {value}"
            for key, value in switches.items()
            if key != "model" and value is not None and value != ""
        )
        entry = card.entries[number]
        rows.append(
            [model, f"{entry.task.name}@{result.settings['version']}", result.settings["sha256"][:12], said]
        )
    table = html_table(
        Table("", [wording.word("model", language), wording.word("task", language), "SHA-256", ""], rows)
    )
    title = html.escape(wording.word("how", language))
    return f"<details><summary>{title}</summary>{table}</details>"
