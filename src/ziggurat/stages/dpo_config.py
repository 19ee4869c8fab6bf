"""Settings of `dpo` (`DPOConfig`), and everything that is settled before its first step (`prepare`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ziggurat.errors import DataError
from ziggurat.records import Comparison, Prompt
from ziggurat.settings import Resolved
from ziggurat.stages import method, setup
from ziggurat.stages.comparison_batches import Ranked, render_comparisons
from ziggurat.stages.ppo_losses import untied_pairs
from ziggurat.stages.preference_losses import Preference
from ziggurat.stages.reward_config import split_rendered
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import settle_epochs
from ziggurat.training.config import SHORT, TrainConfig

FOREIGN_TRAIN: dict[str, Any] = {"lr_adam": 5e-6, "warmup_steps": 0}
"""Where the base is not ours. Published runs use 5e-7 to 5e-6 (arXiv:2310.16944, arXiv:2405.14734)."""


class DPOConfig(setup.RecordsConfig):
    """Settings of `dpo`. 0 means "computed" where a field says so; what came out is in config.yaml."""

    short = SHORT

    loss: Literal["sigmoid", "ipo", "hinge", "odds_ratio"] = "sigmoid"
    """sigmoid: DPO. ipo, hinge (SLiC) and odds_ratio (ORPO): see stages/preference_losses.py."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to the reference: the reward is beta times the log-ratio. In IPO 1 / (2 beta) is
    the log-ratio that a pair should have, in ORPO beta is the weight of the odds ratio."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that are expected to be labelled the wrong way round (sigmoid only)."""

    margin: float = Field(default=0.0, ge=0)
    """Reward by which the better completion should win; SimPO's gamma."""

    length_normalised: bool = False
    """Log-ratios are divided by the tokens of their completion, so that length is no reward of its own."""

    reference_free: bool = False
    """Leave the reference out (SimPO). The report's drift still says how far the policy went from it."""

    nll_weight: float = Field(default=0.0, ge=0)
    """Weight of imitating the best completion, per token; it keeps its probability from falling. ORPO needs it."""

    batch_comparisons: int = Field(default=8, ge=1)
    """Comparisons (of K completions each) in one optimizer step."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the comparisons; only read to compute train.steps where that is 0."""

    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts kept for the evaluation, unless held-out comparisons are given."""

    eval_comparisons: int = Field(default=200, ge=1)
    """Held-out comparisons at each evaluation during training; the report takes all."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.001, lr_adam=0.00015)
    """steps 0: computed from `epochs`."""

    @model_validator(mode="after")
    def _options_fit(self) -> DPOConfig:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(
                f"label_smoothing is {self.label_smoothing:g}, but the loss {self.loss} has none; "
                "use sigmoid, or set it to 0"
            )
        if self.loss == "odds_ratio" and not self.nll_weight:
            raise ValueError(
                "loss is odds_ratio, which compares and does not imitate; "
                "set nll_weight to 1 (ORPO), or use another loss"
            )
        if self.loss == "odds_ratio" and self.margin:
            raise ValueError(f"margin is {self.margin:g}, but odds_ratio has none; set it to 0")
        return self

    @property
    def preference(self) -> Preference:
        """The loss."""
        free = self.reference_free or self.loss == "odds_ratio"
        normalised = self.length_normalised or self.loss == "odds_ratio"
        return Preference(
            self.loss, self.beta, self.label_smoothing, self.margin, normalised, free, self.nll_weight
        )


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[DPOConfig]):
    """`dpo` before its first step."""

    ranked: list[Ranked]
    held_out: list[Comparison]
    held_out_ranked: list[Ranked]


def dpo_config(base: str | Path, *layers: tuple[str, Any]) -> Resolved[DPOConfig]:
    """The configuration from its layers, with the training settings of the base's run inherited."""
    return setup.inheriting(DPOConfig, base, layers, stage="dpo", foreign=FOREIGN_TRAIN, large=setup.LARGE)


def prepare(
    resolved: Resolved[DPOConfig],
    base: str | Path,
    comparisons: Sequence[Comparison],
    *,
    reference: str | Path | None = None,
    held_out: Sequence[Comparison] | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check, render, split and derive everything; nothing is written."""
    config = resolved.config
    setup.need(comparisons, "comparisons")
    start = method.open_policy(base, reference, reasoning=resolved.config.reasoning)
    context = min(start.shape.context, start.reference_shape.context)
    learn, ranked = render_comparisons(comparisons, start.template, context, skip=config.skip_bad_rows)
    held, held_ranked = list[Comparison](), list[Ranked]()
    if held_out is None:
        learn, ranked, held, held_ranked = split_rendered(learn, ranked, config.held_out_share)
    elif held_out:
        held, held_ranked = render_comparisons(
            held_out, start.template, context, skip=config.skip_bad_rows, what="held-out comparison"
        )
    useful = [one for one in ranked if untied_pairs(one.ranks)]
    if not useful:
        raise DataError(
            f"all {len(ranked):,} comparisons are tied throughout, so they teach nothing; rank some apart."
        )
    longest = max(len(row) for one in useful for row in one.rows)
    one_epoch = math.ceil(len(useful) / config.batch_comparisons)
    settled, loop = settle_epochs(resolved, one_epoch, start.shape, whole=longest)
    lengths = [len(row) - s for one in useful for row, s in zip(one.rows, one.starts, strict=True)]
    rows = [len(row) for one in useful for row in one.rows]
    asked = [Prompt(prompt=one.prompt, tools=one.tools) for one in held or learn]
    prompts = {repr(one): one for one in asked}
    ids = [
        row[:s] for one in held_ranked or useful for row, s in zip(one.rows[:1], one.starts[:1], strict=True)
    ]
    derived = [
        Derived("comparisons", len(useful), f"{len(ranked) - len(useful):,} more are tied throughout"),
        Derived("completions", len(rows), f"K = {len(rows) / len(useful):.1f} on average"),
        Derived(
            "untied pairs",
            sum(len(untied_pairs(one.ranks)) for one in useful),
            "all of a comparison weigh as much as one",
        ),
        Derived(
            "held-out comparisons",
            len(held),
            "given" if held_out is not None else "held_out_share of the prompts",
        ),
        *loop,
    ]
    return Prepared(
        resolved=settled,
        parent=start.folder,
        reference_folder=start.reference_folder,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=list(prompts.values()),
        prompt_ids=ids,
        ranked=useful,
        held_out=held,
        held_out_ranked=held_ranked,
        derived=derived,
        data=setup.entries(data, comparisons=comparisons),
        cost=method.rows_cost(
            start.shape, settled.config.train, rows, config.batch_comparisons * len(rows) / len(useful)
        ),
        answer_tokens=setup.percentile_95(lengths),
    )
