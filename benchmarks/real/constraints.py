"""GRPO with verifiable rules on a real model: does it learn to keep to constraints that a program checks?

    ziggurat models get smollm2 && ziggurat models get minilm
    python benchmarks/real/constraints.py --seed 0            some 25 minutes on two cores
    python benchmarks/real/constraints.py --judge RUN         measures a run, or another model

Trains on 600 prompts (`constraint_data.py`) with `rules.py:score` as the reward, by the door that anybody has:
`ziggurat.grpo(prompts, policy=..., settings={"reward_function": "rules.py:score", ...})`. Judged greedily before and
after on 150 held-out prompts of the kinds trained on (other questions, wordings, words and phrases) and on 60 prompts
of kinds that were not. Targets were fixed before the first training:

    strict pass rate, seen kinds    lower bound of the paired gain (bootstrap over subjects) above LEAST_GAIN
    text                            loss on held-out text at most MOST_FORGOTTEN worse
    about the question              mean aboutness (`measures.py`) at least LEAST_ABOUT, at most ABOUT_LOSS below before

A policy that writes the same legal nonsense everywhere has an aboutness of 0.5. Prints tables, then one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measures
from constraint_data import splits
from rules import all_met, is_met

import ziggurat
from ziggurat.console import out, table
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap, paired_bootstrap
from ziggurat.models.embed import Embedder
from ziggurat.places import find_run, next_run_path
from ziggurat.runs import Run
from ziggurat.settings import flatten, parse_sets

LEAST_GAIN, MOST_FORGOTTEN = 0.08, 0.03
LEAST_ABOUT, ABOUT_LOSS = 0.8, 0.05
JUDGED_TOKENS = 160
"""Of a greedy answer in the judgement; one that is cut off there is judged as it is."""
SETTINGS: dict[str, Any] = {
    "reward_function": f"{Path(__file__).with_name('rules.py')}:score",
    "trainable": "lora",
    "lora.last_blocks": 12,  # of 30: the frozen 18 are computed once a step, for policy and reference together
    "max_new_tokens": 80,
    "train.steps": 48,
}


@dataclass(frozen=True)
class Judged:
    """A model's answers to the held-out prompts of one side, with what each is worth."""

    rows: list[dict[str, Any]]
    texts: list[str]
    tokens: list[int]
    passed: list[bool]
    about: measures.Aboutness

    @property
    def subjects(self) -> list[str]:
        return [row["subject"] for row in self.rows]

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Of each kind: (constraints met, constraints)."""
        met: dict[str, list[bool]] = defaultdict(list)
        for row, text in zip(self.rows, self.texts, strict=True):
            for one in row["constraints"]:
                met[one["kind"]].append(is_met(one, text))
        return {kind: (sum(found), len(found)) for kind, found in met.items()}


def judge(
    model: str | Path, sides: dict[str, list[dict[str, Any]]], text: Path
) -> tuple[dict[str, Judged], float]:
    """(what it answers to each side's prompts, its loss on held-out text)."""
    chat, embedder = measures.load(model), Embedder.load("minilm")
    found = {}
    for side, rows in sides.items():
        answers = measures.answer(chat, [row["prompt"] for row in rows], max_tokens=JUDGED_TOKENS)
        texts = [one.text for one in answers]
        about = measures.aboutness(
            embedder, [row["question"] for row in rows], [row["subject"] for row in rows], texts
        )
        passed = [all_met(row["constraints"], said) for row, said in zip(rows, texts, strict=True)]
        found[side] = Judged(rows, texts, [len(one.ids) for one in answers], passed, about)
    return found, measures.text_loss(chat, text)


def main() -> None:
    parser = measures.arguments(str(__doc__))
    parser.add_argument("--judge", metavar="MODEL", help="measure this run or model instead of training one")
    parser.add_argument("--samples", type=int, default=0, help="print so many answers before and after")
    options = parser.parse_args()
    rows = splits(options.seed)
    sides = {side: rows[side] for side in ("seen", "unseen")}
    begun = time.perf_counter()
    run = options.judge or train(options, rows["train"])
    trained_s = time.perf_counter() - begun
    before, loss_before = judge(options.model, sides, options.text)
    after, loss_after = (before, loss_before) if run == options.model else judge(run, sides, options.text)
    figures = compare(before, after) | {
        "text_loss_before": loss_before,
        "text_loss_after": loss_after,
        "text_loss_change": loss_after / loss_before - 1,
    }
    show(before, figures)
    for i in range(options.samples):
        for name, side in (("before", before), ("after", after)):
            out.print(f"{name}: {side['seen'].rows[i]['prompt']}\n   {side['seen'].texts[i]!r}", markup=False)
    found = {"seed": options.seed, "seconds_training": trained_s, **measures.machine(), "figures": figures}
    print(json.dumps(found | ({} if options.judge == options.model else {"run": run_figures(run)})))


def train(options: Any, rows: Sequence[dict[str, Any]]) -> Path:
    """The run, in the ladder `constraints`."""
    path = next_run_path("constraints", "grpo")
    data = measures.write_jsonl(path.with_name(f"{path.name}-prompts.jsonl"), rows)
    settings = {**SETTINGS, "train.seed": options.seed, **flatten(parse_sets(options.set))}
    return ziggurat.grpo(data, policy=options.model, settings=settings, out=path)


def compare(before: dict[str, Judged], after: dict[str, Judged]) -> dict[str, Any]:
    """The figures of both sides, and whether the targets are met."""
    found: dict[str, Any] = {}
    for side in before:
        old, new = before[side], after[side]
        about_and_passed = [
            [p and a >= LEAST_ABOUT for p, a in zip(one.passed, one.about.each, strict=True)]
            for one in (old, new)
        ]
        found[side] = {
            "before": cluster_bootstrap(old.passed, old.subjects).to_dict(),
            "after": cluster_bootstrap(new.passed, new.subjects).to_dict(),
            "gain": paired_bootstrap(new.passed, old.passed, old.subjects).to_dict(),
            "gain_about": paired_bootstrap(about_and_passed[1], about_and_passed[0], old.subjects).to_dict(),
            "about_before": old.about.mean,
            "about_after": new.about.mean,
            "tokens_before": sum(old.tokens) / len(old.tokens),
            "tokens_after": sum(new.tokens) / len(new.tokens),
            "kinds": {
                kind: {"before": old.by_kind()[kind], "after": new.by_kind()[kind]} for kind in old.by_kind()
            },
        }
    return found


def show(before: dict[str, Judged], figures: dict[str, Any]) -> None:
    rows, kinds = [], []
    for side in before:
        f = figures[side]
        shown = [Interval(**f[name]).percent() for name in ("before", "after", "gain", "gain_about")]
        about = f"{f['about_before']:.3f} -> {f['about_after']:.3f}"
        tokens = f"{f['tokens_before']:.0f} -> {f['tokens_after']:.0f}"
        rows.append((side, len(before[side].rows), *shown, about, tokens))
        for kind, both in f["kinds"].items():
            kinds.append((side, kind, *(f"{met}/{n}" for met, n in (both["before"], both["after"]))))
    titles = (
        "kinds",
        "prompts",
        "before",
        "after",
        "gain",
        "gain, about the question",
        "aboutness",
        "tokens",
    )
    out.print(table("strict pass rate", titles, rows))
    out.print(table("constraints met", ("kinds", "kind", "before", "after"), kinds))
    change, seen = figures["text_loss_change"], figures["seen"]
    about_held = seen["about_after"] >= max(LEAST_ABOUT, seen["about_before"] - ABOUT_LOSS)
    verdicts = [
        (
            "gain on seen kinds, lower bound",
            f"{seen['gain']['low']:.3f}",
            LEAST_GAIN,
            seen["gain"]["low"] > LEAST_GAIN,
        ),
        ("loss on held-out text, change", f"{change:+.2%}", MOST_FORGOTTEN, change <= MOST_FORGOTTEN),
        ("aboutness", f"{seen['about_after']:.3f}", LEAST_ABOUT, about_held),
    ]
    out.print(
        table(
            "targets", ("what", "value", "bar", "held"), [(*v[:3], "yes" if v[3] else "no") for v in verdicts]
        )
    )


def run_figures(path: str | Path) -> dict[str, Any]:
    """What the run itself recorded: settings that matter, drift, seconds a step."""
    run = Run.open(find_run(str(path)))
    rows = run.read_metrics()
    steps = [row for row in rows if "update_s" in row]
    seconds = [row["rollout_s"] + row["assess_s"] + row["update_s"] for row in steps]
    return {
        "path": run.path.name,
        "steps": len(steps),
        "rollouts": len(steps) * run.config["prompts_per_step"] * run.config["group"],
        "seconds_a_step": sum(seconds) / max(1, len(seconds)),
        "reward": [round(row["reward"], 3) for row in rows[:: max(1, len(rows) // 12)]],
        "kl": [round(row["kl"], 2) for row in rows[:: max(1, len(rows) // 12)]],
        "doctor": sorted({name for row in rows for name in row["doctor"]}),
        "numbers": (run.report or {}).get("numbers", {}),
    }


if __name__ == "__main__":
    main()
