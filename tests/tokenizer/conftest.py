"""A tokenizer from elsewhere, small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers as hf
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.making import ENDOFTEXT


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Tokenizer]:
    """Makes a GPT-2-like tokenizer in tmp_path, as Hugging Face folders hold them: specials after the vocabulary."""

    def make(extra: list[AddedToken] | None = None, **config: object) -> Tokenizer:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocab = {char: id for id, char in enumerate(alphabet)}
        full = hf.Tokenizer(models.BPE(vocab=vocab, merges=[]))
        full.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        full.decoder = decoders.ByteLevel()
        full.add_special_tokens(
            [AddedToken(ENDOFTEXT, special=True), AddedToken("<|im_start|>", special=True)]
        )
        full.add_special_tokens([AddedToken("<|im_end|>", special=True)])
        full.add_tokens(extra or [])
        full.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return Tokenizer.load(tmp_path)

    return make
