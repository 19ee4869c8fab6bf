"""Settings of stage 2, and all that is settled before its first step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ziggurat.console import err
from ziggurat.corpus.pack import pack_rows
from ziggurat.corpus.split import first_question, split
from ziggurat.model.config import ModelConfig
from ziggurat.records import Demonstration, Document
from ziggurat.settings import Resolved
from ziggurat.stages import setup, stage
from ziggurat.stages.batches import ConversationBatches
from ziggurat.stages.removed import REMOVED
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import open_parent, settle_loop
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate, Rendered
from ziggurat.training.config import SHORT, TrainConfig
from ziggurat.training.cost import text_cost

SMALLEST_ROW = 256


class SftConfig(setup.RecordsConfig):
    """Settings of stage 2. -1 and 0 mean "computed", where a field says so; what came out is in config.yaml."""

    short = SHORT
    removed = REMOVED["SftConfig"]

    row_tokens: int = Field(default=-1, ge=-1)
    """Tokens T of a row. -1: the longest conversation, at least SMALLEST_ROW, at most the model's context."""

    batch_tokens: int = Field(default=1100, ge=1)
    """Tokens of one optimizer step, padding and text included; rounded to whole rows."""

    epochs: float = Field(default=2.0, gt=0)
    """Passes over the demonstrations; only read to compute train.steps where that is 0."""

    text_share: float = Field(default=0.4, ge=0, lt=1)
    """Share of each batch's rows that is stage-1 text; without text it is 0."""

    text_weight: float = Field(default=0.5, ge=0)
    """Weight of a token of text in the loss; a trained token of a demonstration weighs 1."""

    held_out_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of demonstrations (and of text) kept for evaluation, unless held-out ones are given."""

    eval_demonstrations: int = Field(default=200, ge=1)
    """Held-out demonstrations scored at each evaluation."""

    eval_characters: int = Field(default=50_000, ge=0)
    """Held-out characters of text scored at each evaluation, to see what is forgotten."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.002, lr_adam=0.0003)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[SftConfig]):
    """Stage 2 before its first step."""

    template: ChatTemplate
    batches: ConversationBatches
    held_out: list[Rendered]
    held_out_text: list[str]
    questions: list[Demonstration]
    """Shown with the model's answers, during training and in the report."""


def sft_config(base: str | Path, *layers: tuple[str, Any]) -> Resolved[SftConfig]:
    """The configuration from its layers, with the training settings of the base's run inherited."""
    return setup.inheriting(SftConfig, base, layers, stage="sft")


def prepare(
    resolved: Resolved[SftConfig],
    base: str | Path,
    demonstrations: Sequence[Demonstration],
    *,
    text: Sequence[Document] = (),
    held_out: Sequence[Demonstration] | None = None,
    held_out_text: Sequence[Document] | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Render, pack and derive everything; nothing is written."""

    config, skip = resolved.config, resolved.config.skip_bad_rows
    setup.need(demonstrations, "demonstrations")
    parent = open_parent(base, reasoning=config.reasoning)
    template, context = parent.template, parent.shape.context
    if template.is_plain:
        err.print(
            f"{parent.folder} has no chat template; conversations are written as User: and Assistant: lines."
        )
        template.adopt()
    longest = (min(config.row_tokens, context) if config.row_tokens > 0 else context) + 1
    usable = setup.usable(template, demonstrations, longest=longest, skip=skip, what="demonstration")
    ids = {id(d): made for d, (made,) in usable}
    learn, held = usable.records, list[Demonstration]()
    if held_out is None:
        learn, held = split_demonstrations(learn, config.held_out_share)
    elif held_out:
        given = setup.usable(
            template, held_out, longest=context + 1, skip=skip, what="held-out demonstration"
        )
        ids |= {id(d): made for d, (made,) in given}
        held = given.records
    text_learn, text_held = (
        setup.split_held_out(text, config.held_out_share) if held_out_text is None else (text, held_out_text)
    )
    rendered = [ids[id(d)] for d in learn]
    T = row_tokens(config.row_tokens, rendered, parent.shape)
    batches = _batches(config, rendered, T, parent.tokenizer, text_learn)
    held_why = "given" if held_out is not None else "held_out_share"
    steps, derived = _derived(
        config, rendered, batches, Derived("held-out demonstrations", len(held), held_why)
    )
    settled, microbatch = settle_loop(resolved, config.train, steps, parent.shape, row_tokens=T)
    return Prepared(
        resolved=settled,
        parent=parent.folder,
        tokenizer=parent.tokenizer,
        template=template,
        batches=batches,
        held_out=[ids[id(d)] for d in held[: config.eval_demonstrations]],
        held_out_text=setup.take_characters((d.text for d in text_held), config.eval_characters),
        questions=(held or learn)[:6],
        derived=[*derived, microbatch],
        data=setup.entries(data, demonstrations=demonstrations, text=text),
        cost=text_cost(parent.shape, settled.config.train, T, batches.batch_rows),
        answer_tokens=setup.percentile_95(  # of each last answer, its end included
            [sum(r.mask[r.starts[-1] :] if r.starts else r.mask) for r in rendered]
        ),
    )


def _batches(
    config: SftConfig, fitting: list[Rendered], T: int, tokenizer: Tokenizer, text: Sequence[Document]
) -> ConversationBatches:
    """The conversations packed, with rows of text among them where there is text and a share for it."""

    rows = None
    if text and config.text_share > 0:
        rows = pack_rows(tokenizer.encode_documents([d.text for d in text]), T, tokenizer.endoftext_id)
    return ConversationBatches(
        fitting,
        T,
        max(1, round(config.batch_tokens / T)),
        config.train.seed,
        text_rows=rows,
        text_share=config.text_share,
        text_weight=config.text_weight,
    )


def _derived(
    config: SftConfig, fitting: Sequence[Rendered], batches: ConversationBatches, held: Derived
) -> tuple[int, list[Derived]]:
    """The number of steps, and the list that is printed: every number with its formula or its source."""
    T, share = batches.T, batches.text_share
    one_epoch = batches.rows_per_epoch / (batches.batch_rows * (1 - share))
    steps = config.train.steps or max(1, math.ceil(one_epoch * config.epochs))
    trained = sum(sum(r.mask[1:]) for r in fitting)
    total = sum(len(r.ids) - 1 for r in fitting)
    steps_why = "train.steps" if config.train.steps else f"{config.epochs:g} × {one_epoch:,.0f}"
    return steps, [
        Derived(
            "demonstrations", len(fitting), f"{total:,} tokens, of which {trained / total:.0%} are trained"
        ),
        held,
        Derived("row tokens", T, "row_tokens" if config.row_tokens > 0 else "the longest conversation"),
        Derived("rows per epoch", batches.rows_per_epoch, f"packed first fit, {batches.filled:.0%} full"),
        Derived("rows per step", batches.batch_rows, f"batch_tokens {config.batch_tokens:,} / {T}"),
        Derived("share of text rows", f"{share:g}", "text_share" if share else "no text"),
        Derived("steps", steps, steps_why),
        Derived("epochs", f"{steps / one_epoch:.2f}", "steps / steps of an epoch"),
    ]


def row_tokens(wanted: int, rendered: Sequence[Rendered], model_config: ModelConfig) -> int:
    """T: as wanted, or the longest conversation rounded up to 32, within SMALLEST_ROW and the context."""
    if wanted > 0:
        return min(wanted, model_config.context)
    longest = max(len(r.ids) - 1 for r in rendered)
    return min(model_config.context, max(SMALLEST_ROW, -(-longest // 32) * 32))


def split_demonstrations(
    demonstrations: Sequence[Demonstration], share: float
) -> tuple[list[Demonstration], list[Demonstration]]:
    """(to learn from, held out), by the first question."""
    return split(demonstrations, lambda d: first_question(d.messages), share)
