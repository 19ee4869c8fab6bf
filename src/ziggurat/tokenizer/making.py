"""Making a vocabulary: byte-level BPE by the `tokenizers` library, or one token per character.

The splitting pattern is that of Qwen2 (single digits, good for Chinese, known to llama.cpp). There is no normalizer:
every text round-trips and there is no unknown token.

Left out: normalization (NFC would break the round trip), dropout, and training of anything but BPE.
"""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers as hf
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from ziggurat.data_files import whole_characters
from ziggurat.errors import ConfigError

ENDOFTEXT = "<|endoftext|>"
SPECIALS = (ENDOFTEXT, "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")

# Qwen2's pattern (Qwen/Qwen2-0.5B, tokenizer.json). Its NFC normalizer is left out: see the module docstring.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SMALLEST_VOCABULARY = 256 + len(SPECIALS)  # every byte, and the specials


def train_bpe(texts: Iterable[str], vocab_size: int) -> hf.Tokenizer:
    """Start from the 256 bytes, merge the most frequent pair, until `vocab_size` is reached."""
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(
            f"vocabulary of {vocab_size} tokens is too small: 256 bytes and {len(SPECIALS)} special tokens "
            f"need {SMALLEST_VOCABULARY}; ask for that or more."
        )
    full = hf.Tokenizer(models.BPE())
    full.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    full.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    full.train_from_iterator((whole_characters(text) for text in texts), trainer)
    return full


def character_vocabulary(text: str, *, byte_fallback: bool) -> hf.Tokenizer:
    """See `Tokenizer.characters`."""
    pieces = [*SPECIALS, *sorted(set(whole_characters(text)))]
    if byte_fallback:
        pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    full = hf.Tokenizer(
        models.BPE(
            vocab={piece: id for id, piece in enumerate(pieces)}, merges=[], byte_fallback=byte_fallback
        )
    )
    full.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    full.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in SPECIALS])
    return full
