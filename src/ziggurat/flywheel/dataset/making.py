"""Training records of what was judged (rating, comparison, demonstration), and completions as records hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

WEAK_WEIGHT = 0.5
"""Of a thumb, of both bad, of a program's metric."""
Made = tuple[str, dict[str, Any], dict[str, Any]]
"""Kind, record, further fields of the sample."""


class Unused(Exception):
    """This judgement makes no record; the argument is a name of REASONS."""


def rating(row: Any, completion: Mapping[str, Any], label: bool, *, weak: bool = False, **more: Any) -> Made:
    if label:
        check_finished(completion)
    if not content_of(completion) and not completion.get("tool_calls"):
        raise Unused("unfinished")
    record = {"prompt": row.prompt, "completion": as_completion(completion), "label": label}
    weight = WEAK_WEIGHT if weak else 1.0
    return "rating", record, {"weak": weak, "weight": weight, "ids": (id_of(completion),), **more}


def better_text(
    row: Any,
    text: str,
    answer: Mapping[str, Any] | None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Made]:
    """A person's text, better than the answer where there is one."""
    messages = [*row.prompt, {"role": "assistant", "content": text}]
    yield "demonstration", {"messages": messages}, dict(more)
    if answer is not None and content_of(answer).strip() not in ("", text.strip()):
        kind, record, others = record_of_two(row, text, as_completion(answer))
        yield kind, record, {**others, **more}


def record_of_two(row: Any, better: Any, worse: Any) -> Made:
    record = {"id": row.id, "prompt": row.prompt, "completions": [better, worse], "ranks": [1, 2]}
    return "comparison", record, {"ids": (f"{row.id}:text", f"{row.id}:answer")}


def of_two(row: Any, winner: str, *, weight: float = 1.0) -> Iterator[Made]:
    """A comparison of two completions, or two ratings where both are bad."""
    if len(row.completions) != 2:
        raise Unused("unusable")
    ids = [id_of(one) for one in row.completions]
    if winner == "both_bad":
        yield from (rating(row, one, False, weak=True) for one in row.completions)
    elif winner in ids:
        ranks = [1 if one == winner else 2 for one in ids]
        yield comparison(row, row.completions, ranks, weight=weight)
    else:
        raise Unused("tie")


def comparison(
    row: Any, completions: Sequence[Mapping[str, Any]], ranks: list[int], *, weight: float = 1.0
) -> Made:
    if len(set(ranks)) == 1:
        raise Unused("tie")
    if any(one.get("state") == "failed" for one in completions):
        raise Unused("unfinished")
    models = {one.get("model") for one in completions}
    policy = models.pop() if len(models) == 1 else None
    sampling = (row.sampling or {}).get(id_of(completions[0]))
    record = {
        "id": row.id,
        "prompt": row.prompt,
        "completions": [as_completion(one) for one in completions],
        "ranks": ranks,
        **({"policy": policy} if policy else {}),
        **({"sampling": sampling} if sampling else {}),
    }
    ids = tuple(id_of(one) for one in completions)
    return "comparison", record, {"weight": weight, "ids": ids, "shown": tuple(row.shown)}


def id_of(completion: Mapping[str, Any]) -> str:
    return str(completion.get("id") or completion.get("message_id") or "")


def content_of(completion: Mapping[str, Any]) -> str:
    return str(completion.get("content") or "")


def check_finished(completion: Mapping[str, Any]) -> None:
    """An answer that is to be imitated came to its end."""
    if completion.get("state", "complete") not in ("complete", "held", "delivered") or (
        completion.get("finish_reason") in ("length", "content_filter", "error")
    ):
        raise Unused("unfinished")


def answer_of(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The completion as a turn."""
    reasoning, calls = completion.get("reasoning"), completion.get("tool_calls")
    turn: dict[str, Any] = {"role": "assistant", "content": content_of(completion)}
    return [
        turn
        | ({"reasoning_content": reasoning} if reasoning else {})
        | ({"tool_calls": calls} if calls else {})
    ]


def as_completion(completion: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    """As a record holds it: a text, or a turn where there is more than a text."""
    (turn,) = answer_of(completion)
    return turn["content"] if len(turn) == 2 else [turn]


def language_of(record: Mapping[str, Any]) -> str:
    """zh where the last message of a person holds Chinese characters, else en."""
    turns = record.get("prompt") or record.get("messages") or []
    text = next((one["content"] for one in reversed(turns) if one["role"] == "user"), "")
    return "zh" if any("\u4e00" <= c <= "\u9fff" for c in text) else "en"
