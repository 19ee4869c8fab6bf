"""Settings of stage 1, and all that is settled before its first step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ziggurat.console import human_count
from ziggurat.corpus.pack import pack_rows
from ziggurat.errors import ConfigError
from ziggurat.home import located, portable
from ziggurat.model.accounting import flops_per_token, total_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import check_model
from ziggurat.model.presets import OURS, preset, sized
from ziggurat.places import find_run, model_folder
from ziggurat.records import Document
from ziggurat.settings import Config, Resolved, resolve
from ziggurat.stages import setup, stage
from ziggurat.stages.removed import REMOVED
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import settle_loop
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.training.config import SHORT, TrainConfig
from ziggurat.training.cost import text_cost

CONTINUED_LR_SHARE = 0.3
"""Continued pre-training begins at this share of the parent run's peak rates."""


class PretrainConfig(Config):
    """Settings of stage 1. -1 and 0 mean "computed", where a field says so; what came out is in config.yaml."""

    short = SHORT
    removed = REMOVED["PretrainConfig"]

    base: str = ""
    """Continue from this run or Hugging Face folder; then its shape and tokenizer are taken as they are."""

    model: str = "town"
    """Named preset of a new model (`ziggurat.model.presets`)."""

    shape: dict[str, int | float | bool | str] = Field(default_factory=dict)
    """Fields of the preset to change, such as {layers: 6, d_model: 384}; heads and d_ff follow a changed d_model."""

    tokenizer: int | str = 2048
    """A vocabulary size to train on this text, "characters", or a folder that holds a tokenizer."""

    tokenizer_sample_mb: float = Field(default=50.0, gt=0)
    """The tokenizer is trained on so many million characters from the front of the text."""

    context: int = Field(default=256, ge=2)
    """Tokens T of a row, and the context of a new model."""

    batch_tokens: int = Field(default=4096, ge=1)
    """Tokens of one optimizer step; rounded to whole rows."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the text; only read to compute train.steps where that is 0."""

    held_out_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of the text kept for evaluation, unless held-out documents are given."""

    eval_characters: int = Field(default=100_000, ge=1)
    """Held-out characters scored at each evaluation."""

    train: TrainConfig = TrainConfig(steps=0, warmup_steps=0)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[PretrainConfig]):
    """Stage 1 before its first step."""

    model_config: ModelConfig
    rows: NDArray[np.int32]
    """(N, T+1)"""
    batch_rows: int
    held_out: list[str]


def pretrain_config(base: str | Path | None = None, *layers: tuple[str, Any]) -> Resolved[PretrainConfig]:
    """The configuration from its layers; with a base, its run's training settings are inherited."""
    if not base:
        return resolve(PretrainConfig, *layers)

    written = portable(base) if Path(base).is_absolute() else str(base)
    settings = {"base": written, **setup.inherited(find_run(str(base)), lr_share=CONTINUED_LR_SHARE)}
    return resolve(PretrainConfig, ("inherited", settings), *layers)


def prepare(
    resolved: Resolved[PretrainConfig],
    documents: Sequence[Document],
    *,
    held_out: Sequence[Document] | None = None,
    data: list[dict[str, Any]] | None = None,
    run_path: Path | None = None,
) -> Prepared:
    """Tokenizer, shape, rows and every derived number. A run already begun in `run_path` lends its tokenizer."""

    config = resolved.config
    setup.need(documents, "documents")
    if config.train.adapts and not config.base:
        raise ConfigError(
            f'trainable is "{config.train.trainable}", but there is no base for an adapter; give --base, or train all.'
        )
    learn, held = (
        (documents, held_out)
        if held_out is not None
        else setup.split_held_out(documents, config.held_out_share)
    )
    texts = [d.text for d in learn]
    tokenizer, base_folder, tokenizer_why = _tokenizer(config, texts, run_path)
    shape = _model_config(resolved, tokenizer, base_folder)
    T = min(config.context, shape.context)
    rows = pack_rows(tokenizer.encode_documents(texts), T, tokenizer.endoftext_id)
    batch_rows = max(1, round(config.batch_tokens / T))
    steps = config.train.steps or max(1, math.ceil(len(rows) * config.epochs / batch_rows))
    settled, microbatch = settle_loop(resolved, config.train, steps, shape)
    held_why = "given" if held_out is not None else f"share {config.held_out_share:g}"
    derived = [
        Derived("vocabulary", shape.vocab_size, tokenizer_why),
        Derived(
            "parameters", human_count(total_parameters(shape)), f"{shape.layers} layers × {shape.d_model}"
        ),
        Derived("text tokens", len(rows) * T, f"{len(learn):,} documents in {len(rows):,} rows of {T}"),
        Derived("held-out documents", len(held), held_why),
        *_derived_steps(config, shape, len(rows), batch_rows, steps),
        microbatch,
    ]
    return Prepared(
        resolved=settled,
        parent=base_folder,
        tokenizer=tokenizer,
        derived=derived,
        data=setup.entries(data, documents=documents),
        model_config=shape,
        rows=rows,
        batch_rows=batch_rows,
        held_out=setup.take_characters((d.text for d in held), config.eval_characters),
        cost=text_cost(shape, settled.config.train, T, batch_rows),
    )


def _derived_steps(
    config: PretrainConfig, shape: ModelConfig, rows: int, batch_rows: int, steps: int
) -> list[Derived]:
    """What the steps come to, for `rows` rows of text."""

    T, one_epoch = min(config.context, shape.context), math.ceil(rows / batch_rows)
    tokens = steps * batch_rows * T
    steps_why = "train.steps" if config.train.steps else f"{config.epochs:g} epochs × {one_epoch:,}"
    return [
        Derived("rows per step", batch_rows, f"batch_tokens {config.batch_tokens:,} / {T}"),
        Derived("steps", steps, steps_why),
        Derived("tokens to learn from", tokens, f"{steps * batch_rows / rows:.2f} epochs"),
        Derived("compute", human_count(flops_per_token(shape, T) * tokens) + "FLOP", "accounting"),
    ]


def _tokenizer(
    config: PretrainConfig, texts: Sequence[str], run_path: Path | None
) -> tuple[Tokenizer, Path | None, str]:

    if config.base:
        folder = model_folder(config.base)
        return Tokenizer.load(folder), folder, f"tokenizer of {folder}"
    if run_path and (run_path / "tokenizer" / "tokenizer.json").is_file():
        return Tokenizer.load(run_path / "tokenizer"), None, "tokenizer of this run"
    if isinstance(config.tokenizer, str) and config.tokenizer != "characters":
        folder = located(config.tokenizer)
        if not (folder / "tokenizer.json").is_file():
            raise ConfigError(
                f'Setting "tokenizer"={config.tokenizer!r}: no tokenizer.json there; '
                'give a vocabulary size, "characters" or a folder with one.'
            )
        return Tokenizer.load(folder), None, f"tokenizer of {folder}"
    sample = setup.take_characters(texts, int(config.tokenizer_sample_mb * 1e6))
    if config.tokenizer == "characters":
        return Tokenizer.characters("".join(texts)), None, "the different characters of the text, and bytes"
    return (
        Tokenizer.train(sample, int(config.tokenizer)),
        None,
        f"trained on {sum(map(len, sample)):,} characters",
    )


def _model_config(
    resolved: Resolved[PretrainConfig], tokenizer: Tokenizer, base_folder: Path | None
) -> ModelConfig:

    config = resolved.config
    if base_folder is None:
        sizes = {"vocab_size": tokenizer.vocab_size, "context": config.context}
        named = preset(config.model)
        if "d_model" in config.shape and config.model in OURS:
            d_head = int(config.shape.get("d_head", named.d_head))
            named = sized(layers=named.layers, d_model=int(config.shape["d_model"]), d_head=d_head, **sizes)
        return resolve(ModelConfig, ("preset", named), ("derived", sizes), ("shape", config.shape)).config
    given = [k for k in ("model", "shape", "tokenizer") if resolved.source(k) != "default"]
    if given:
        raise ConfigError(
            f'{", ".join(given)} cannot be set together with base "{config.base}": its shape and tokenizer are kept; '
            "leave them out, or leave out the base."
        )
    return check_model(base_folder, tokenizer.vocab_size)
