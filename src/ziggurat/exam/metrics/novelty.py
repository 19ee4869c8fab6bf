"""Is an answer new, or copied from the training text? The longest run of words that both share, word for word.

    score      1 where the longest run is shorter than `words` (default 13, as in GPT-3's test of overlap,
               arXiv:2005.14165, appendix C)
    longest    its length in words (a Chinese character is a word); runs shorter than 5 words count as 0
    copied     the share of the answer's words in shared runs of `words` or more

The corpora are the settings' `files`, or the data files of the model's lineage (setting `model`, which the room gives).
A prompt that asks for a quotation belongs into no task with this metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ziggurat.corpus.verbatim import Verbatim, covered, longest
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.reading import MissingData, data_path
from ziggurat.exam.rules import parts
from ziggurat.files import sampled_sha256


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    Raises:
        MissingData: there is no corpus to compare with.
    """
    index = _index(tuple(map(str, settings.get("files", ()))), str(settings.get("model", "")))
    least = int(settings.get("words", 13))
    fewest = int(settings.get("at_least", 0))
    found = [index.runs(answer) for answer in answers]
    lengths = [longest(runs) for runs in found]
    scores = {
        "score": sum(
            length < least and len(parts.words(answer)) >= fewest
            for length, answer in zip(lengths, answers, strict=True)
        )
        / len(lengths),
        "longest": sum(lengths) / len(lengths),
        "copied": sum(covered(runs, least) for runs in found) / len(found),
    }
    return Mark(scores, f"{max(lengths)} words copied" if max(lengths) >= least else "", {"longest": lengths})


@lru_cache(1)
def _index(files: tuple[str, ...], model: str) -> Verbatim:
    from ziggurat.exam.contamination import texts_in

    paths = _paths(files, model)
    if not paths:
        raise MissingData(
            f"novelty compares answers with the training text, and {model or 'the model'} has none here; "
            "name files in metric.settings.files, or examine a model that was trained on this machine."
        )
    return Verbatim(text for path in paths for text in texts_in(path))


def _paths(files: tuple[str, ...], model: str) -> list[Path]:
    from ziggurat.exam.contamination import corpora_of

    return [data_path(name, Path()) for name in files] or (corpora_of(model).files if model else [])


def basis(settings: Mapping[str, Any]) -> str:
    """The hash of the corpora."""
    paths = _paths(tuple(map(str, settings.get("files", ()))), str(settings.get("model", "")))
    return sampled_sha256(paths) if paths else ""
