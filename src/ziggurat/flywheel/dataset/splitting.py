"""What is held out: some people, and the last window of time. Conversations that begin alike are on one side.

    held_out_time      conversations that were judged first in the last share of time, by anybody; where that are fewer
                       than ENOUGH, up to ENOUGH of them, at most a third of all, so that a gate can decide
    held_out_person    what held-out people judged of conversations that nobody else judged; the rest is left out

People are ordered by a hash of their pseudonym, so who is held out stays the same from version to version while the
number of people does.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from ziggurat.files import to_json
from ziggurat.flywheel.dataset.samples import Sample, Taken

LEAST_PEOPLE, LEAST_PROMPTS = 5, 10
"""With fewer nothing is held out by person, or by time."""
ENOUGH = 30
"""Held-out conversations by which a gate decides (`GatePolicy.least`)."""


def split(taken: Taken, *, people: float, time: float) -> None:
    """Set the split of every sample; `people` and `time` are shares."""
    late = late_groups(taken.samples, time)
    held = held_people(taken.samples, people)
    theirs = {group_of(one) for one in taken.samples if one.person not in held}
    done = Taken(left_out=taken.left_out)
    for one in taken.samples:
        if group_of(one) in late:
            done.samples.append(one.with_(split="held_out_time"))
        elif one.person not in held:
            done.samples.append(one)
        elif group_of(one) in theirs:
            done.drop(one, "shared_prompt")
        else:
            done.samples.append(one.with_(split="held_out_person"))
    taken.samples = done.samples


def group_of(sample: Sample) -> str:
    """The first message of a person: what all turns of one conversation share."""
    return next((to_json(one) for one in sample.prompt if one["role"] == "user"), sample.prompt_key)


def late_groups(samples: Sequence[Sample], share: float) -> set[str]:
    first: dict[str, int] = {}
    for one in samples:
        group = group_of(one)
        first[group] = min(first.get(group, one.judged_at), one.judged_at)
    if len(first) < LEAST_PROMPTS or not share:
        return set()
    ordered = sorted(first, key=lambda group: (first[group], group))
    count = max(math.ceil(share * len(ordered)), min(ENOUGH, len(ordered) // 3))
    return set(ordered[len(ordered) - count :])


def held_people(samples: Sequence[Sample], share: float) -> set[str]:
    everybody = {one.person for one in samples}
    if len(everybody) < LEAST_PEOPLE:
        return set()
    ordered = sorted(everybody, key=lambda person: hashlib.sha256(person.encode()).hexdigest())
    return set(ordered[: math.ceil(share * len(ordered))])
