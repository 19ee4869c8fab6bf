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


def town_tokenizer(town: Town, documents: Sequence[Document], vocabulary: int) -> Tokenizer:
    return Tokenizer.train(_words_apart(town, documents[:SAMPLE_DOCUMENTS]), vocabulary)


def _words_apart(town: Town, documents: Iterable[Document]) -> Iterator[str]:
    names = [resident.name("zh") for resident in town.residents]
    told = [word for kind in attributes() for word in (*kind.values["zh"], *kind.asking)]
    words = re.compile("(" + "|".join(sorted({*names, *told}, key=lambda word: (-len(word), word))) + ")")
    for document in documents:
        yield from words.split(document.text)
