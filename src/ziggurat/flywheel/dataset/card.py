"""The card of a dataset version: what it holds, from whom, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.evaluation.rank_agreement import pair_agreement
from ziggurat.flywheel.dataset.filters import content_hash
from ziggurat.flywheel.dataset.objects import BuildSettings
from ziggurat.flywheel.dataset.samples import REASONS, Sample, Taken
from ziggurat.flywheel.worth.assessment import Assessment
from ziggurat.flywheel.worth.features import text_of
from ziggurat.store.clock import iso


def make_card(
    name: str,
    n: int,
    sha256: str,
    files: Mapping[str, Mapping[str, Any]],
    settings: BuildSettings,
    taken: Taken,
    assessment: Assessment,
    *,
    before: set[str] | None,
) -> dict[str, Any]:
    """`before`: hashes of the parent's records. No clock: the same data make the same card."""
    samples = taken.samples
    now = {content_hash(one) for one in samples}
    train = [one for one in samples if one.split == "train"]
    return {
        "name": name,
        "version": n,
        "sha256": sha256,
        "files": {file: dict(found) for file, found in files.items()},
        "records": len(train),
        "held_out": len(samples) - len(train),
        "judgements": len({one.judgement_id for one in samples}),
        "judged": {"from": _time(samples, min), "to": _time(samples, max)},
        "counts": {
            "kind": _counts(train, "kind"),
            "split": _counts(samples, "split"),
            "source": _counts(samples, "source"),
            "person": _counts(samples, "person"),
            "model": _counts(samples, "model"),
            "lang": _counts(samples, "lang"),
            "topic": _counts(samples, "topic"),
        },
        "weak": sum(one.weak for one in train),
        "weight": {"mean": round(sum(one.weight for one in train) / max(1, len(train)), 4)},
        "agreement": taken.agreement,
        "consent": {
            "basis": _counts(samples, "basis"),
            "consents": len({one.consent_id for one in samples if one.consent_id and one.basis == "consent"}),
        },
        "people": {name: person.to_dict() for name, person in sorted(assessment.people.items())},
        "left_out": {
            reason: {"count": count, "why": REASONS[reason]}
            for reason, count in sorted(Counter(one.reason for one in taken.left_out).items())
        },
        "settings": settings.model_dump(mode="json"),
        "since_parent": None
        if before is None
        else {"added": len(now - before), "removed": len(before - now)},
    }


def _time(samples: Sequence[Sample], pick: Any) -> str | None:
    return iso(pick(one.judged_at for one in samples)) if samples else None


def _counts(samples: Sequence[Sample], name: str) -> dict[str, int]:
    found = Counter(str(getattr(one, name) or "unknown") for one in samples)
    return dict(sorted(found.items()))


def agreement(samples: Sequence[Sample]) -> dict[str, Any]:
    """Of pairs that two people ordered, the share ordered alike, with its interval by prompts."""
    prompts: dict[str, dict[str, dict[str, int]]] = {}
    for one in samples:
        if one.kind == "comparison":
            texts = [text_of(completion) for completion in one.record["completions"]]
            ranks = dict(zip(texts, one.record["ranks"], strict=True))
            prompts.setdefault(one.prompt_key, {}).setdefault(one.person, {}).update(ranks)
    shared = [people for people in prompts.values() if len(people) > 1]
    found = pair_agreement(shared, ties=False)
    return {"pairs": found.to_dict(), "prompts": len(shared)}
