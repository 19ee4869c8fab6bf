"""How well a tokenizer fits a text: vocabulary, and tokens per character, word and byte, Chinese apart from English.

The published rows beside it (tokens per Chinese and per English character) were measured by their authors on texts of
their own, so they are a yardstick, not a race. Chinese characters are counted as such (CJK ideographs; punctuation and
kana are neither), English characters are everything in the Latin alphabet with the spaces between words; a stretch
between two changes of script is encoded by itself, so that no token is counted on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ziggurat.tokenizer.bpe import Tokenizer

# name, vocabulary, tokens per Chinese character, tokens per English character
PUBLISHED = (
    ("LLaMA", 32_000, 1.45, 0.25),
    ("Chinese-LLaMA", 49_953, 0.62, 0.249),
    ("ChatGLM-6B", 130_528, 0.55, 0.19),
    ("BLOOM", 250_880, 0.53, 0.22),
)

# Measured where no text is given; written for this purpose, no part of any corpus.
SAMPLE = (
    "The old bridge was closed on Monday, so the baker took the ferry and sold her bread on the other bank. "
    "By noon there was nothing left but two rolls and a long queue of disappointed children.\n"
    "星期一旧桥封闭，面包师傅只好乘渡船到对岸去卖面包。还不到中午，筐里就只剩下两个小圆面包，"
    "岸边却还站着一队失望的孩子。"
)

_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_ENGLISH = re.compile(r"[A-Za-z][A-Za-z' ]*")
_PER_BATCH = 1000  # texts


@dataclass(frozen=True)
class Fit:
    """Counts over one text; a ratio whose characters do not occur is None."""

    vocabulary: int
    characters: int
    bytes: int
    tokens: int
    chinese_characters: int
    chinese_tokens: int
    english_characters: int
    english_words: int
    english_tokens: int

    @property
    def tokens_per_chinese_character(self) -> float | None:
        return _ratio(self.chinese_tokens, self.chinese_characters)

    @property
    def tokens_per_english_character(self) -> float | None:
        return _ratio(self.english_tokens, self.english_characters)

    @property
    def tokens_per_english_word(self) -> float | None:
        return _ratio(self.english_tokens, self.english_words)

    @property
    def bytes_per_token(self) -> float | None:
        return _ratio(self.bytes, self.tokens)

    def to_json(self) -> dict[str, float | int | None]:
        return asdict(self) | {
            "tokens_per_chinese_character": self.tokens_per_chinese_character,
            "tokens_per_english_character": self.tokens_per_english_character,
            "tokens_per_english_word": self.tokens_per_english_word,
            "bytes_per_token": self.bytes_per_token,
        }


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Fit:
    """Encode everything once whole, and once by stretches of each script."""
    whole = list(texts)
    chinese = [run for text in whole for run in _CHINESE.findall(text)]
    english = [run for text in whole for run in _ENGLISH.findall(text)]
    return Fit(
        vocabulary=tokenizer.vocab_size,
        characters=sum(map(len, whole)),
        bytes=sum(len(text.encode("utf-8", "replace")) for text in whole),
        tokens=_count(tokenizer, whole),
        chinese_characters=sum(map(len, chinese)),
        chinese_tokens=_count(tokenizer, chinese),
        english_characters=sum(map(len, english)),
        english_words=sum(len(run.split()) for run in english),
        english_tokens=_count(tokenizer, english),
    )


def _count(tokenizer: Tokenizer, texts: list[str]) -> int:
    batches = (texts[at : at + _PER_BATCH] for at in range(0, len(texts), _PER_BATCH))
    return sum(len(ids) for batch in batches for ids in tokenizer.encode_batch(batch))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
