"""What a climb on verse has reached: the exam of every stage, the gates, and the page.

A gate says what must hold after stage 4. Nothing here may be loosened to make a run pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ziggurat.console import human_time
from ziggurat.evaluation.bits import score_texts
from ziggurat.evaluation.plots import bar_plot
from ziggurat.evaluation.report import Section, Table, Verdict, html_table, render_page, verdict_list
from ziggurat.evaluation.statistics import Interval
from ziggurat.files import atomic_write_text
from ziggurat.ladder.climb import cost_table, load_policy, stage_plots
from ziggurat.verse import exam
from ziggurat.verse.climb import Climb
from ziggurat.verse.demonstrations import Task
from ziggurat.verse.exam import Figures, Sheaf
from ziggurat.verse.poems import held_out_documents

TIME_LIMIT_S = 25 * 60
AIM = 0.70  # of poems that rhyme, whatever the real ones do
MODELS = {"base": "stage 1", "sft": "stage 2", "ppo": "stage 4"}
SHOWN = 6


@dataclass(frozen=True)
class Gate:
    name: str
    value: str
    target: str
    passed: bool
    margin: float
    """How far the figure lies inside the target; negative: outside."""


@dataclass
class Result:
    sheaves: dict[str, Sheaf]
    """By model, all tasks."""
    quatrains: dict[str, Figures]
    """By model, the quatrains on titles: what the gates judge."""
    others: dict[str, dict[str, Figures]]
    """By model: acrostics, eight-line poems."""
    real: Interval
    """Rhyme rate of all real quatrains by the same rule."""
    held_out: Figures
    """Real quatrains that were held out, by the same rules."""
    bits: dict[str, float]
    """Bits per character of held-out poems."""
    gates: list[Gate]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def sit_exam(climb: Climb) -> Result:
    """Base, SFT and PPO write the exam's poems; nothing is chosen by it."""
    tasks = exam.write_exam(climb.library)
    texts = [d.text for d in held_out_documents(climb.library, climb.recipe["held_out_documents"])]
    sheaves: dict[str, Sheaf] = {}
    bits: dict[str, float] = {}
    with climb.clock("exam"):
        runs = {"base": climb.runs["pretrain"], "sft": climb.runs["sft"], "ppo": climb.policy}
        for name, run in runs.items():
            policy = load_policy(run)
            tokenizer = policy.template.tokenizer
            bits[name] = score_texts(policy.model, tokenizer, texts).bits_per_character
            ask = exam.continue_headings if name == "base" else exam.write_poems
            sheaves[name] = ask(policy.model, policy.template, tasks, climb.temperature, climb.seed)
        parts = {
            "quatrains": _part(climb, sheaves, lambda t: t.form.quatrain and not t.head),
            "acrostics": _part(climb, sheaves, lambda t: bool(t.head)),
            "eight lines": _part(climb, sheaves, lambda t: not t.form.quatrain),
        }
        real = exam.real_rhyme_rate(climb.library)
        held_out = exam.figures(exam.real_sheaf(climb.library), climb.books)
    quatrains = parts["quatrains"]
    others = {name: {part: parts[part][name] for part in ("acrostics", "eight lines")} for name in MODELS}
    gates = judge(quatrains["ppo"], real, bits, sum(climb.seconds.values()))
    return Result(sheaves, quatrains, others, real, held_out, bits, gates)


def _part(climb: Climb, sheaves: dict[str, Sheaf], wanted: Callable[[Task], bool]) -> dict[str, Figures]:
    return {name: exam.figures(sheaf.where(wanted), climb.books) for name, sheaf in sheaves.items()}


def judge(ppo: Figures, real: Interval, bits: dict[str, float], total_s: float) -> list[Gate]:
    """Every gate, on the quatrains of the exam."""

    def at_least(name: str, x: Interval, bound: float) -> Gate:
        return Gate(name, x.percent(), f">= {bound:.1%}", x.value >= bound, x.value - bound)

    def at_most(name: str, value: float, told: str, bound: float, target: str) -> Gate:
        return Gate(name, told, target, value <= bound, bound - value)

    worst = ppo.commonest
    copied = ppo.verbatim
    gates = [
        at_least("well-formed", ppo.formed, 0.95),
        at_least("rhyme, as often as real quatrains", ppo.rhymed, real.value),
        at_least("rhyme, the aim", ppo.rhymed, AIM),
        at_most("lines copied", copied.value, copied.percent(), 0.05, "<= 5 %"),
        Gate("rhyme groups among 200 poems", str(ppo.groups), ">= 10", ppo.groups >= 10, ppo.groups - 10),
        at_most("commonest ending", worst.share, f"{worst.character} {worst.share:.1%}", 0.05, "<= 5 %"),
    ]
    for before in ("sft", "base"):
        worse = bits["ppo"] / bits[before] - 1
        gates.append(at_most(f"bits per character against {before}", worse, f"{worse:+.1%}", 0.05, "<= +5 %"))
    took = human_time(total_s)
    gates.append(
        at_most("time, all told", total_s / TIME_LIMIT_S, took, 1.0, f"<= {human_time(TIME_LIMIT_S)}")
    )
    return gates


def summarize(gates: Sequence[Gate]) -> str:
    failed = [f"{g.name} {g.value}, target {g.target}" for g in gates if not g.passed]
    return f"{len(gates) - len(failed)} of {len(gates)} gates pass" + (
        "; failed: " + "; ".join(failed) if failed else "."
    )


# ---- tables and pages ------------------------------------------------------------------------------------------


def score_table(result: Result) -> Table:
    """Every stage's quatrains, and the real ones by the same rule."""
    rows: list[list[str]] = []
    models = {title: result.quatrains[name] for name, title in MODELS.items()}
    told: dict[str, Callable[[Figures], str]] = {
        "well-formed": lambda f: f.formed.percent(),
        "rhyme": lambda f: f.rhymed.percent(),
        "same ending twice": lambda f: f.same_again.percent(),
        "lines copied": lambda f: f.verbatim.percent(),
        "rhyme groups (of 14)": lambda f: str(f.groups),
        "commonest ending": lambda f: f"{f.commonest.character} {f.commonest.share:.1%}",
        "distinct-2": lambda f: f"{f.distinct_2:.2f}",
    }
    for name, tell in told.items():
        real = result.real.percent() if name == "rhyme" else tell(result.held_out)
        rows.append([name, *(tell(figures) for figures in models.values()), real])
    rows.append(["bits per character, held out", *(f"{result.bits[name]:.3f}" for name in MODELS), ""])
    for part in ("eight lines", "acrostics"):
        rows.append([f"{part}: well-formed", *(result.others[n][part].formed.percent() for n in MODELS), ""])
        rows.append([f"{part}: rhyme", *(result.others[n][part].rhymed.percent() for n in MODELS), ""])
    heads = [result.others[name]["acrostics"].kept_heads.percent() for name in MODELS]
    rows.append(["acrostics: every line begins as given", *heads, ""])
    return Table("The exam: poems on titles never met", ["", *models, "real quatrains"], rows)


def gate_table(gates: Sequence[Gate]) -> Table:
    rows = [[g.name, g.value, g.target, "pass" if g.passed else "FAIL", f"{g.margin:+.3f}"] for g in gates]
    return Table("Gates, after stage 4", ["gate", "figure", "target", "", "margin"], rows)


def shown_poems(result: Result) -> Table:
    """The first tasks of the exam with every stage's poem; nobody chose them."""
    asked = result.sheaves["sft"].tasks
    chosen = [task for task in asked if not task.head][:SHOWN] + [task for task in asked if task.head][:2]
    rows = [[task.text, *(_poem(result.sheaves[name], task) for name in MODELS)] for task in chosen]
    return Table("Asked at every stage", ["task", *MODELS.values()], rows)


def _poem(sheaf: Sheaf, task: Task) -> str:
    return sheaf.texts[sheaf.tasks.index(task)] if task in sheaf.tasks else "–"


def report_path(climb: Climb) -> Path:
    return climb.folder / "exam" / "report.html"


def write_reports(climb: Climb, result: Result) -> dict[str, Any]:
    """exam/poems.jsonl, report.json and report.html."""
    folder = climb.folder / "exam"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"model": name, "task": task.text, "poem": text}, ensure_ascii=False)
        for name, sheaf in result.sheaves.items()
        for task, text in zip(sheaf.tasks, sheaf.texts, strict=True)
    ]
    atomic_write_text(folder / "poems.jsonl", "".join(line + "\n" for line in lines))
    report = {
        "seed": climb.seed,
        "work": asdict(climb.work),
        "seconds": climb.seconds,
        "runs": {name: path.name for name, path in climb.runs.items()},
        "bits_per_character": result.bits,
        "real_rhyme_rate": result.real.to_dict(),
        "real_held_out": asdict(result.held_out),
        "quatrains": {name: asdict(figures) for name, figures in result.quatrains.items()},
        "others": {n: {part: asdict(f) for part, f in row.items()} for n, row in result.others.items()},
        "reward_card": climb.card,
        "reward_truth": {kind: x.to_dict() for kind, x in climb.true_kinds.items()},
        "gates": [asdict(gate) for gate in result.gates],
        "passed": result.passed,
        "summary": summarize(result.gates),
    }
    text = json.dumps(_without_nan(report), ensure_ascii=False, indent=1)
    atomic_write_text(folder / "report.json", text)
    atomic_write_text(folder / "report.html", _page(climb, result))
    return report


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def _page(climb: Climb, result: Result) -> str:
    verdicts = [Verdict(g.name, g.passed, g.value, g.target) for g in result.gates]
    intro = (
        f"<p>Training seed {climb.seed}. Poems at temperature {climb.temperature} on titles of held-out poems. A poem "
        "rhymes if its even lines end in one group of modern finals and no two lines end with the same character; "
        f"real quatrains do so in {result.real.percent()} of cases. The rule never was the reward.</p>"
    )
    sections = [
        Section("", intro + _charts(result)),
        Section("", html_table(score_table(result))),
        Section("Gates", verdict_list(verdicts)),
        Section("Asked at every stage", html_table(shown_poems(result))),
        Section("Training", '<div class="plots">' + "".join(stage_plots(climb)) + "</div>"),
        Section("What it cost", html_table(cost_table(climb))),
    ]
    return render_page("The poet", "four stages on Chinese verse", sections)


def _charts(result: Result) -> str:
    rates = [result.quatrains[name].rhymed.value for name in MODELS] + [result.real.value]
    titles = [*MODELS.values(), "real"]
    groups = result.quatrains["ppo"].group_shares
    drawn = [bar_plot(titles, {"rhyme": rates}, title="share of quatrains that rhyme")]
    if groups:
        drawn.append(
            bar_plot(list(groups), {"share": list(groups.values())}, title="rhyme groups after stage 4")
        )
    return '<div class="plots">' + "".join(drawn) + "</div>"
