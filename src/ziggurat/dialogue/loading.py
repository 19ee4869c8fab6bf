"""What a model is loaded with, and whether it was taught conversations."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from ziggurat.errors import UsageError
from ziggurat.lineage import manifest_around
from ziggurat.model.cpu.quantized import load_to_serve
from ziggurat.model.transformer import Transformer
from ziggurat.places import model_folder
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.device import choose_device
from ziggurat.training.precision import choose_dtype


class LoadOptions(TypedDict, total=False):
    """How a model computes, where the default is not wanted."""

    batch_invariant: bool
    weights: str  # auto, int8 or int4; see model/cpu/quantized.py
    as_trained: bool  # see `LanguageModel`
    draft: str | None  # a smaller model of the same tokenizer that guesses ahead; see engine/speculate.py


def load_weights(folder: Path, weights: str = "auto", *, base: Path | None = None) -> Transformer:
    """The model of a folder in the dtype that is served. `base`: of an adapter."""
    return load_to_serve(folder, choose_dtype()[0], weights, base=base, device=choose_device()[0])


def load_draft(name: str, tokenizer: Tokenizer) -> Transformer:
    """A smaller model that guesses for one with `tokenizer`; UsageError if it has another."""
    folder = model_folder(name)
    own = Tokenizer.load(folder)
    both = range(tokenizer.vocab_size)
    if own.vocab_size != len(both) or any(own.token_bytes(i) != tokenizer.token_bytes(i) for i in both):
        raise UsageError(
            f"{name} has another tokenizer than the model it should guess for; choose one of its family."
        )
    return load_weights(folder)


def never_chatted(folder: Path, template: ChatTemplate) -> bool:
    """Whether no stage in the lineage of the model in `folder` taught it conversations.

    Where the lineage ends in a model from elsewhere, or there is none, a model with a chat template knows them.
    """
    entry = manifest_around(folder)
    if entry is None:
        return template.is_plain
    while entry:
        stage = entry.get("stage")
        if stage is None:
            return template.is_plain
        if stage != "pretrain":
            return False
        entry = entry.get("parent")
    return True
