"""A tokenizer from the two files that GPT-2 was published with: a vocabulary (JSON) and its merges (text, one a line).

    encoder.json, vocab.bpe     as OpenAI named them
    vocab.json, merges.txt      as Hugging Face's folders without tokenizer.json name them

Bytes are split as GPT-2 splits them; the only special token is <|endoftext|>, 50256 of 50,257.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers as hf
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from ziggurat.errors import ModelFolderError

PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


def files_of(folder: Path) -> tuple[Path, Path] | None:
    """The vocabulary and the merges of a folder, if it has such files."""
    for vocabulary, merges in PAIRS:
        if (folder / vocabulary).is_file() and (folder / merges).is_file():
            return folder / vocabulary, folder / merges
    return None


def misfit(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> str | None:
    """The first merge that does not fit a vocabulary, in words: the library panics at such a one."""
    for merge in merges:
        if any(one not in vocab for one in (*merge, "".join(merge))):
            return f"the merge {' '.join(merge)!r} has tokens that the vocabulary lacks"
    return None


def byte_level(vocabulary: Path, merges: Path, end: str) -> hf.Tokenizer:
    """Byte-level BPE with `end` as its special token. ModelFolderError for files that do not fit together."""
    try:
        vocab = json.loads(vocabulary.read_text(encoding="utf-8"))
        lines = merges.read_text(encoding="utf-8").splitlines()
        halves = [line.partition(" ") for line in lines if line and not line.startswith("#version")]
        pairs = [(left, right) for left, _, right in halves]
        if problem := misfit(vocab, pairs):
            raise ValueError(problem)
        full = hf.Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    except Exception as error:  # the library raises bare Exception
        raise ModelFolderError(
            f"{vocabulary} and {merges.name} are not a vocabulary and its merges ({error}); fetch both again."
        ) from None
    full.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    full.decoder = decoders.ByteLevel()
    if end in vocab:
        full.add_special_tokens([AddedToken(end, special=True, normalized=False)])
    return full
