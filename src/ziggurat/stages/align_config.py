"""Settings of `align` (`AlignConfig`), and all that is settled before its first round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ziggurat.places import find_run, model_folder
from ziggurat.records import Comparison, Demonstration, Document, Prompt
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import setup, stage
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.comparison_batches import render_comparisons
from ziggurat.stages.dpo import DPOConfig, dpo_config
from ziggurat.stages.grpo import GRPOConfig, grpo_config
from ziggurat.stages.kto import KTOConfig, kto_config
from ziggurat.stages.ppo_config import PPOConfig, ppo_config
from ziggurat.stages.ppo_cost import ppo_cost, shared_microbatch
from ziggurat.stages.raft import RAFTConfig, raft_config
from ziggurat.stages.reward_config import RewardConfig, reward_config
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import open_parent


def _of_all(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {stage: {name: value} for stage in ("reward", "ppo", "dpo", "kto", "grpo", "raft")}


class AlignConfig(setup.RecordsConfig):
    """Settings of the rounds; those of the stages are in every round the same but for the seed."""

    short = {name: _of_all(name) for name in ("trainable", "lora", "prefix", "recompute")}

    method: Literal["ppo", "dpo", "kto", "grpo", "raft"] = "ppo"
    """How a round learns from its rankings."""

    rounds: int = Field(default=2, ge=1)

    k: int = Field(default=4, ge=2, le=9)
    """Completions a prompt: the greedy one and k - 1 sampled; equal ones are ranked once."""

    prompts_per_round: int = Field(default=0, ge=0)
    """Prompts sampled in each round, different ones as long as there are; 0: all."""

    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion that is sampled for ranking. -1: computed from measured answers (stages/answer_length.py)."""

    start: Literal["previous", "sft"] = "previous"
    """A later round goes on from the round before, or starts anew from the stage-2 model. dpo and kto then learn from
    this round's rankings, or from all so far."""

    compare_prompts: int = Field(default=200, ge=0)
    """Prompts on which a round's policy is compared with the one before; 0: no comparison."""

    judge: str = ""
    """A model (run or folder) that ranks by `principles` in place of people."""

    principles: tuple[str, ...] = ()
    """Written rules that the judge ranks by, such as "The answer is polite."."""

    seed: int = Field(default=0, ge=0)
    """Of sampling and of round 1; round r trains with this + r - 1."""

    reward: RewardConfig = RewardConfig()
    ppo: PPOConfig = PPOConfig()
    dpo: DPOConfig = DPOConfig()
    kto: KTOConfig = KTOConfig()
    grpo: GRPOConfig = GRPOConfig()
    raft: RAFTConfig = RAFTConfig()

    @model_validator(mode="after")
    def _judge_has_principles(self) -> AlignConfig:
        if bool(self.judge) != bool(self.principles):
            given, lacking = ("judge", "principles") if self.judge else ("principles", "judge")
            raise ValueError(
                f"{given} is set, but {lacking} is not; a judge ranks by written principles, set both"
            )
        return self


def align_config(sft: str | Path, *layers: tuple[str, Any]) -> Resolved[AlignConfig]:
    """The configuration from its layers; the stages inherit from the stage-2 run what they would inherit alone."""
    inherited = {
        "reward": reward_config(sft).config,
        "ppo": ppo_config(sft).config,
        "dpo": dpo_config(sft).config,
        "kto": kto_config(sft).config,
        "grpo": grpo_config(sft, *(_section(values, "grpo") for _, values in layers)).config,
        "raft": raft_config(sft).config,
    }
    records = setup.inherited_records(find_run(str(sft)))
    return resolve(AlignConfig, ("inherited", {**inherited, **records}), *layers)


def _section(values: Any, name: str) -> tuple[str, Any]:
    """A stage's part of a layer, for defaults that depend on what a person sets (grpo's variant)."""
    part = values.get(name, {}) if isinstance(values, dict) else getattr(values, name, {})
    variant = part.get("variant") if isinstance(part, dict) else getattr(part, "variant", None)
    return "align", {"variant": variant} if variant else {}


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[AlignConfig]):
    """The rounds before their first step. The cost is that of PPO, where the method is PPO."""

    prompts: list[Prompt]
    """Those that can be used."""


def prepare(
    resolved: Resolved[AlignConfig],
    sft: str | Path,
    prompts: Sequence[Prompt],
    *,
    comparisons: Sequence[Comparison] = (),
    held_out: Sequence[Comparison] | None = None,
    demonstrations: Sequence[Demonstration] = (),
    ptx_documents: Sequence[Document] = (),
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check the model and every record that a round will use; nothing is written."""
    config, skip = resolved.config, resolved.config.skip_bad_rows
    setup.need(prompts, "prompts")
    parent = open_parent(sft, reasoning=config.reasoning)
    template, shape, context = parent.template, parent.shape, parent.shape.context
    usable = setup.usable(template, prompts, longest=context - 1, skip=skip, what="prompt")
    ids = [one.ids for one in usable.flat]
    for some, what in ((comparisons, "comparison"), (held_out or (), "held-out comparison")):
        if some:
            render_comparisons(some, template, context, skip=skip, what=what)
    per_round = min(config.prompts_per_round or len(ids), len(ids))
    derived = [
        Derived("prompts", len(ids), f"{per_round:,} a round, {config.k} completions each"),
        Derived("comparisons at the start", len(comparisons), "given"),
        Derived("held-out comparisons", len(held_out or ()), "given"),
        Derived("demonstrations", len(demonstrations), "their mean reward becomes 0"),
        Derived("documents", len(ptx_documents), "mixed into PPO"),
    ]
    longest, why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, why = longest_answer([parent.folder], template, ids, context=context, seed=config.seed)
    derived.append(Derived("longest completion", longest, why))
    settled = setup.freeze(
        resolved,
        {
            "max_new_tokens": longest,
            "reward.skip_bad_rows": skip or config.reward.skip_bad_rows,
            **{
                f"{name}.skip_bad_rows": skip or getattr(config, name).skip_bad_rows
                for name in ("ppo", "dpo", "kto", "grpo", "raft")
            },
            **{
                key: config.reasoning
                for name in ("reward", "ppo", "dpo", "kto", "grpo", "raft")
                if resolved.source(key := f"{name}.reasoning") in ("default", "inherited")
            },
        },
    )
    if config.judge:
        model_folder(config.judge)  # a misspelt name is an error before anything runs
    ppo = settled.config.ppo
    sized = ppo.model_copy(
        update={
            "max_new_tokens": ppo.max_new_tokens if ppo.max_new_tokens > 0 else longest,
            "microbatch_tokens": ppo.microbatch_tokens or shared_microbatch([shape], ppo.train.device),
        }
    )
    return Prepared(
        resolved=settled,
        parent=parent.folder,
        tokenizer=parent.tokenizer,
        prompts=usable.records,
        derived=derived,
        data=setup.entries(data, prompts=prompts),
        cost=ppo_cost(sized, [shape, shape, shape], ids) if config.method == "ppo" else None,
    )
