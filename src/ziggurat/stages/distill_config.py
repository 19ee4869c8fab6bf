"""Settings of `distill` (`DistillConfig`), and all that is settled before its first step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ziggurat.corpus.split import first_question, split
from ziggurat.errors import ConfigError
from ziggurat.lineage import parent_entry
from ziggurat.model.accounting import total_parameters
from ziggurat.records import Demonstration, Prompt
from ziggurat.settings import Resolved
from ziggurat.stages import method, setup
from ziggurat.stages.comparison_batches import Ranked
from ziggurat.stages.inner_losses import check_map, uniform_map
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import settle_epochs
from ziggurat.training.config import SHORT, TrainConfig
from ziggurat.training.cost import FP32


class DistillConfig(setup.RecordsConfig):
    """Settings of `distill`. 0 means "computed" where a field says so; what came out is in config.yaml."""

    short = SHORT

    logits_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher's distributions in the loss; the rest imitates the answers."""

    temperature: float = Field(default=1.0, gt=0)
    """Of both distributions in the KL term; above 1 unlikely tokens count more."""

    direction: Literal["forward", "reverse"] = "forward"
    """forward: KL(teacher || student), which covers all that the teacher might say. reverse: KL(student || teacher),
    which keeps a small student to what the teacher surely says."""

    hidden_weight: float = Field(default=0.0, ge=0)
    """Weight of the difference of the models' states, block by block (`inner_losses`)."""

    attention_weight: float = Field(default=0.0, ge=0)
    """Weight of KL(teacher || student) of where the heads attend."""

    layer_map: tuple[int, ...] = ()
    """The teacher's block, from 1, for each block of the student; none: spread evenly."""

    sequences: bool = False
    """The teacher's own answers take the place of the data's."""

    sequence_temperature: float = Field(default=0.0, ge=0)
    """Of those answers; 0: greedy."""

    max_new_tokens: int = Field(default=0, ge=0)
    """Longest answer of the teacher; 0: half as long again as 95 % of the data's answers."""

    batch_answers: int = Field(default=16, ge=1)
    """Answers in one optimizer step."""

    epochs: float = Field(default=2.0, gt=0)
    """Passes over the demonstrations; only read to compute train.steps where that is 0."""

    held_out_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the demonstrations kept for the evaluation, unless held-out ones are given."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.002, lr_adam=0.0003)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[DistillConfig]):
    """`distill` before its first step; the reference is the teacher."""

    rows: list[Ranked]
    held_out: list[Ranked]

    @property
    def manifest(self) -> Mapping[str, Any]:
        return {"teacher": parent_entry(self.reference_folder)}


def distill_config(base: str | Path, *layers: tuple[str, Any]) -> Resolved[DistillConfig]:
    """The configuration from its layers, with the training settings of the base's run inherited."""
    return setup.inheriting(DistillConfig, base, layers, stage="distill")


def prepare(
    resolved: Resolved[DistillConfig],
    base: str | Path,
    teacher: str | Path,
    demonstrations: Sequence[Demonstration],
    *,
    held_out: Sequence[Demonstration] | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check, render, split and derive everything; nothing is written."""
    config = resolved.config
    setup.need(demonstrations, "demonstrations")
    start = method.open_policy(base, teacher, reasoning=resolved.config.reasoning)
    context = min(start.shape.context, start.reference_shape.context)

    def rendered(some: Sequence[Demonstration], what: str) -> list[tuple[Demonstration, Ranked]]:
        found = setup.usable(
            start.template, some, longest=context, skip=config.skip_bad_rows, what=what, to_answer_end=True
        )
        rows = [Ranked([one.ids], [1], [one.starts[-1]]) for one in found.flat]
        return list(zip(found.records, rows, strict=True))

    learn, held = rendered(demonstrations, "demonstration"), list[tuple[Demonstration, Ranked]]()
    if held_out is None:
        learn, held = split(learn, lambda one: first_question(one[0].messages), config.held_out_share)
    elif held_out:
        held = rendered(held_out, "held-out demonstration")
    rows = [row for _, row in learn]
    lengths = [len(one.rows[0]) - one.starts[0] for one in rows]
    longest = config.max_new_tokens or max(8, round(1.5 * setup.percentile_95(lengths)))
    settled, loop = settle_epochs(
        resolved, math.ceil(len(rows) / config.batch_answers), start.shape, max_new_tokens=longest
    )
    levels: tuple[int, ...] = ()
    if config.hidden_weight or config.attention_weight:
        levels = config.layer_map or uniform_map(start.shape.layers, start.reference_shape.layers)
        check_map(levels, start.shape, start.reference_shape)
        settled = setup.freeze(settled, {"layer_map": levels})
        if config.train.trainable in ("prefix", "prompt"):
            raise ConfigError(
                "states are not compared where virtual tokens learn; set hidden_weight=0 and attention_weight=0."
            )
    sizes = [total_parameters(shape) for shape in (start.shape, start.reference_shape)]
    cost = method.rows_cost(
        start.shape, settled.config.train, [len(one.rows[0]) for one in rows], config.batch_answers
    )
    memory: dict[str, float] = {"teacher": FP32 * sizes[1]}
    if config.attention_weight:  # of two models, in fp32, with their softmax and gradient
        heads = start.shape.layers * (start.shape.heads + start.reference_shape.heads)
        longest_row = max(len(one.rows[0]) for one in rows)
        memory["attention maps"] = 3.0 * FP32 * heads * longest_row * settled.config.train.microbatch_tokens
    return Prepared(
        resolved=settled,
        parent=start.folder,
        reference_folder=start.reference_folder,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=[Prompt(prompt=one.messages[:-1], tools=one.tools) for one, _ in (held or learn)],
        prompt_ids=[one.rows[0][: one.starts[0]] for one in rows],
        rows=rows,
        held_out=[row for _, row in held],
        derived=[
            Derived("demonstrations", len(rows), "the last answer of each is learned"),
            Derived(
                "held-out demonstrations", len(held), "given" if held_out is not None else "held_out_share"
            ),
            Derived("size of the student", f"{sizes[0] / sizes[1]:.1%}", "of the teacher's parameters"),
            *([Derived("layer_map", str(levels), "blocks of the teacher, spread evenly")] if levels else []),
            *loop,
        ],
        data=setup.entries(data, demonstrations=demonstrations),
        cost=replace(
            cost,
            memory={**cost.memory, **memory},
            ways={way: size + sum(memory.values()) for way, size in cost.ways.items()},
        ),
        answer_tokens=setup.percentile_95(lengths),
    )
