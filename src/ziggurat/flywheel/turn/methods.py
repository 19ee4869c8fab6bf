"""Which stages a turn takes, by how much there is to learn from. The rule is printed, and `--method` overrides it.

    method   phases                        taken where
    rlhf     [sft] reward ppo              RLHF_COMPARISONS rankings or more
    dpo      [sft] dpo                     FEW comparisons or more
    kto      [sft] kto                     FEW thumbs or more
    sft      sft                           FEW demonstrations or more

[sft] comes first where there are SFT_FIRST demonstrations or more: approved and edited answers are imitated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ziggurat.errors import UsageError, did_you_mean

FEW = 20
SFT_FIRST = 50
RLHF_COMPARISONS = 1000
"""Below it a reward model of its own has too little to learn from: DPO learns from the comparisons directly."""
METHODS = ("rlhf", "dpo", "kto", "sft")
WEIGHTS = {"sft": 1.0, "reward": 1.0, "dpo": 1.0, "kto": 1.0, "ppo": 3.0}
"""Shares of a turn's time."""
RESERVED = 0.8
"""Of a phase's time that its steps may take; the rest is for loading, checkpoints and the report."""
ADAPTER_LR = {"sft": 2e-4, "reward": 1e-4, "dpo": 1e-4, "kto": 1e-4}
"""Peak rates of a LoRA adapter over a model from elsewhere; the stages' own defaults for those are of whole models."""


@dataclass(frozen=True)
class Phase:
    """One stage of a turn. Models are "base" or the number of an earlier phase; data are kinds of files."""

    stage: str
    models: dict[str, str]
    data: dict[str, list[str]]
    settings: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0
    """Of the turn's time."""
    out: str = ""
    """The folder of its run."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def choose(counts: Mapping[str, int], method: str | None = None) -> tuple[str, str]:
    """The method and the sentence that says why.

    Raises:
        UsageError: an unknown method, or too little to learn from.
    """
    rankings, thumbs, shown = (counts.get(kind, 0) for kind in ("comparisons", "ratings", "demonstrations"))
    have = f"{rankings:,} comparisons, {thumbs:,} thumbs and {shown:,} demonstrations"
    if method is not None:
        if method not in METHODS:
            hint = did_you_mean(method, METHODS) or f" Choose one of {', '.join(METHODS)}."
            raise UsageError(f"the method is {method!r}, which is none.{hint}")
        needs = {"rlhf": rankings, "dpo": rankings, "kto": thumbs + rankings, "sft": shown}[method]
        if not needs:
            raise UsageError(f"{method} has nothing to learn from: there are {have}.")
        return method, f"{method} was asked for; there are {have}."
    if rankings >= RLHF_COMPARISONS:
        return (
            "rlhf",
            f"There are {have}: with {RLHF_COMPARISONS:,} comparisons or more a reward model and PPO are taken.",
        )
    if rankings >= FEW:
        return (
            "dpo",
            f"There are {have}: below {RLHF_COMPARISONS:,} comparisons DPO learns from them directly.",
        )
    if thumbs >= FEW:
        return "kto", f"There are {have}: with fewer than {FEW} comparisons KTO learns from the thumbs."
    if shown >= FEW:
        return "sft", f"There are {have}: only the demonstrations are enough to learn from."
    raise UsageError(f"there are {have}; a turn needs {FEW} of one kind. Collect more, or name a method.")


def phases_of(
    method: str,
    counts: Mapping[str, int],
    *,
    trainable: str,
    foreign: bool,
    seed: int,
    settings: Mapping[str, Mapping[str, Any]],
) -> list[Phase]:
    """The phases in their order. `foreign`: the model comes from elsewhere. `settings`: by stage, the strongest."""
    stages: list[tuple[str, dict[str, str], dict[str, list[str]]]] = []
    first = "base"
    if method == "sft" or counts.get("demonstrations", 0) >= SFT_FIRST:
        stages.append(("sft", {"base": "base"}, {"demonstrations": ["demonstrations"]}))
        first = "1"
    if method == "dpo":
        stages.append(("dpo", {"base": first}, {"comparisons": ["comparisons"]}))
    elif method == "kto":
        both = [kind for kind in ("ratings", "comparisons") if counts.get(kind, 0)]
        stages.append(("kto", {"base": first}, {"ratings": both}))
    elif method == "rlhf":
        shown = ["demonstrations"] if counts.get("demonstrations", 0) else []
        stages.append(("reward", {"sft": first}, {"comparisons": ["comparisons"], "demonstrations": shown}))
        models = {"policy": first, "reward_model": str(len(stages))}
        stages.append(("ppo", models, {"prompts": ["prompts"]}))
    whole = sum(WEIGHTS[stage] for stage, _, _ in stages)
    return [
        Phase(
            stage,
            models,
            {name: kinds for name, kinds in data.items() if kinds},
            {**what_learns(stage, trainable, foreign, seed), **settings.get(stage, {})},
            WEIGHTS[stage] / whole,
        )
        for stage, models, data in stages
    ]


def what_learns(stage: str, trainable: str, foreign: bool, seed: int) -> dict[str, Any]:
    """The settings that every phase has: what learns, the seed, and the rates of an adapter over a foreign model."""
    sections = ("policy", "critic") if stage == "ppo" else ("train",)
    found: dict[str, Any] = {f"{section}.trainable": trainable for section in sections}
    if trainable == "lora" and foreign and stage in ADAPTER_LR:
        found["train.lr_adam"] = ADAPTER_LR[stage]
    return {**found, "train.seed": seed}
