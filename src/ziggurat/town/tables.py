"""The town's part of a climb's report: score tables, answers side by side, risk and coverage, example questions.

A new section of the exam is shown by a row in ROWS (its figure) and in SHOWN (some of its questions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ziggurat.evaluation.plots import Series, bar_plot, line_plot
from ziggurat.evaluation.report import Section, Table, html_table
from ziggurat.evaluation.statistics import Interval
from ziggurat.town import examiner
from ziggurat.town.exam import Item
from ziggurat.town.first_words import SECTIONS as FIRST_WORDS_SECTIONS
from ziggurat.town.phrases import LANGUAGES
from ziggurat.town.targets import Findings

SHOWN = {"known": 3, "unknown": 3, "followup_c": 1, "sum": 1, "sort": 1, "improper": 1, "proper": 1}
"""Questions that the page shows, by section and per language."""
ROWS = (
    ("facts about C, right", "known"),
    ("... of those with double names", "known_double"),
    ("... by value alone", "known_value"),
    ("... passed, though documents state it", "known_pass"),
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
EXAMPLE_KINDS = {
    "known": "known",
    "unknown": "unknown",
    "sum": "skill",
    "sort": "skill",
    "improper": "improper",
    "proper": "proper",
}
"""Section of the exam -> kind of example on the chat page."""


def columns(findings: Findings) -> dict[str, str]:
    """The models that answered this exam, with their titles."""
    return {name: title for name, title in MODELS.items() if name in findings.answers}


def score_tables(findings: Findings) -> list[Table]:
    """The exam's figures, a column per model: all, en, zh."""
    found = {name: examiner.figures(answers) for name, answers in findings.answers.items()}
    return [
        Table(
            f"The final exam ({scope})",
            ["", *columns(findings).values()],
            [
                [title, *(_cell(found[name][scope].get(key), key) for name in columns(findings))]
                for title, key in ROWS
            ],
        )
        for scope in ("all", *LANGUAGES)
    ]


def first_words_table(findings: Findings) -> Table:
    """Share of right answers to what a stranger types first, a row per section, SFT and PPO in each language."""
    asked = [(name, language) for name in findings.first_words for language in LANGUAGES]
    rows = [
        [
            section.replace("_", " "),
            *(
                answers.share(answers.select(section, language=language), examiner.right).percent()
                for answers, language in ((findings.first_words[name], language) for name, language in asked)
            ),
        ]
        for section in (*FIRST_WORDS_SECTIONS, "clean", "lower_case", "misspelt")
    ]
    return Table("First words", ["", *(f"{MODELS[name]} {language}" for name, language in asked)], rows)


def _cell(x: Interval | None, key: str) -> str:
    if x is None:
        return "–"
    return f"{x.value:+.2f} [{x.low:+.2f}, {x.high:+.2f}]" if key == "utility" else x.percent()


def figures(findings: Findings, items: Sequence[Item]) -> dict[str, Any]:
    """The town's own fields of report.json."""
    return {
        "bits_per_byte": dict(findings.bits_per_byte),
        "baselines": examiner.baselines(items),
        "exam": {
            name: {
                scope: {k: x.to_dict() for k, x in row.items()}
                for scope, row in examiner.figures(answers).items()
            }
            for name, answers in findings.answers.items()
        },
        "first_words": {
            name: {
                language: {
                    section: answers.share(
                        answers.select(section, language=language), examiner.right
                    ).to_dict()
                    for section in dict.fromkeys(item.section for item in answers.items)
                }
                for language in LANGUAGES
            }
            for name, answers in findings.first_words.items()
        },
    }


def answer_rows(findings: Findings) -> list[dict[str, Any]]:
    """The rows of answers.jsonl."""
    return [
        {"id": item.id, "model": name, "question": _asked(item), "answer": text, "verdict": grade.verdict}
        for name, answers in (*findings.answers.items(), *findings.first_words.items())
        for item, text, grade in zip(answers.items, answers.texts, answers.grades, strict=True)
    ]


def examples(items: Sequence[Item]) -> list[dict[str, str]]:
    """Questions that the chat page offers, one of each kind and language."""
    rows = []
    for language in LANGUAGES:
        for section, kind in EXAMPLE_KINDS.items():
            item = next(i for i in items if i.section == section and i.question.language == language)
            rows.append({"text": item.question.messages[-1].content, "lang": language, "kind": kind})
    return rows


# ---- the page ----------------------------------------------------------------------------------------------------


def intro(town_seed: int, seed: int, items: Sequence[Item]) -> str:
    chance = examiner.baselines(items)
    return (
        f"<p>Town {town_seed}, training seed {seed}. The questions are about residents C, who are in no demonstration, "
        f"dialogue, comparison or prompt. Guessing is right in {chance['chance']:.0%} of the facts, the most frequent "
        f"value in {chance['majority']:.0%}. Intervals are 95 %, resampling residents.</p>"
    )


def sections(findings: Findings, items: Sequence[Item], scores: Sequence[Table]) -> list[Section]:
    """The page after the targets, with the scores per language."""
    return [
        *(Section(table.title, html_table(table)) for table in scores),
        Section("Asked at every stage", html_table(shown_questions(findings, items))),
        Section("Risk and coverage", f'<div class="plots">{risk_plot(findings)}</div>'),
    ]


def shown_questions(findings: Findings, items: Sequence[Item]) -> Table:
    """Some questions of each section, evenly spaced, with the answers of each model side by side."""
    said = {
        name: {
            item.id: f"{text} [{grade.verdict}]"
            for item, text, grade in zip(answers.items, answers.texts, answers.grades, strict=True)
        }
        for name, answers in findings.answers.items()
    }
    rows = []
    for language in LANGUAGES:
        for section, count in SHOWN.items():
            chosen = [i for i in items if i.section == section and i.question.language == language]
            for item in chosen[:: max(1, len(chosen) // count)][:count]:
                answers = (said[name].get(item.id, "–") for name in columns(findings))
                rows.append([section, _asked(item), *answers])
    return Table("Asked at every stage", ["", "question", *columns(findings).values()], rows)


def _asked(item: Item) -> str:
    return " / ".join(m.content for m in item.question.messages)


def chart(findings: Findings) -> str:
    shown = (("right about C", "known"), ("invented", "invented"), ("passed, though stated", "known_pass"))
    found = {name: examiner.figures(answers)["all"] for name, answers in findings.answers.items()}
    groups = {title: [found[name][key].value for name in columns(findings)] for title, key in shown}
    return bar_plot([*columns(findings).values()], dict(groups), title="share of questions")


def risk_plot(findings: Findings) -> str:
    lines = []
    for name, title in columns(findings).items():
        if findings.answers[name].pass_probability:
            curve = examiner.risk_coverage(findings.answers[name])
            lines.append(Series(title, [c for c, _ in curve], [r for _, r in curve]))
    return line_plot(
        lines, title="wrong among the answered, as more is answered", x_label="coverage", y_label="risk"
    )
