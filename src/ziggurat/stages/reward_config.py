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
from ziggurat.model.accounting import total_parameters
from ziggurat.model.confidence import ConfidenceHead
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import RewardModel
from ziggurat.records import Comparison, Demonstration, Prompt
from ziggurat.settings import Resolved
from ziggurat.stages import setup, stage
from ziggurat.stages.comparison_batches import Ranked, render_comparisons
from ziggurat.stages.ppo_losses import untied_pairs
from ziggurat.stages.removed import REMOVED
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import open_parent, settle_epochs
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.config import SHORT, TrainConfig
from ziggurat.training.cost import Cost, trained_memory, training_flops, ways_to_fit
from ziggurat.training.device import place
from ziggurat.training.precision import choose_dtype
from ziggurat.training.trainable import load_to_train

FOREIGN_LR_HEAD = 1e-3
"""Rate of the new head where the stage-2 model is not ours. At the body's rate of 2e-5 the head hardly leaves 0 in the
few steps of one epoch, and the loss stays at ln 2."""


class RewardConfig(setup.RecordsConfig):
    """Settings of stage 3. 0 means "computed" where a field says so; what came out is in config.yaml."""

    short = SHORT

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
    ranked: list[Ranked]
    held_out: list[Comparison]
    held_out_ranked: list[Ranked]
    prompts: list[list[int]]
    """Ids of the distinct prompts that are learned from."""
    demonstrations: list[list[int]]
    """Ids of the demonstrations whose mean reward becomes 0."""

    def load(self) -> RewardModel:
        """The stage-2 model with a new head."""
        learns = self.config.train
        body = load_to_train(self.base, learns, learns, seed=self.seed)
        if self.config.score_head == "linear":
            return place(RewardModel(body), learns.device)
        head = ConfidenceHead(body.config.d_model, _opening_id(self.tokenizer))
        return place(RewardModel(body, confidence=head), learns.device)


def reward_config(sft: str | Path, *layers: tuple[str, Any]) -> Resolved[RewardConfig]:
    """The configuration from its layers, with the training settings of the stage-2 run inherited."""
    foreign = {"lr_head": FOREIGN_LR_HEAD}
    return setup.inheriting(RewardConfig, sft, layers, stage="reward", foreign=foreign, large=setup.LARGE)


def prepare(
    resolved: Resolved[RewardConfig],
    sft: str | Path,
    comparisons: Sequence[Comparison],
    *,
    held_out: Sequence[Comparison] | None = None,
    demonstrations: Sequence[Demonstration] = (),
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check, render, split and derive everything; nothing is written."""
    config, skip = resolved.config, resolved.config.skip_bad_rows
    setup.need(comparisons, "comparisons")
    parent = open_parent(sft, reasoning=config.reasoning)
    template, context = parent.template, parent.shape.context
    learn, ranked = render_comparisons(comparisons, template, context, skip=skip)
    held, held_ranked = list[Comparison](), list[Ranked]()
    if held_out is None:
        learn, ranked, held, held_ranked = split_rendered(learn, ranked, config.held_out_share)
    elif held_out:
        held, held_ranked = render_comparisons(
            held_out, template, context, skip=skip, what="held-out comparison"
        )
    useful = [one for one in ranked if untied_pairs(one.ranks)]
    if not useful:
        raise DataError(
            f"all {len(ranked):,} comparisons are tied throughout, so they teach nothing; rank some apart."
        )
    asked = list({repr(one.prompt): Prompt(prompt=one.prompt, tools=one.tools) for one in learn}.values())
    prompts = setup.usable(template, asked, longest=context - 1, skip=skip, what="prompt").flat
    shown = setup.usable(
        template,
        demonstrations[: config.shift_demonstrations],
        longest=context,
        skip=skip,
        what="demonstration",
        to_answer_end=True,
    ).flat
    one_epoch = math.ceil(len(useful) / config.batch_comparisons)
    settled, loop = settle_epochs(resolved, one_epoch, parent.shape, whole=largest_piece(useful))
    derived = [
        *_derived_data(useful, len(ranked) - len(useful)),
        Derived(
            "held-out comparisons",
            len(held),
            "given" if held_out is not None else "held_out_share of the prompts",
        ),
        Derived(
            "demonstrations for the zero",
            len(shown),
            "their mean reward becomes 0" if shown else "none: samples' mean becomes 0",
        ),
        *loop,
    ]
    return Prepared(
        resolved=settled,
        parent=parent.folder,
        tokenizer=parent.tokenizer,
        template=template,
        ranked=useful,
        held_out=held,
        held_out_ranked=held_ranked,
        prompts=[one.ids for one in prompts],
        demonstrations=[one.ids for one in shown],
        derived=derived,
        data=setup.entries(data, comparisons=comparisons),
        cost=_cost(parent.shape, settled.config.train, useful, config.batch_comparisons),
        answer_tokens=setup.percentile_95(
            [len(row) - start for one in useful for row, start in zip(one.rows, one.starts, strict=True)]
        ),
    )


def _derived_data(useful: Sequence[Ranked], tied: int) -> list[Derived]:
    completions = sum(len(one.rows) for one in useful)
    pairs = sum(len(untied_pairs(one.ranks)) for one in useful)
    return [
        Derived("comparisons", len(useful), f"{tied:,} more are tied throughout"),
        Derived("completions", completions, f"K = {completions / len(useful):.1f} on average"),
        Derived("untied pairs", pairs, "all of a comparison are one element of the loss"),
    ]


def largest_piece(ranked: Sequence[Ranked]) -> int:
    """Tokens of the largest comparison, padding included; it is never cut."""
    return max(len(one.rows) * max(map(len, one.rows)) for one in ranked)


def _cost(shape: ModelConfig, train: TrainConfig, ranked: Sequence[Ranked], per_step: int) -> Cost:
    """Microbatches hold whole comparisons, so the largest comparison can be above the budget of tokens."""
    largest = largest_piece(ranked)
    step = per_step * sum(len(row) for one in ranked for row in one.rows) / len(ranked)
    T = round(sum(len(row) for one in ranked for row in one.rows) / sum(len(one.rows) for one in ranked))

    def memory(train: TrainConfig) -> dict[str, float]:
        tokens = max(largest, min(train.microbatch_tokens, round(step)))
        parts = trained_memory(
            shape, train, tokens, logits=0, dtype=train.dtype, T=T, recompute=train.recompute
        )
        own = 0 if train.adapts else choose_dtype(train.dtype)[0].itemsize
        return parts | {"stage-2 model, for the unit": own * total_parameters(shape)}

    flops = training_flops(shape, train.trainable, T, lora=train.lora, recompute=train.recompute)
    return Cost(memory(train), step * flops, steps=train.steps, ways=ways_to_fit(train, memory))


def _opening_id(tokenizer: Tokenizer) -> int:
    """The id that opens an assistant's turn; -1 for templates without one: the whole conversation is read."""
    found = tokenizer.id_of("<|assistant|>")
    return -1 if found is None else found


def split_comparisons(
    comparisons: Sequence[Comparison], share: float
) -> tuple[list[Comparison], list[Comparison]]:
    """(to learn from, held out), by the prompt."""
    return split(comparisons, lambda one: "\n".join(f"{m.role}: {m.content}" for m in one.prompt), share)


def split_rendered(
    comparisons: list[Comparison], ranked: list[Ranked], share: float
) -> tuple[list[Comparison], list[Ranked], list[Comparison], list[Ranked]]:
    """`split_comparisons` of comparisons and their ids: (learn, ids, held out, ids)."""
    of = {id(one): ids for one, ids in zip(comparisons, ranked, strict=True)}
    learn, held = split_comparisons(comparisons, share)
    return learn, [of[id(one)] for one in learn], held, [of[id(one)] for one in held]
