"""Open-Assistant: whole trees, `{"prompt": {"text": "Hi", "role": "prompter", "replies": [{"text": "Hello", "rank": 0,
"role": "assistant", "replies": []}]}}`, or one message a row with `message_id` and `parent_id` (oasst1, oasst2).

Each path from the root to a last answer is a demonstration; an answer that lies on several paths is trained in the
first only (weight 0 in the others), so that no answer counts twice. Sibling answers that people ranked are one
comparison; their ranks begin at 0 in the file. Source: LAION-AI/Open-Assistant (arXiv:2304.07327).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ziggurat.corpus.formats.cells import Unusable, role_of, text_of
from ziggurat.corpus.formats.common import Context, Format, comparison, demonstration
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Demonstration, Message


def _message(node: Row) -> Message:
    return Message(role=role_of(node.get("role")), content=text_of(node.get("text")))


def _replies(node: Row) -> list[Row]:
    """Replies that were not deleted, best rank first, unranked ones last."""
    replies = [reply for reply in node.get("replies") or [] if not reply.get("deleted")]
    return sorted(replies, key=lambda reply: (reply.get("rank") is None, reply.get("rank") or 0))


def _paths(node: Row, before: list[Row]) -> Iterator[list[Row]]:
    path = [*before, node]
    replies = _replies(node)
    if not replies:
        yield path
    for reply in replies:
        yield from _paths(reply, path)


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    paths = [_to_last_answer(path, context) for path in _paths(row["prompt"], [])]
    inner = {id(node) for path in paths for node in path[:-1]}
    trained: set[int] = set()
    for path in paths:
        if not path or id(path[-1]) in trained | inner:
            continue  # an unanswered question, or a path that is the beginning of another
        messages = [_message(node) for node in path]
        for node, message in zip(path, messages, strict=True):
            if id(node) in trained:
                message.weight = 0
        trained.update(id(node) for node in path if node.get("role") == "assistant")
        yield demonstration(messages, context, row)
    if not trained:
        raise Unusable("no answer by the assistant")


def _to_last_answer(path: list[Row], context: Context) -> list[Row]:
    end = len(path)
    while end and path[end - 1].get("role") != "assistant":
        end -= 1
        context.mended["a last turn of the user left out"] += 1
    return path[:end]


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    found = False
    for path in _questions(row["prompt"], []):
        answers = [reply for reply in _replies(path[-1]) if reply.get("role") == "assistant"]
        ranked = [answer for answer in answers if answer.get("rank") is not None]
        if len(ranked) < len(answers):
            context.mended["unranked answers left out"] += len(answers) - len(ranked)
        if len(ranked) < 2:
            continue
        found = True
        prompt = [_message(node) for node in path]
        texts = [text_of(answer["text"]) for answer in ranked]
        ranks = [int(answer["rank"]) for answer in ranked]
        try:
            yield comparison(
                prompt, list(texts), ranks, context, row, id=str(path[-1].get("message_id") or context.id)
            )
        except Unusable as reason:
            context.dropped[str(reason)] += 1
    if not found:
        raise Unusable("no question with two ranked answers")


def _questions(node: Row, before: list[Row]) -> Iterator[list[Row]]:
    path = [*before, node]
    if node.get("role") != "assistant":
        yield path
    for reply in _replies(node):
        yield from _questions(reply, path)


def _trees(rows: Iterable[tuple[int, Row]], dropped: Counter[str]) -> Iterator[tuple[int, Row]]:
    """One message a row -> one tree a row, in the order of their roots.

    Messages that hang on no root (the parent is missing, or a parent comes round to itself) are counted as dropped.
    """
    nodes: dict[Any, Row] = {}
    roots: list[tuple[int, Row]] = []
    for line, row in rows:
        if not _is_message(row):
            dropped["not a row of open-assistant messages"] += 1
            continue
        if row["message_id"] in nodes:
            dropped["a message_id that an earlier row has"] += 1
            continue
        node = nodes[row["message_id"]] = {**row, "replies": []}
        if row.get("parent_id") is None:
            roots.append((line, {"prompt": node}))
    lost = 0
    for node in nodes.values():
        parent = nodes.get(node.get("parent_id"))
        if parent is not None:
            parent["replies"].append(node)
        elif node.get("parent_id") is not None:
            lost += 1
    reached = sum(_size(root["prompt"]) for _, root in roots)
    if lost:
        dropped["a message whose parent is not in the file"] += lost
    if len(nodes) - reached - lost:
        dropped["a message below one whose parent is not in the file"] += len(nodes) - reached - lost
    yield from roots


def _size(node: Row) -> int:
    """The messages of a tree."""
    count, waiting = 0, [node]
    while waiting:
        node = waiting.pop()
        count += 1
        waiting += node["replies"]
    return count


def _is_message(row: Row) -> bool:
    return {"message_id", "text", "role"} <= set(row)


def _is_tree(row: Row) -> bool:
    prompt = row.get("prompt")
    return isinstance(prompt, dict) and "text" in prompt and "replies" in prompt


OASST = Format("open-assistant trees", _is_tree, demonstrations=_demonstrations, comparisons=_comparisons)
OASST_MESSAGES = Format(
    "open-assistant messages",
    _is_message,
    demonstrations=_demonstrations,
    comparisons=_comparisons,
    gather=_trees,
)
