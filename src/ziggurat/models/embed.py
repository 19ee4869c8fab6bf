"""Texts to vectors, by an encoder such as minilm: alike in meaning, near in angle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers as hf
import torch
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.encoder import Encoder, load_encoder
from ziggurat.model.padding import by_length, right_pad
from ziggurat.places import model_folder

BATCH_TOKENS = 4096
"""Tokens, padding included, computed at once."""
LONGEST = 256
"""Tokens of a text that are read, as all-MiniLM-L6-v2 was trained; what follows is left out."""


class Embedder:
    """An encoder with its tokenizer, specials of a single text included ([CLS] ... [SEP])."""

    def __init__(self, model: Encoder, tokenizer: hf.Tokenizer, name: str = "") -> None:
        self.model, self.name = model, name
        self.longest = min(LONGEST, model.config.context)
        self.tokenizer: Any = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.longest)

    @classmethod
    def load(cls, name: str | Path = "minilm") -> Embedder:
        """By a name that `ziggurat models` knows, or a folder. Raises ModelFolderError, RunError."""
        folder = model_folder(name)
        path = folder / "tokenizer.json"
        try:
            tokenizer = hf.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelFolderError(f"{path} cannot be read ({error}); fetch the model again.") from None
        return cls(load_encoder(folder), tokenizer, str(name))

    @property
    def width(self) -> int:
        return self.model.config.d_model

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, C) of unit length, fp32, in the order of the texts."""
        return self._vectors([one.ids for one in self.tokenizer.encode_batch(list(texts))])

    # what a server asks of it (`service.models.shelf.Embedding`)

    @property
    def context(self) -> int:
        return self.longest

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def text_ids(self, text: str) -> list[int]:
        """The tokens of a text, specials included, cut at the longest that is read."""
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    @torch.inference_mode()
    def embed_rows(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Vectors of unit length, in the order of the rows of `text_ids`."""
        found: list[list[float]] = self._vectors(rows).tolist()
        return found

    def _vectors(self, rows: Sequence[Sequence[int]]) -> Tensor:
        found = torch.zeros(len(rows), self.width)
        for batch in by_length([len(row) for row in rows], BATCH_TOKENS):
            ids, lengths = right_pad([rows[i] for i in batch], 0)
            found[batch] = self.model.embed(ids, lengths)
        return found
