"""A reward model ready to judge: conversations in, rewards out, in the units that PPO reads.

Source: InstructGPT (arXiv:2203.02155), 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ziggurat.errors import ContextError, DataError, ModelFolderError
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub.load import load_scalar
from ziggurat.places import model_folder, reasoning_of
from ziggurat.records import Message, Reasoning
from ziggurat.stages.report_card import score_rows
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.device import place
from ziggurat.training.precision import choose_dtype


class Judge:
    """A reward model with its tokenizer and its template."""

    def __init__(self, model: RewardModel, tokenizer: Tokenizer, *, reasoning: Reasoning = "trained") -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.template = ChatTemplate(tokenizer, reasoning=reasoning)

    @classmethod
    def load(cls, name_or_path: str | Path, dtype: torch.dtype | None = None) -> Judge:
        """The reward model of a run, a checkpoint or a folder, computing in what is best here unless `dtype` says.

        Raises ModelFolderError for a language model, and for a critic: it has no scale of its own.
        """
        folder = model_folder(name_or_path)
        tokenizer = Tokenizer.load(folder)
        model = place(
            load_scalar(folder, dtype=dtype or choose_dtype()[0], tokenizer_ids=tokenizer.vocab_size)
        )
        if not isinstance(model, RewardModel):
            raise ModelFolderError(f"{folder} holds a critic; name the run of a reward stage.")
        return cls(model, tokenizer, reasoning=reasoning_of(folder))

    @property
    def context(self) -> int:
        """Tokens of a conversation, its last answer included."""
        return self.model.body.config.context

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def rows(self, conversations: Sequence[Sequence[Message]], what: str = "pair") -> list[list[int]]:
        """Ids of conversations up to the end of their last answer, where the reward is read.

        DataError names the first `what` without an answer, ContextError the first that is too long.
        """
        rows = []
        for number, rendered in enumerate(self.template.render_many(conversations), start=1):
            trained = [i for i, flag in enumerate(rendered.mask) if flag]
            if not trained:
                role = conversations[number - 1][-1].role
                raise DataError(
                    f"{what} {number} ends on {role!r} with nothing to score; end on the assistant."
                )
            if trained[-1] >= self.context:
                raise ContextError(
                    f"{what} {number} has {trained[-1] + 1:,} tokens, the model's context is {self.context:,}; "
                    "shorten or drop it"
                )
            rows.append(rendered.ids[: trained[-1] + 1])
        return rows

    def score(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """One reward for each of `rows`, in their order."""
        return score_rows(self.model, rows, self.tokenizer.pad_id)
