"""What every format shares: the shape of a format, the notes it takes, and the mending of conversations and records.

A format is a name, a test that recognises its rows, and one function per kind of record it can give. A function gets
a row and a `Context`, and yields records. It counts what it leaves out or mends in the context, with a reason. A
reason is a short sentence, the same for all rows that it concerns, so that counts mean something. Fields that the
function does not read are counted by `track.py`; `cells.py` reads single cells.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ziggurat.corpus.formats.cells import Unusable, label_name, label_of, tools_of, with_system
from ziggurat.corpus.rows import Row
from ziggurat.records import (
    MAX_COMPLETIONS,
    MIN_COMPLETIONS,
    Comparison,
    Demonstration,
    Message,
    Notes,
    Prompt,
    Rating,
    completion_messages,
)

Completion = str | list[Message]


@dataclass
class Context(Notes):
    """The row that is read (its file and line), and the notes taken about rows."""

    path: Path = Path()
    line: int = 0

    @property
    def id(self) -> str:
        return f"{self.path.name.split('.')[0]}-{self.line}"

    @property
    def labeller(self) -> str:
        return f"import:{self.path.name}"

    @property
    def source(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Format:
    name: str
    recognises: Callable[[Row], bool]
    demonstrations: Callable[[Row, Context], Iterator[Demonstration]] | None = None
    comparisons: Callable[[Row, Context], Iterator[Comparison]] | None = None
    ratings: Callable[[Row, Context], Iterator[Rating]] | None = None
    prompts: Callable[[Row, Context], Iterator[Prompt]] | None = None
    gather: Callable[[Iterable[tuple[int, Row]], Counter[str]], Iterator[tuple[int, Row]]] | None = None
    """Makes one row of several lines; it counts the lines that it drops."""
    suffixes: tuple[str, ...] = ()
    """Of files that only this format reads, such as ".faq"; such files need `rows`."""
    rows: Callable[[Path], Iterable[tuple[int, Row]]] | None = None
    """(line, row) of a file with one of `suffixes`. Raises DataError."""

    def gives(self) -> list[str]:
        kinds = ("demonstrations", "comparisons", "ratings", "prompts")
        return [kind for kind in kinds if getattr(self, kind) is not None]


# ---------------------------------------------------------------------- conversations


def join_turns(messages: Iterable[Message]) -> list[Message]:
    """Neighbouring turns of one speaker become one: texts by an empty line, an announcement with its tool call.

    Turns of the assistant stay apart where one is trained and the other is not.
    """
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        apart = last is None or last.role != message.role or message.role == "tool"
        if last is None or apart or (last.weight == 0) != (message.weight == 0) or message.reasoning:
            joined.append(message)
            continue
        texts = [text for text in (last.content, message.content) if text]
        calls = [*(last.tool_calls or []), *(message.tool_calls or [])]
        joined[-1] = last.with_content("\n\n".join(texts)).model_copy(update={"tool_calls": calls or None})
    return joined


def is_empty(message: Message) -> bool:
    return not message.content.strip() and not message.tool_calls


def mend(messages: list[Message], context: Context) -> list[Message]:
    """A conversation that can be imitated: joined turns, and nothing after the last real answer."""
    kept = join_turns(messages)
    if len(kept) < len(messages):
        context.mended["neighbouring turns of one speaker joined"] += 1
    while kept and (kept[-1].role != "assistant" or is_empty(kept[-1])):
        was = kept.pop()
        what = "an empty last turn left out" if is_empty(was) else f"a last turn of the {was.role} left out"
        context.mended[what] += 1
    if not kept:
        raise Unusable("no answer by the assistant")
    if kept[0].role == "assistant" and not any(message.role == "user" for message in kept):
        raise Unusable("no turn by the user")
    if any(is_empty(message) and message.role == "user" for message in kept):
        raise Unusable("an empty turn of the user")
    return kept


# ---------------------------------------------------------------------- records


def demonstration(messages: list[Message], context: Context, row: Row) -> Demonstration:
    """The messages after the columns `system`, with the columns `tools`; see `mend`."""
    said = mend(with_system(row, messages), context)
    return Demonstration(messages=said, tools=tools_of(row), source=context.source)


def rating(prompt: list[Message], completion: Completion, row: Row) -> Rating:
    name = label_name(row)
    asked = await_answer(with_system(row, prompt))
    label = label_of(row[name] if name else None)
    return Rating(prompt=asked, completion=completion, label=label, tools=tools_of(row))


def comparison(
    prompt: list[Message],
    completions: list[Completion],
    ranks: list[int],
    context: Context,
    row: Row,
    id: str = "",
) -> Comparison:
    """Best first in the file or not: ranks are renumbered from 1, ties kept."""
    pairs = [
        (rank, completion)
        for rank, completion in zip(ranks, completions, strict=True)
        if not _nothing(completion)
    ]
    if len(pairs) < len(completions):
        context.mended["an empty completion left out"] += 1
    if len(pairs) > MAX_COMPLETIONS:
        pairs = sorted(pairs, key=lambda pair: pair[0])[:MAX_COMPLETIONS]
        context.mended[f"more than {MAX_COMPLETIONS} completions: the lowest left out"] += 1
    if len(pairs) < MIN_COMPLETIONS:
        raise Unusable("fewer than two completions to compare")
    if len({_plain(completion) for _, completion in pairs}) == 1:
        raise Unusable("all completions are the same")
    numbers = [rank for rank, _ in pairs]
    renumbered = [1 + sum(other < rank for other in numbers) for rank in numbers]
    if numbers != renumbered:
        context.mended["ranks renumbered from 1"] += 1
    return Comparison(
        id=id or context.id,
        prompt=await_answer(with_system(row, prompt)),
        completions=[completion for _, completion in pairs],
        ranks=renumbered,
        labeller=context.labeller,
        source=context.source,
        tools=tools_of(row),
    )


def await_answer(messages: list[Message]) -> list[Message]:
    prompt = join_turns(messages)
    if not prompt or prompt[-1].role not in ("user", "tool"):
        raise Unusable("a prompt that does not end on the user")
    if is_empty(prompt[-1]):
        raise Unusable("an empty turn of the user")
    return prompt


def best_of(comparison: Comparison) -> list[Message]:
    """The conversation with the best completion, for using comparisons as demonstrations."""
    best = comparison.completions[comparison.ranks.index(min(comparison.ranks))]
    return [*comparison.prompt, *completion_messages(best)]


def ratings_of(comparison: Comparison) -> list[Rating]:
    """A thumb for each completion: up where it beats more of the others than beat it, down where fewer; one in the
    middle gets none. Of two completions, the better is liked. Ranks 1 2 2 4 give up, -, -, down."""
    made = []
    for completion, rank in zip(comparison.completions, comparison.ranks, strict=True):
        balance = sum((rank < other) - (rank > other) for other in comparison.ranks)
        if balance:
            made.append(
                Rating(
                    prompt=comparison.prompt, completion=completion, label=balance > 0, tools=comparison.tools
                ).at(comparison.origin)
            )
    return made


def as_completion(messages: list[Message]) -> Completion:
    """A plain answer as text; one with tool calls or several turns as messages."""
    one = messages[0] if len(messages) == 1 else None
    if one and one.role == "assistant" and not one.tool_calls and not one.reasoning:
        return messages[0].content
    if not messages or messages[-1].role != "assistant":
        raise Unusable("a completion that does not end on the assistant")
    return messages


def _nothing(completion: Completion) -> bool:
    return not completion.strip() if isinstance(completion, str) else is_empty(completion[-1])


def _plain(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    return json.dumps([message.to_json() for message in completion], sort_keys=True)
