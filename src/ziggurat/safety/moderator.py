"""Combines the layers of an operator into one answer.

A category that no layer judges is reported: its list of applied input types is empty, and `not_judged` names it. Its
`false` means that it was not examined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ziggurat.safety.layers import CATEGORIES, Layer, Verdict


def moderator_of(patterns: Path | None = None, classifier: Path | None = None) -> Moderator:
    """The layers in these files.

    Raises:
        DataError: the patterns cannot be used.
        ModelFolderError: the classifier cannot be used.
    """
    layers: list[Layer] = []
    if patterns is not None:
        from ziggurat.safety.patterns import PatternFile  # imports pyarrow

        layers.append(PatternFile(patterns))
    if classifier is not None:
        from ziggurat.safety.classifier import Classifier

        layers.append(Classifier.load(classifier))
    return Moderator(layers)


class Moderator:
    """All layers. A category has the highest score of its layers, and is flagged if one of them flags it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)

    @property
    def name(self) -> str:
        return "ziggurat/" + "+".join(layer.name for layer in self.layers)

    def status(self) -> dict[str, str]:
        """`ok` or `stale` for each layer; the log has the reason."""
        return {layer.name: "ok" if layer.trouble is None else "stale" for layer in self.layers}

    def classify(self, texts: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """(one result for each text in OpenAI's shape, the categories that no layer judges)."""
        judged_by = [layer.classify(texts) for layer in self.layers]
        results, judged = [], set[str]()
        for i in range(len(texts)):
            verdicts = [judgements[i] for judgements in judged_by]
            judged |= {category for one in verdicts for category in one}
            results.append(_result(verdicts))
        return results, [category for category in CATEGORIES if category not in judged]


def _result(verdicts: Sequence[Mapping[str, Verdict]]) -> dict[str, Any]:
    by_category = {c: [one[c] for one in verdicts if c in one] for c in CATEGORIES}
    flags = {c: any(verdict.flagged for verdict in found) for c, found in by_category.items()}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {
            c: max((verdict.score for verdict in found), default=0.0) for c, found in by_category.items()
        },
        "category_applied_input_types": {c: ["text"] if found else [] for c, found in by_category.items()},
    }
