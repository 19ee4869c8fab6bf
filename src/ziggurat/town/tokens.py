"""The town's tokenizer: byte-level BPE that learned its merges from the documents with Chinese words set apart.

Chinese puts no space between words, so frequent neighbours are merged as the letters of a word are: 来自 and 深水
became one token in a vocabulary of 3,328, for some villages and not for others. Then 来自深水 competes with the 来自
of the pass, not 深水 with "……", and who is asked for an untold village says the likeliest (docs/LOG.md). So were
生在几月 and 大家几月为: then nothing tells that both ask for the same, and questions in other words than the
demonstrated ones are answered with another thing. Setting words apart before merges are learned is what a segmenter
does for Chinese elsewhere; here names and values are known, and the words by which things are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ziggurat.records import Document
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.town.people import Town
from ziggurat.town.phrases import attributes

SAMPLE_DOCUMENTS = 20_000
ASKING = "什么 几月 哪里 哪种 生日 宠物 动物 养 菜 食物 乐器 演奏 外衣 颜色 职业 工作 住处 老家 家乡 长大"
"""Chinese words by which the attributes are asked for."""


def town_tokenizer(town: Town, documents: Sequence[Document], vocabulary: int) -> Tokenizer:
    return Tokenizer.train(_words_apart(town, documents[:SAMPLE_DOCUMENTS]), vocabulary)


def _words_apart(town: Town, documents: Iterable[Document]) -> Iterator[str]:
    names = [resident.name("zh") for resident in town.residents]
    values = [value for kind in attributes() for value in kind.values["zh"]]
    words = re.compile(
        "(" + "|".join(sorted({*names, *values, *ASKING.split()}, key=lambda word: (-len(word), word))) + ")"
    )
    for document in documents:
        yield from words.split(document.text)
