"""People's comparisons as a judge is held against them: votes, picks, pairs and rankings of the store, ties kept.

Consents are respected as they are for training (`permission.py`): what may not be learned from is not read to a judge.
Three reasons that keep a judgement out of training do not keep it out here, since they say nothing about consent: known
items, items on which people disagree, and answers that an adjudication replaced. "Both are bad" is a tie. A vote whose
answers named their models is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from ziggurat.exam.judges.agreement import Opinion, opinion
from ziggurat.flywheel.dataset.making import content_of, id_of
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.reading import current
from ziggurat.product import mask
from ziggurat.records import Message
from ziggurat.store.store import Store

COMPARED = ("vote", "pick", "pairwise", "ranking")
ALLOWED = ("gold", "conflicted", "overruled")
SPOKEN = ("system", "user", "assistant", "tool")


def read(conn: Connection, workspace_id: str) -> tuple[list[Opinion], dict[str, int]]:
    """The opinions that may be used, oldest first, and how many judgements were left out for which reason."""
    rows = [row for row in current(conn, workspace_id) if row.kind in COMPARED]
    permission = Permission.of(conn, rows)
    found: list[Opinion] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        reason = permission.reason_against(row)
        one = None
        if reason is None or reason in ALLOWED:
            reason = "leaked" if row.value.get("leaked") else None
            one = None if reason else of_judgement(row)
            reason = reason or (None if one else "unusable")
        if one is not None:
            found.append(one)
        else:
            left_out[reason or "unusable"] += 1
    return _latest(found), dict(sorted(left_out.items()))


def of_judgement(row: Any) -> Opinion | None:
    """None where the judgement ranks nothing."""
    ranks = _ranks(row)
    if ranks is None or len(ranks) != len(row.completions):
        return None
    messages = [
        Message(role=one["role"], content=str(one.get("content") or ""))
        for one in row.prompt
        if one.get("role") in SPOKEN
    ]
    answers = [(content_of(one), rank) for one, rank in zip(row.completions, ranks, strict=True)]
    if not messages or any(not text.strip() for text, _ in answers):
        return None
    return opinion(row.person_id, messages, answers, [str(one.get("model") or "") for one in row.completions])


def masked(store: Store, workspace_id: str, opinions: Sequence[Opinion]) -> list[Opinion]:
    """The opinions as a judge on another server may read them, by the workspace's policy on private data.

    Raises:
        Invalid: they hold private data, and the policy refuses that.
    """
    made = []
    for one in opinions:
        told = {"messages": [message.content for message in one.messages], "texts": list(one.texts.values())}
        (sent,) = mask.outgoing(store, workspace_id, [told])
        messages = tuple(
            message.model_copy(update={"parts": Message(role=message.role, content=text).parts})
            for message, text in zip(one.messages, sent["messages"], strict=True)
        )
        made.append(replace(one, messages=messages, texts=dict(zip(one.texts, sent["texts"], strict=True))))
    return made


def _ranks(row: Any) -> list[int] | None:
    """The rank of each completion, in their order."""
    ids = [id_of(one) for one in row.completions]
    value: Mapping[str, Any] = row.value
    if row.kind == "ranking":
        given = [value.get("ranks", {}).get(name) for name in ids]
        if value.get("not_rankable") or any(rank is None for rank in given):
            return None
        return [int(rank) for rank in given]
    if len(ids) != 2:
        return None
    if row.kind == "pairwise":
        strength = int(value.get("strength") or 0)
        return [1, 2] if strength < 0 else [2, 1] if strength > 0 else [1, 1]
    winner = value.get("winner")
    if row.kind == "vote":
        winner = {"a": ids[0], "b": ids[1]}.get(str(winner), winner)
    return [1, 1] if winner not in ids else [1 if name == winner else 2 for name in ids]


def _latest(found: Sequence[Opinion]) -> list[Opinion]:
    """One opinion of a person about an item: the newest."""
    return list({(one.item, one.person): one for one in found}.values())
