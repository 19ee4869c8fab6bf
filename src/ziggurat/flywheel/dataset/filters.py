"""What is left out of a dataset version, each filter with the reason that it counts (PRODUCT 4.4, LAB-27)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection

from ziggurat.corpus.near import near_duplicates
from ziggurat.files import to_json
from ziggurat.flywheel.dataset.exams import Exams
from ziggurat.flywheel.dataset.samples import Sample, Taken
from ziggurat.product.mask import masked


def without_private_data(taken: Taken) -> None:
    taken.keep_if("private_data", lambda one: not any(masked(text).found for text in one.texts()))


def without_moderated(taken: Taken, flags: Callable[[list[str]], list[bool]]) -> None:
    """`flags` says of each text whether the moderation rules flag it; asked of what end users wrote themselves."""
    written = [one for one in taken.samples if one.basis == "consent" and one.kind == "demonstration"]
    if not written:
        return
    flagged = flags([one.record["messages"][-1].get("content", "") for one in written])
    bad = {one.judgement_id for one, is_flagged in zip(written, flagged, strict=True) if is_flagged}
    taken.keep_if("moderated", lambda one: one.judgement_id not in bad)


def without_exams(taken: Taken, exams: Exams) -> None:
    taken.keep_if("exam", lambda one: not any(exams.hold(text) for text in one.texts()))


def without_duplicates(taken: Taken) -> None:
    """The first of equal records stays. Two people's equal comparisons are two records, and so are their ratings."""
    seen: set[str] = set()

    def is_new(one: Sample) -> bool:
        key = content_hash(one)
        return not (key in seen or seen.add(key))  # type: ignore[func-returns-value]

    taken.keep_if("duplicate", is_new)


def content_hash(sample: Sample) -> str:
    """What makes a record this record: not when it was judged, and of a demonstration not by whom."""
    who = "" if sample.kind in ("demonstration", "prompt") else sample.person
    record = {name: value for name, value in sample.record.items() if name not in ("id", "sampling")}
    text = to_json([sample.kind, who, sorted(record.items())])
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def without_near_duplicates(taken: Taken) -> None:
    """Of prompts that share a long beginning the first stays. Records of one and the same prompt stay together."""
    first: dict[str, int] = {}
    for number, one in enumerate(taken.samples):
        first.setdefault(one.question, number)
    gone = near_duplicates(first)
    taken.keep_if("near_duplicate", lambda one: one.question not in gone)


def without_people(taken: Taken, people: Collection[str]) -> None:
    """`people`: pseudonyms in quarantine."""
    taken.keep_if("quarantined", lambda one: one.person not in people)


def within_person_cap(taken: Taken, cap: int) -> None:
    """The newest `cap` prompts of each person."""
    newest: dict[str, dict[str, None]] = {}
    for one in reversed(taken.samples):
        newest.setdefault(one.person, {}).setdefault(one.prompt_key)
    allowed = {person: set(list(prompts)[:cap]) for person, prompts in newest.items()}
    taken.keep_if("person_cap", lambda one: one.prompt_key in allowed[one.person])


def within_topic_cap(taken: Taken, cap: int) -> None:
    """The newest `cap` approved answers of each topic, as demonstrations."""
    counts: Counter[str] = Counter()
    over: set[int] = set()
    for one in reversed(taken.samples):
        if one.source == "approve" and one.kind == "demonstration":
            counts[one.topic or ""] += 1
            if counts[one.topic or ""] > cap:
                over.add(id(one))
    taken.keep_if("topic_cap", lambda one: id(one) not in over)
