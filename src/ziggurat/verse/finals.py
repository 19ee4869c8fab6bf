"""The exam of a climb on verse: the poems of every stage, the targets after stage 4, tables and page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ziggurat.console import human_time
from ziggurat.evaluation.bits import score_texts
from ziggurat.evaluation.plots import bar_plot
from ziggurat.evaluation.report import Section, Table, html_table
from ziggurat.evaluation.statistics import Interval
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.report import Exam
from ziggurat.ladder.targets import Target, at_least, at_most
from ziggurat.verse import exam
from ziggurat.verse.demonstrations import Task
from ziggurat.verse.exam import Figures, Sheaf
from ziggurat.verse.poems import Anthology, held_out_documents

TIME_LIMIT_S = 25 * 60
AIM = 0.70
"""Share of poems that rhyme, whatever the share of real ones is."""
MODELS = {"base": "stage 1", "sft": "stage 2", "ppo": "stage 4"}
SHOWN = 6


@dataclass
class Result:
    sheaves: dict[str, Sheaf]
    """By model, all tasks."""
    quatrains: dict[str, Figures]
    """By model, the quatrains on titles: what the targets judge."""
    others: dict[str, dict[str, Figures]]
    """By model: acrostics, eight-line poems."""
    real: Interval
    """Rhyme rate of all real quatrains by the same rule."""
    held_out: Figures
    """Real quatrains that were held out, by the same rules."""
    bits: dict[str, float]
    """Bits per character of held-out poems."""


def sit_exam(climb: Climb, anthology: Anthology, books: frozenset[str]) -> Exam:
    """Base, SFT and PPO write the exam's poems; nothing is chosen by it."""
    tasks = exam.write_exam(anthology)
    texts = [d.text for d in held_out_documents(anthology, climb.recipe["held_out_documents"])]
    sheaves: dict[str, Sheaf] = {}
    bits: dict[str, float] = {}
    with climb.clock("exam"):
        for name, chat in climb.examined():
            bits[name] = score_texts(chat.model, chat.tokenizer, texts).bits_per_character
            ask = exam.continue_headings if name == "base" else exam.write_poems
            sheaves[name] = ask(chat, tasks, climb.recipe["temperature"], climb.seed)

        def part(wanted: Callable[[Task], bool]) -> dict[str, Figures]:
            return {name: exam.figures(sheaf.where(wanted), books) for name, sheaf in sheaves.items()}

        quatrains = part(lambda t: t.form.quatrain and not t.head)
        acrostics, eight = part(lambda t: bool(t.head)), part(lambda t: not t.form.quatrain)
        others = {name: {"acrostics": acrostics[name], "eight lines": eight[name]} for name in MODELS}
        real = exam.real_rhyme_rate(anthology)
        held_out = exam.figures(exam.real_sheaf(anthology), books)
    result = Result(sheaves, quatrains, others, real, held_out, bits)
    return describe(climb, result, verse_targets(quatrains["ppo"], real, bits, sum(climb.seconds.values())))


def verse_targets(ppo: Figures, real: Interval, bits: dict[str, float], total_s: float) -> list[Target]:
    """Every target, on the quatrains of the exam. Nothing here may be loosened to make a run pass."""
    worst = ppo.commonest
    took, limit = human_time(total_s), human_time(TIME_LIMIT_S)
    rhyme = f">= {real.value:.1%}"
    return [
        at_least("ppo", "well-formed", ppo.formed, 0.95),
        at_least("ppo", "rhyme, as often as real quatrains", ppo.rhymed, real.value, target=rhyme),
        at_least("ppo", "rhyme, the aim", ppo.rhymed, AIM),
        at_most("ppo", "lines copied", ppo.verbatim, 0.05),
        at_least(
            "ppo",
            "rhyme groups among 200 poems",
            float(ppo.groups),
            10,
            target=">= 10",
            shown=str(ppo.groups),
        ),
        at_most(
            "ppo", "most frequent ending", worst.share, 0.05, shown=f"{worst.character} {worst.share:.1%}"
        ),
        *(
            at_most(
                "ppo",
                f"bits per character against {before}",
                bits["ppo"] / bits[before] - 1,
                0.05,
                target="<= +5%",
            )
            for before in ("sft", "base")
        ),
        at_most("all", "time in all", total_s / TIME_LIMIT_S, 1.0, target=f"<= {limit}", shown=took),
    ]


def describe(climb: Climb, result: Result, targets: list[Target]) -> Exam:
    """The result as tables, targets, figures and pages."""
    return Exam(
        tables=[score_table(result)],
        targets=targets,
        figures={
            "bits_per_character": result.bits,
            "real_rhyme_rate": result.real.to_dict(),
            "real_held_out": asdict(result.held_out),
            "quatrains": {name: asdict(figures) for name, figures in result.quatrains.items()},
            "others": {n: {part: asdict(f) for part, f in row.items()} for n, row in result.others.items()},
        },
        answers=answer_rows(result),
        intro=(
            f"<p>Training seed {climb.seed}. Poems at temperature {climb.recipe['temperature']} on titles of held-out "
            "poems. A poem rhymes if its even lines end in one group of modern finals and no two lines end with the "
            f"same character; {result.real.percent()} of real quatrains do so. The rule is never the reward.</p>"
        ),
        plots=charts(result),
        sections=[Section("Asked at every stage", html_table(shown_poems(result)))],
    )


def answer_rows(result: Result) -> list[dict[str, Any]]:
    """The rows of answers.jsonl."""
    return [
        {"model": name, "question": task.text, "answer": text}
        for name, sheaf in result.sheaves.items()
        for task, text in zip(sheaf.tasks, sheaf.texts, strict=True)
    ]


def score_table(result: Result) -> Table:
    """Every stage's quatrains, and the real ones by the same rule."""
    rows: list[list[str]] = []
    models = {title: result.quatrains[name] for name, title in MODELS.items()}
    shown: dict[str, Callable[[Figures], str]] = {
        "well-formed": lambda f: f.formed.percent(),
        "rhyme": lambda f: f.rhymed.percent(),
        "same ending twice": lambda f: f.same_again.percent(),
        "lines copied": lambda f: f.verbatim.percent(),
        "rhyme groups (of 14)": lambda f: str(f.groups),
        "most frequent ending": lambda f: f"{f.commonest.character} {f.commonest.share:.1%}",
        "distinct-2": lambda f: f"{f.distinct_2:.2f}",
    }
    for name, cell in shown.items():
        real = result.real.percent() if name == "rhyme" else cell(result.held_out)
        rows.append([name, *(cell(figures) for figures in models.values()), real])
    rows.append(["bits per character, held out", *(f"{result.bits[name]:.3f}" for name in MODELS), ""])
    for part in ("eight lines", "acrostics"):
        rows.append([f"{part}: well-formed", *(result.others[n][part].formed.percent() for n in MODELS), ""])
        rows.append([f"{part}: rhyme", *(result.others[n][part].rhymed.percent() for n in MODELS), ""])
    heads = [result.others[name]["acrostics"].kept_heads.percent() for name in MODELS]
    rows.append(["acrostics: every line begins as given", *heads, ""])
    return Table("The exam: poems on titles never met", ["", *models, "real quatrains"], rows)


def shown_poems(result: Result) -> Table:
    """The first tasks of the exam with every stage's poem, unselected."""
    asked = result.sheaves["sft"].tasks
    chosen = [task for task in asked if not task.head][:SHOWN] + [task for task in asked if task.head][:2]
    rows = [[task.text, *(_poem(result.sheaves[name], task) for name in MODELS)] for task in chosen]
    return Table("Asked at every stage", ["task", *MODELS.values()], rows)


def _poem(sheaf: Sheaf, task: Task) -> str:
    return sheaf.texts[sheaf.tasks.index(task)] if task in sheaf.tasks else "–"


def charts(result: Result) -> list[str]:
    rates = [result.quatrains[name].rhymed.value for name in MODELS] + [result.real.value]
    titles = [*MODELS.values(), "real"]
    groups = result.quatrains["ppo"].group_shares
    drawn = [bar_plot(titles, {"rhyme": rates}, title="share of quatrains that rhyme")]
    if groups:
        drawn.append(
            bar_plot(list(groups), {"share": list(groups.values())}, title="rhyme groups after stage 4")
        )
    return drawn
