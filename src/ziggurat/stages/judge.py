"""A reward model ready to judge: conversations in, rewards out, in the units that PPO reads.

Source: InstructGPT (arXiv:2203.02155), 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ziggurat.errors import ModelFolderError
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub.load import load_scalar
from ziggurat.places import model_folder
from ziggurat.records import Message
from ziggurat.stages.comparison_batches import render_scored
from ziggurat.stages.report_card import score_rows
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.precision import choose_dtype


class Judge:
    """A reward model with its tokenizer and its template."""

    def __init__(self, model: RewardModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.template = ChatTemplate(tokenizer)

    @classmethod
    def load(cls, name_or_path: str | Path, dtype: torch.dtype | None = None) -> Judge:
        """The reward model of a run, a checkpoint or a folder, computing in what is best here unless `dtype` says.

        Raises ModelFolderError for a language model, and for a critic: it has no scale of its own.
        """
        folder = model_folder(name_or_path)
        tokenizer = Tokenizer.load(folder)
        model = load_scalar(folder, dtype=dtype or choose_dtype()[0], tokenizer_ids=tokenizer.vocab_size)
        if not isinstance(model, RewardModel):
            raise ModelFolderError(f"{folder} holds a critic; name the run of a reward stage.")
        return cls(model, tokenizer)

    @property
    def context(self) -> int:
        """Tokens of a conversation, its last answer included."""
        return self.model.body.config.context

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def rows(self, conversations: Sequence[Sequence[Message]], what: str = "pair") -> list[list[int]]:
        """Ids of conversations that end on an answer; ContextError names the first `what` that is too long."""
        return render_scored(conversations, self.template, self.context, what)

    def score(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """One reward for each of `rows`, in their order."""
        return score_rows(self.model, rows, self.tokenizer.pad_id)
