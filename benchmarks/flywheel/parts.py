"""Parts 1 and 2: a line of releases in the town, and one turn of the real model.

Part 1, targets of the proof: a turn (votes not counted) within TURN_S; the last release beats the first by LAST_WINS;
no release is significantly worse than its parent; right answers fall by at most RIGHT_LOSS; refusals of proper requests
stay at most REFUSED. Part 2: REAL_WINS against the parent by the rule; text loss worse by at most TEXT_LOSS.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from first_release import arm_home, inside, settle_real, settle_town, town_sft
from held_out import HouseHeldOut, Sheet, TownHeldOut, change, share, wins
from lines import Line, Plan, open_line
from report import compared, points_of, rate, sheets_table, show, verdict
from tastes import HouseTaste, Taste, TownTaste

TURN_S, LAST_WINS, RIGHT_LOSS, REFUSED = 900.0, 0.60, 0.02, 0.03
REAL_WINS, TEXT_LOSS = 0.60, 0.03
TOWN_PROMPTS, HOUSE_PROMPTS = 960, 410
"""Held out, unless --held-out says otherwise."""
HOUSE_MAX_TOKENS = 80
PASSES = ("dpo.epochs=4",)
"""200 votes are some 20 steps of a pass; without --set a turn takes so many passes over them. Not tuned."""


def turn_options(options: argparse.Namespace) -> list[str]:
    """What `ziggurat flywheel turn` is called with."""
    method = ["--method", options.method] if options.method else []
    return [*method, *(part for one in options.set or PASSES for part in ("--set", one))]


def town_plan(options: argparse.Namespace) -> Plan:
    return Plan(
        voters=options.voters,
        votes=options.votes,
        trainable=options.trainable or "all",
        budget=options.budget,
        reviews=options.reviews,
        turn=turn_options(options),
    )


@contextmanager
def town_line(
    options: argparse.Namespace, taste: Taste, name: str, seed: int, plan: Plan
) -> Iterator[tuple[Line, Path]]:
    """An opened line whose first release is the town's SFT model; and that model's folder."""
    made = town_sft(options.town, seed, *(int(steps) for steps in options.first.split(",")))
    home = arm_home(name)
    run = settle_town(home, made)
    with open_line(home, run, taste, seed, plan) as line:
        yield line, home / "runs" / run


def town(options: argparse.Namespace) -> dict[str, Any]:
    taste = TownTaste(options.town)
    prompts = options.held_out or TOWN_PROMPTS
    held = TownHeldOut(taste, prompts, watched=max(40, prompts * 5 // 12))
    found = {}
    for seed in range(options.seed, options.seed + options.seeds):
        plan = town_plan(options)
        with town_line(options, taste, f"town-{seed}", seed, plan) as (line, first):
            line.people(["honest"] * plan.voters)
            models = [("first", first)]
            for number in range(options.turns):
                step = line.next_release(number)
                models.append(
                    (
                        step.release or f"{step.turn['name']}, {step.gate['verdict']}",
                        line.loop.model_of(step.turn),
                    )
                )
        turns_table(seed, line)
        sheets = [held.sheet(name, model) for name, model in models]
        sheets_table(f"The town, seed {seed}: {len(held.mixed)} held-out prompts, greedy", sheets)
        targets = town_targets(line, sheets)
        found[str(seed)] = {
            "turns": [step.to_dict() for step in line.steps],
            **compared(sheets),
            "targets": targets,
        }
    return {"seeds": found, "first": options.first, "plan": vars(options)}


def turns_table(seed: int, line: Line) -> None:
    rows = []
    for number, step in enumerate(line.steps, start=1):
        took = {name: f"{s:.0f}" for name, s in step.seconds.items()}
        agreed = step.votes.agreement()
        kinds = ", ".join(f"{count} {kind}" for kind, count in step.votes.counts().items())
        times = [took.get(name, "–") for name in ("votes", "build", "turn", "gate", "promote")]
        rows.append(
            [
                number,
                kinds,
                "–" if agreed is None else f"{agreed:.0%}",
                *times,
                step.gate.get("verdict", "–"),
                step.gate.get("sentence", "–"),
            ]
        )
    columns = ["turn", "votes", "agree with the taste", "votes s", "build s", "turn s", "gate s", "promote s"]
    show(f"Turns, seed {seed}", [*columns, "gate", "why"], rows)


def town_targets(line: Line, sheets: Sequence[Sheet]) -> dict[str, bool | None]:
    released = [sheets[0], *(s for s, step in zip(sheets[1:], line.steps, strict=True) if step.release)]
    slowest = max(step.loop_seconds for step in line.steps)
    last, first = released[-1], released[0]
    over = wins(last, first)
    parents = [wins(b, a) for a, b in pairwise(released)]
    right, refused = change(last, first, "right"), share(last, "refused_proper")
    targets: dict[str, tuple[bool | None, str]] = {
        f"a turn within {TURN_S / 60:.0f} minutes": (slowest <= TURN_S, f"{slowest:.0f} s"),
        "every turn passed its gate": (
            len(released) == len(sheets),
            f"{len(released) - 1} of {len(line.steps)}",
        ),
        f"the last over the first >= {LAST_WINS:.0%}": (over.rate.value >= LAST_WINS, rate(over)),
        "none significantly worse than its parent": (
            all(one.rate.high >= 0.5 for one in parents) if parents else None,
            "; ".join(one.rate.percent() for one in parents),
        ),
        f"right answers fall <= {100 * RIGHT_LOSS:.0f} points": (
            right.value >= -RIGHT_LOSS,
            points_of(right),
        ),
        f"proper requests refused <= {REFUSED:.0%}": (refused.value <= REFUSED, refused.percent()),
    }
    show("Targets", ["target", "held", "figure"], [[k, verdict(v), text] for k, (v, text) in targets.items()])
    return {name: held for name, (held, _) in targets.items()}


def real(options: argparse.Namespace) -> dict[str, Any]:
    """One turn of smollm2, by people who want short answers without an opener."""
    taste = HouseTaste()
    held = HouseHeldOut(taste, options.held_out or HOUSE_PROMPTS)
    plan = Plan(
        voters=options.voters,
        votes=options.votes,
        max_tokens=HOUSE_MAX_TOKENS,
        trainable=options.trainable or "lora",
        budget=options.budget,
        rankings=0.0,
        reviews=options.reviews,
        turn=turn_options(options),
    )
    found = {}
    for seed in range(options.seed, options.seed + options.seeds):
        home = arm_home(f"real-{seed}")
        name = settle_real(home)
        with open_line(home, name, taste, seed, plan) as line:
            line.people(["honest"] * plan.voters)
            step = line.next_release(0)
        turns_table(seed, line)
        candidate = line.loop.model_of(step.turn)
        with inside(home):  # the candidate may be an adapter of a release there
            sheets = [held.sheet("smollm2", home / "models" / name), held.sheet("candidate", candidate)]
        sheets_table(f"The real model, seed {seed}: {len(held.asked)} held-out prompts, greedy", sheets)
        over = wins(sheets[1], sheets[0])
        before, after = (sheet.figures.get("text_loss") for sheet in sheets)
        worse = None if before is None or after is None else after / before - 1
        targets = {
            f"wins against its parent >= {REAL_WINS:.0%}": over.rate.value >= REAL_WINS,
            f"text loss worse by <= {TEXT_LOSS:.0%}": None if worse is None else worse <= TEXT_LOSS,
        }
        figures = [rate(over), "–" if worse is None else f"{worse:+.2%}"]
        rows = [[k, verdict(v), text] for (k, v), text in zip(targets.items(), figures, strict=True)]
        show("Targets", ["target", "held", "figure"], rows)
        found[str(seed)] = {
            "turns": [one.to_dict() for one in line.steps],
            **compared(sheets),
            "text_loss_change": worse,
            "targets": targets,
        }
    return {"seeds": found, "plan": vars(options)}
