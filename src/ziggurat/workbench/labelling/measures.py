"""Which measures of agreement belong to which task, and their values with intervals (docs/agreement.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from ziggurat.evaluation import agreement, rank_agreement
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.workbench.labelling.answered import Answers, labels, rankings, text_of
from ziggurat.workbench.labelling.values import score

Measure = dict[str, Any]
Values = Mapping[str, Mapping[str, Any]]
"""Item to value."""


def of_rankings(found: Answers) -> list[Measure]:
    """Of rankings and of pairs: what the two have in common, the order of completions."""
    items = [people for people in rankings(found) if len(people) > 1]
    made = [
        measure("pair_agreement", rank_agreement.pair_agreement(items, ties=True)),
        measure("pair_agreement_untied", rank_agreement.pair_agreement(items, ties=False)),
    ]
    if found.task == "ranking":
        made.append(measure("kendall_tau_b", rank_agreement.kendall(items)))
        made.append(measure("alpha_ordinal", rank_agreement.ranking_alpha(items)))
    else:
        made += of_strengths(found)
    return made


def of_strengths(found: Answers) -> list[Measure]:
    """Of pairwise answers with their strength, -3 to 3; "both bad" is left out, since it says nothing of strength."""
    items = [
        {
            who: int(one.value.get("strength") or 0)
            for who, one in people.items()
            if one.value.get("verdict") != "both_bad"
        }
        for people in found.by_item().values()
    ]
    return [
        measure("alpha_ordinal", agreement.krippendorff(items, "ordinal")),
        measure("mean_difference", agreement.mean_difference(items)),
    ]


def of_label(found: Answers, key: str, scale: str) -> list[Measure]:
    """Of any number of people."""
    items = labels(found, key)
    if scale == "likert":
        return [
            measure("alpha_ordinal", agreement.krippendorff(items, "ordinal")),
            measure("mean_difference", agreement.mean_difference(items)),
            measure("raw_agreement", agreement.raw_agreement(items)),
        ]
    return [
        measure("raw_agreement", agreement.raw_agreement(items)),
        measure("fleiss_kappa", agreement.fleiss_kappa(items)),
        measure("alpha_nominal", agreement.krippendorff(items, "nominal")),
    ]


def of_two(items: Sequence[tuple[Any, Any]], scale: str) -> list[Measure]:
    """One label of two people, of a person and gold, of a judge model and a person."""
    both = [{"a": a, "b": b} for a, b in items]
    if scale == "likert":
        return [
            measure("weighted_kappa", agreement.weighted_kappa(list(items))),
            measure("alpha_ordinal", agreement.krippendorff(both, "ordinal")),
            measure("mean_difference", agreement.mean_difference(both)),
        ]
    return [
        measure("raw_agreement", agreement.raw_agreement(both)),
        measure("cohen_kappa", agreement.cohen_kappa(list(items))),
        measure("alpha_nominal", agreement.krippendorff(both, "nominal")),
    ]


def of_spans(found: Answers) -> list[Measure]:
    """The mean overlap (F1 over marked characters with their labels) of two people's spans."""
    values, clusters = [], []
    for item_id, people in found.by_item().items():
        for one, other in combinations(people.values(), 2):
            values.append(score("spans", one.value, other.value) or 0.0)
            clusters.append(item_id)
    return [measure("span_overlap", cluster_bootstrap(values, clusters))]


def of_texts(found: Answers) -> list[Measure]:
    """The mean edit distance of two people's texts; not a gate, since good answers differ."""
    values, clusters = [], []
    for item_id, people in found.by_item().items():
        for one, other in combinations(people.values(), 2):
            texts = (text_of(found.task, one.value)[:20_000], text_of(found.task, other.value)[:20_000])
            values.append(rank_agreement.edit_distance(*texts))
            clusters.append(item_id)
    return [measure("edit_distance", cluster_bootstrap(values, clusters))]


BY_TASK: dict[str, Callable[[Answers], list[Measure]]] = {
    "ranking": of_rankings,
    "pairwise": of_rankings,
    "spans": of_spans,
    "demonstration": of_texts,
    "prompt": of_texts,
    "rewrite": of_texts,
}


def measure(name: str, found: Interval) -> Measure:
    """`{name, value, low, high, items, too_few}`; a figure that is not defined is null."""
    numbers = {
        key: None if math.isnan(x) else round(float(x), 4)
        for key, x in (("value", found.value), ("low", found.low), ("high", found.high))
    }
    return {"name": name, **numbers, "items": found.clusters, "too_few": agreement.too_few(found)}


def shares(found: Answers, key: str) -> dict[str, float]:
    """The prevalence of each value of a label, as text."""
    return {_word(v): round(x, 4) for v, x in agreement.prevalence(labels(found, key)).items()}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def overlap(found: Answers) -> int:
    """Items that at least two people answered."""
    return sum(len(people) > 1 for people in found.by_item().values())


def paired(found: Answers, ours: Values, theirs: Values) -> Answers:
    """Two values of each item that has both, as the answers of two people: a person's and gold's, a judge's and the
    consensus's."""
    example = {one.item_id: one for one in found.found}
    made = []
    for item_id in sorted(ours.keys() & theirs.keys() & example.keys()):
        for who, values in (("person", ours), ("reference", theirs)):
            made.append(replace(example[item_id], person=who, value=values[item_id]))
    return Answers(found.task, made)
