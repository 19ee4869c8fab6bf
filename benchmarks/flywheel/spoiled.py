"""Part 4: candidates that must not pass. Each is refused, and by the criterion that names its fault.

    inverted    DPO on people's comparisons with every order turned round          win_rate
    collapsed   SFT on one sentence as the answer to every question                collapse
    leaking     SFT for many passes on a few demonstrations with canaries in them  canaries

They learn from files that are made from the dataset version of a round of honest votes; the gate judges all three by
that version's held-out comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lines import Line
from report import show

CONSTANT = {"en": "I am a small language model.", "zh": "我是一个小小的语言模型。"}
DEMONSTRATIONS = 60
LEAK_PASSES = 40


@dataclass(frozen=True)
class Spoiled:
    name: str
    criterion: str
    """Which must refuse it."""
    kind: str
    records: list[dict[str, Any]]
    options: Sequence[str]


def spoiled(comparisons: Sequence[dict[str, Any]]) -> list[Spoiled]:
    inverted = [{**one, "ranks": turned(one["ranks"])} for one in comparisons]
    asked = [one["prompt"] for one in comparisons][:DEMONSTRATIONS]
    constant = [answered(prompt, constant_for(prompt)) for prompt in asked]
    best = [answered(one["prompt"], one["completions"][one["ranks"].index(1)]) for one in comparisons]
    return [
        Spoiled(
            "inverted", "win_rate", "comparisons", inverted, ["--method", "dpo", "--set", "dpo.epochs=6"]
        ),
        Spoiled(
            "collapsed", "collapse", "demonstrations", constant, ["--method", "sft", "--set", "sft.epochs=20"]
        ),
        Spoiled(
            "leaking",
            "canaries",
            "demonstrations",
            best[:DEMONSTRATIONS],
            ["--method", "sft", "--set", f"sft.epochs={LEAK_PASSES}"],
        ),
    ]


def turned(ranks: Sequence[int]) -> list[int]:
    """The worst becomes the best: [1, 2, 2, 4] -> [4, 2, 2, 1]."""
    return [1 + sum(other > rank for other in ranks) for rank in ranks]


def answered(prompt: Sequence[dict[str, Any]], text: str) -> dict[str, Any]:
    return {"messages": [*prompt, {"role": "assistant", "content": text}]}


def constant_for(prompt: Sequence[dict[str, Any]]) -> str:
    return CONSTANT["zh" if any("\u4e00" <= c <= "\u9fff" for c in str(prompt[-1]["content"])) else "en"]


def gates(line: Line, comparisons: Sequence[dict[str, Any]], held_out: Path) -> dict[str, Any]:
    """A turn and a gate of each; `held_out`: honest comparisons that none of them learns from."""
    rows, found = [], {}
    for one in spoiled(comparisons):
        file = line.home / f"{one.name}.jsonl"
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in one.records)
        file.write_text(text, encoding="utf-8")
        more = ["--trainable", line.plan.trainable, "--seed", str(line.seed), *one.options]
        turn = line.loop.turn_of_files(one.kind, file, held_out, *more)
        gate = line.loop.gate(turn, *line.plan.gate)
        criteria = {row["name"]: row for row in gate["criteria"]}
        named = criteria[one.criterion]
        held = gate["verdict"] == "refused" and named["verdict"] == "refused"
        found[one.name] = {
            "verdict": gate["verdict"],
            "sentence": gate["sentence"],
            "refused_by": [name for name, row in criteria.items() if row["verdict"] == "refused"],
            "true_reason": named["sentence"],
            "held": held,
        }
        rows.append(
            [one.name, gate["verdict"], ", ".join(found[one.name]["refused_by"]), named["sentence"], held]
        )
    columns = ["candidate", "verdict", "refused by", "what the criterion says of its fault", "refused for it"]
    show("Candidates that must not pass", columns, rows)
    return found
