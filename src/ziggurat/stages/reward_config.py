"""Settings of stage 3 (`RewardConfig`), and everything that is settled before its first step (`prepare`).

Comparisons are rendered to ids and split into those learned from and those held out, by the hash of the prompt; the
number of steps is derived from them. `ziggurat reward --dry-run` ends here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ziggurat.corpus.split import split
from ziggurat.errors import DataError
from ziggurat.model.confidence import ConfidenceHead
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model
from ziggurat.places import find_run, model_folder
from ziggurat.records import Comparison, Demonstration
from ziggurat.settings import Config, Resolved, resolve
from ziggurat.stages import setup, stage
from ziggurat.stages.comparison_batches import Ranked, render_comparisons
from ziggurat.stages.ppo_losses import untied_pairs
from ziggurat.stages.removed import REMOVED
from ziggurat.stages.setup import Derived
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.config import TrainConfig

LR_SHARE = 1.0
"""Peak learning rates as a share of the stage-2 run's, which are gentle already."""

FOREIGN_LR_HEAD = 1e-3
"""Rate of the new head where the stage-2 model is not ours. At the body's rate of 2e-5 the head hardly leaves 0 in the
few steps of one epoch, and the loss stays at ln 2."""


class RewardConfig(Config):
    """Settings of stage 3. 0 means "computed" where a field says so; what came out is in config.yaml."""

    removed = REMOVED["RewardConfig"]

    batch_comparisons: int = Field(default=16, ge=1)
    """Comparisons (of K completions each) in one optimizer step."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the comparisons; only read to compute train.steps where that is 0."""

    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts kept for the report card, unless held-out comparisons are given."""

    eval_comparisons: int = Field(default=200, ge=1)
    """Held-out comparisons scored at each evaluation during training; the report card takes all."""

    shift_demonstrations: int = Field(default=512, ge=1)
    """Demonstrations whose mean reward becomes 0."""

    scale_samples: int = Field(default=256, ge=2)
    """Completions sampled from the stage-2 model, whose rewards get standard deviation 1."""

    sample_tokens: int = Field(default=96, ge=1)
    """Longest sampled completion, in tokens."""

    min_accuracy: float = Field(default=0.6, ge=0, le=1)
    """The report card passes if the lower bound of the pair accuracy is at least this,"""

    min_share_of_ceiling: float = Field(default=0.85, ge=0, le=1)
    """...the accuracy at least this share of the labelling ceiling, where that is known,"""

    min_kind_accuracy: float = Field(default=0.6, ge=0, le=1)
    """...and the accuracy on each kind of pair (with enough of them) at least this."""

    score_head: Literal["linear", "confidence"] = "linear"
    """linear reads the last state of an answer; confidence also the probability of its words (`model.confidence`)."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.002, lr_adam=0.0003)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[RewardConfig]):
    """Stage 3 before its first step."""

    template: ChatTemplate
    model: RewardModel
    learn: list[Comparison]
    held_out: list[Comparison]
    ranked: list[Ranked]
    held_out_ranked: list[Ranked]


def reward_config(sft: str | Path, *layers: tuple[str, Any]) -> Resolved[RewardConfig]:
    """The configuration from its layers, with the training settings of the stage-2 run inherited."""
    layer = setup.inherited(find_run(str(sft)), lr_share=LR_SHARE, foreign={"lr_head": FOREIGN_LR_HEAD})
    return resolve(RewardConfig, ("inherited", layer), *layers)


def prepare(
    resolved: Resolved[RewardConfig],
    sft: str | Path,
    comparisons: Sequence[Comparison],
    *,
    held_out: Sequence[Comparison] | None = None,
    demonstrations: Sequence[Demonstration] = (),
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Load, render, split and derive everything; nothing is written."""
    config = resolved.config
    setup.need(comparisons, "comparisons")
    folder = model_folder(sft)
    tokenizer = Tokenizer.load(folder)
    template = ChatTemplate(tokenizer)
    body = load_model(folder, tokenizer_ids=tokenizer.vocab_size)
    head = ConfidenceHead(body.config.d_model, _opening_id(tokenizer))
    model = RewardModel(body, confidence=head if config.score_head == "confidence" else None)
    learn, held = (
        split_comparisons(comparisons, config.held_out_share) if held_out is None else (comparisons, held_out)
    )
    context = model.body.config.context
    ranked = render_comparisons(learn, template, context)
    useful = [one for one in ranked if untied_pairs(one.ranks)]
    if not useful:
        raise DataError(
            f"all {len(ranked):,} comparisons are tied throughout, so they teach nothing; rank some apart."
        )
    one_epoch = math.ceil(len(useful) / config.batch_comparisons)
    steps = config.train.steps or max(1, round(one_epoch * config.epochs))
    pairs = sum(len(untied_pairs(one.ranks)) for one in useful)
    completions = sum(len(one.rows) for one in useful)
    derived = [
        Derived("comparisons", len(useful), f"{len(ranked) - len(useful):,} more are tied throughout"),
        Derived("completions", completions, f"K = {completions / len(useful):.1f} on average"),
        Derived("untied pairs", pairs, "all of a comparison are one element of the loss"),
        Derived(
            "held-out comparisons",
            len(held),
            "given" if held_out is not None else "held_out_share of the prompts",
        ),
        Derived(
            "demonstrations for the zero",
            min(len(demonstrations), config.shift_demonstrations),
            "their mean reward becomes 0" if demonstrations else "none: samples' mean becomes 0",
        ),
        Derived(
            "steps",
            steps,
            "train.steps" if config.train.steps else f"{config.epochs:g} epochs × {one_epoch:,}",
        ),
    ]
    entries = list(data) if data else [setup.memory_entry("comparisons", list(comparisons))]
    return Prepared(
        resolved=setup.freeze(resolved, {} if config.train.steps else {"train.steps": steps}),
        parent=folder,
        tokenizer=tokenizer,
        template=template,
        model=model,
        learn=list(learn),
        held_out=list(held),
        ranked=useful,
        held_out_ranked=render_comparisons(held, template, context),
        derived=derived,
        data=entries,
    )


def _opening_id(tokenizer: Tokenizer) -> int:
    """The id that opens an assistant's turn; -1 for templates without one: the whole conversation is read."""
    found = tokenizer.id_of("<|assistant|>")
    return -1 if found is None else found


def split_comparisons(
    comparisons: Sequence[Comparison], share: float
) -> tuple[list[Comparison], list[Comparison]]:
    """(to learn from, held out), by the prompt."""
    return split(comparisons, lambda one: "\n".join(f"{m.role}: {m.content}" for m in one.prompt), share)
