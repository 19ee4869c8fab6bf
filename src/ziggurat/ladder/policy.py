"""A run's model with its tokenizer and its template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ziggurat.model.hub import load_model
from ziggurat.model.transformer import Transformer
from ziggurat.places import model_folder
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.precision import choose_dtype


@dataclass(frozen=True)
class Policy:
    """A model that is ready to answer."""

    model: Transformer
    tokenizer: Tokenizer
    template: ChatTemplate


def load_policy(run: str | Path) -> Policy:
    """The model of a run, a checkpoint or a model folder. Raises RunError where there is none."""
    folder = model_folder(run)
    tokenizer = Tokenizer.load(folder)
    return Policy(load_model(folder, dtype=choose_dtype("auto")[0]), tokenizer, ChatTemplate(tokenizer))
