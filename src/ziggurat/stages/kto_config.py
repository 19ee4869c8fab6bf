"""Settings of `kto` (`KTOConfig`), its examples as ids, and everything that is settled before its first step."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ziggurat.corpus.split import split
from ziggurat.errors import DataError
from ziggurat.records import Prompt, Rating
from ziggurat.settings import Resolved
from ziggurat.stages import method, setup
from ziggurat.stages.dpo_config import FOREIGN_TRAIN
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import settle_epochs
from ziggurat.tokenizer.template import Rendered
from ziggurat.training.config import SHORT, TrainConfig


class KTOConfig(setup.RecordsConfig):
    """Settings of `kto`. 0 means "computed" where a field says so; what came out is in config.yaml."""

    short = SHORT

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to the reference: the reward is beta times the log-ratio."""

    desirable_weight: float = Field(default=0.0, ge=0)
    """Weight of a liked completion. 0: computed, so that both sides weigh the same and the commoner one weighs 1."""

    undesirable_weight: float = Field(default=0.0, ge=0)
    """Weight of a disliked completion; 0: computed likewise."""

    batch_ratings: int = Field(default=32, ge=2)
    """Completions in one optimizer step; the KL term is estimated on as many mismatched ones."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the ratings; only read to compute train.steps where that is 0."""

    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts kept for the evaluation, unless held-out ratings are given."""

    eval_ratings: int = Field(default=400, ge=1)
    """Held-out ratings at each evaluation during training; the report takes all."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.001, lr_adam=0.00015)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True)
class Rated:
    """One rated completion as ids, and the mismatched one that it lends its prompt to:

    row          p p p a b .        start 3      prompt and completion of this example
    mismatched   p p p x y z .      start 3      this prompt, the completion of another example
    """

    row: list[int]
    start: int
    liked: bool
    mismatched: list[int]
    reference: float = 0.0
    """log p of the completion by the reference."""
    mismatched_reference: float = 0.0
    weight: float = 1.0
    """How much it counts in the loss."""


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[KTOConfig]):
    """`kto` before its first step."""

    rated: list[Rated]
    held_out: list[Rated]
    held_out_prompts: list[str]
    """Of each held-out rating, for the bootstrap."""


def kto_config(base: str | Path, *layers: tuple[str, Any]) -> Resolved[KTOConfig]:
    """The configuration from its layers, with the training settings of the base's run inherited."""
    return setup.inheriting(KTOConfig, base, layers, stage="kto", foreign=FOREIGN_TRAIN, large=setup.LARGE)


def prepare(
    resolved: Resolved[KTOConfig],
    base: str | Path,
    ratings: Sequence[Rating],
    *,
    reference: str | Path | None = None,
    held_out: Sequence[Rating] | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check, render, split and derive everything; nothing is written."""
    config = resolved.config
    setup.need(ratings, "ratings")
    start = method.open_policy(base, reference, reasoning=resolved.config.reasoning)
    context = min(start.shape.context, start.reference_shape.context)

    def rendered(some: Sequence[Rating], what: str) -> list[tuple[Rating, Rendered]]:
        found = setup.usable(
            start.template, some, longest=context, skip=config.skip_bad_rows, what=what, to_answer_end=True
        )
        return list(zip(found.records, found.flat, strict=True))

    learn, held = rendered(ratings, "rating"), list[tuple[Rating, Rendered]]()
    if held_out is None:
        learn, held = split(learn, lambda one: method.as_text(one[0].prompt), config.held_out_share)
    elif held_out:
        held = rendered(held_out, "held-out rating")
    rated, held_rated = (_rated(some, context, config.train.seed) for some in (learn, held))
    weights = weights_of(
        [one.liked for one in rated],
        config.desirable_weight,
        config.undesirable_weight,
        [one.weight for one in rated],
    )
    settled, loop = settle_epochs(
        resolved,
        math.ceil(len(rated) / config.batch_ratings),
        start.shape,
        whole=max(len(one.row) for one in rated),
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
    )
    liked = sum(one.liked for one in rated)
    lengths = [len(one.row) - one.start for one in rated]
    shown = held or learn
    both = "both sides then weigh the same"
    derived = [
        Derived("ratings", len(rated), f"{liked:,} liked, {len(rated) - liked:,} disliked"),
        Derived(
            "weight of a liked one", f"{weights[0]:.3g}", both if not config.desirable_weight else "given"
        ),
        Derived(
            "weight of a disliked one",
            f"{weights[1]:.3g}",
            both if not config.undesirable_weight else "given",
        ),
        Derived(
            "held-out ratings",
            len(held),
            "given" if held_out is not None else "held_out_share of the prompts",
        ),
        *loop,
    ]
    prompts = {method.as_text(one.prompt): Prompt(prompt=one.prompt, tools=one.tools) for one, _ in shown}
    return Prepared(
        resolved=settled,
        parent=start.folder,
        reference_folder=start.reference_folder,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=list(prompts.values()),
        prompt_ids=[one.row[: one.start] for one in held_rated or rated],
        rated=rated,
        held_out=held_rated,
        held_out_prompts=[method.as_text(one.prompt) for one, _ in held],
        derived=derived,
        data=setup.entries(data, ratings=ratings),
        cost=method.rows_cost(
            start.shape, settled.config.train, [len(one.row) for one in rated], config.batch_ratings
        ),
        answer_tokens=setup.percentile_95(lengths),
    )


def weights_of(
    liked: Sequence[bool], desirable: float, undesirable: float, each: Sequence[float] | None = None
) -> tuple[float, float]:
    """(weight of a liked, of a disliked completion); those given are kept. `each`: what every rating counts, 1 without.

    By hand: 3 liked, 1 disliked: 1 and 3; if the disliked one counts 0.5: 1 and 6. DataError where one side is empty,
    for nothing holds the policy then.
    """
    counts = each or [1.0] * len(liked)
    n = sum(count for count, like in zip(counts, liked, strict=True) if like)
    m = sum(count for count, like in zip(counts, liked, strict=True) if not like)
    if not n or not m:
        raise DataError(
            f"all {len(liked):,} ratings are {'likes' if n else 'dislikes'}; give completions that are liked and "
            "others that are not."
        )
    return desirable or max(1.0, m / n), undesirable or max(1.0, n / m)


def _rated(some: Sequence[tuple[Rating, Rendered]], context: int, seed: int) -> list[Rated]:
    """Each example with the completion of the next one in a shuffled ring that has another prompt, cut to the context.

    Where all prompts are the same, the next one's completion it is.
    """
    rows = []
    for rating, one in some:
        before = sum(message.role == "assistant" for message in rating.prompt)
        weight = 1.0 if rating.weight is None else rating.weight
        rows.append((one.ids, one.starts[before], rating.label, weight))
    order = list(range(len(rows)))
    random.Random(f"{seed} mismatched").shuffle(order)
    made: dict[int, Rated] = {}
    for place, i in enumerate(order):
        ids, start, liked, weight = rows[i]
        ring = [order[(place + k) % len(order)] for k in range(1, min(len(order), 9))]
        others = [j for j in ring if rows[j][0][: rows[j][1]] != ids[:start]]
        j = (others or ring or [i])[0]
        lent = (ids[:start] + rows[j][0][rows[j][1] :])[:context]
        made[i] = Rated(ids, start, liked, lent, weight=weight)
    return [made[i] for i in range(len(rows))]
