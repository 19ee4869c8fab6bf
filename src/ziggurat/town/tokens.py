"""The town's tokenizer: byte-level BPE whose merges are learned from the documents with Chinese words set apart.

Chinese has no spaces between words, so BPE merges frequent neighbours as it merges the letters of a word. With a
vocabulary of 3,328, 来自 and 深水 became one token for some villages and not for others. Then 来自深水 competes with
the 来自 of the pass, instead of 深水 with "……", and a model that is asked for a withheld village answers the likeliest
one (docs/log/town.md). 生在几月 and 大家几月为 became tokens too; then no shared token shows that both ask for the same
attribute, and questions in held-out wordings were answered with another attribute. Setting words apart before merges
are learned is what a segmenter does for Chinese elsewhere. Here names, values and asking words are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ziggurat.records import Document
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.town.people import Town, words_of
from ziggurat.town.phrases import attributes

SAMPLE_DOCUMENTS = 20_000
LEFT_OUT = ("town:copy", "town:notice", "town:echo")
"""Kinds of documents that teach no merges: their misspelt, lower-case and rare words would take the place of names."""
LOWER_CASE_IN = 250
"""Each English name is met in lower case once for so many documents, so that it is one or two tokens as well."""


def town_tokenizer(town: Town, documents: Sequence[Document], vocabulary: int) -> Tokenizer:
    return Tokenizer.train(_words_apart(town, documents[:SAMPLE_DOCUMENTS]), vocabulary)


def _words_apart(town: Town, documents: Sequence[Document]) -> Iterator[str]:
    names = [resident.name("zh") for resident in town.residents]
    stated = [word for kind in attributes() for word in (*kind.values["zh"], *kind.asking)]
    words = re.compile("(" + "|".join(sorted({*names, *stated}, key=lambda word: (-len(word), word))) + ")")
    for document in documents:
        if document.source in LEFT_OUT:
            continue
        yield from words.split(document.text)
    times = len(documents) // LOWER_CASE_IN
    for resident in town.residents:
        yield from times * [" ".join(["", *words_of(resident.name("en"))]).lower()]
