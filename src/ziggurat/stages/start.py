"""What a stage reads of its parent before the first step, and how its loop is settled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ziggurat.messages import Reasoning
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import check_model
from ziggurat.places import model_folder
from ziggurat.settings import Config, Resolved
from ziggurat.stages.setup import Derived, freeze
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.config import TrainConfig
from ziggurat.training.cost import ACTIVATION_BYTES, FP32, gib, kept_by, microbatch_tokens

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Parent:
    """The model that a stage starts from; its weights are not read yet."""

    folder: Path
    tokenizer: Tokenizer
    template: ChatTemplate
    shape: ModelConfig


def open_parent(name_or_path: str | Path, *, reasoning: Reasoning = "trained") -> Parent:
    """A run by its name, a run folder, a checkpoint, or a Hugging Face folder; ModelFolderError if it is not whole."""
    folder = model_folder(name_or_path)
    tokenizer = Tokenizer.load(folder)
    return Parent(
        folder,
        tokenizer,
        ChatTemplate(tokenizer, reasoning=reasoning),
        check_model(folder, tokenizer.vocab_size),
    )


def settle_loop(
    resolved: Resolved[C], train: TrainConfig, steps: int, shape: ModelConfig, **more: Any
) -> tuple[Resolved[C], Derived]:
    """The configuration with steps and microbatch of its loop `train`, and the line that says where the latter is from.

    `more`: further settings that are computed.
    """
    budget = train.microbatch_tokens or microbatch_tokens(
        shape, recompute=train.recompute, device=train.device
    )
    settled = freeze(resolved, {"train.steps": steps, "train.microbatch_tokens": budget, **more})
    return settled, Derived(
        "microbatch tokens",
        budget,
        "train.microbatch_tokens" if train.microbatch_tokens else "from the shape, so that memory is bounded",
    )


def settle_epochs(
    resolved: Resolved[C], one_epoch: int, shape: ModelConfig, *, whole: int = 0, **more: Any
) -> tuple[Resolved[C], list[Derived]]:
    """As `settle_loop`, with steps computed from `epochs` unless they are set; and the line of the steps before it.

    `one_epoch`: steps. `whole`: tokens of the longest piece that is never cut into microbatches; where it alone would
    keep more than ACTIVATION_BYTES, blocks are computed again unless `recompute` is set. The configuration has `train`
    and `epochs`.
    """
    config: Any = resolved.config
    steps = config.train.steps or max(1, round(one_epoch * config.epochs))
    why = "train.steps" if config.train.steps else f"{config.epochs:g} epochs × {one_epoch:,}"
    lines = [Derived("steps", steps, why)]
    if not config.train.recompute and resolved.source("train.recompute") == "default":
        kept = FP32 * whole * kept_by(shape, config.train)
        if kept > ACTIVATION_BYTES:
            more["train.recompute"] = True
            note = f"{whole:,} tokens at once would keep {gib(kept)} GiB; recompute=false keeps it"
            lines.append(Derived("recompute", "on", note))
    settled, microbatch = settle_loop(resolved, config.train, steps, shape, **more)
    return settled, [*lines, microbatch]
