"""Checks OpenAI's training files line by line, and gives their records in this project's form.

    supervised   {"messages": [...], "tools": [...]}                                       -> demonstrations
    dpo          {"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}
                                                                                           -> comparisons

Nothing is trained on a file with a bad line. The report names the first 100 bad lines with their reasons, and counts
duplicates, empty answers, characters and, where a tokenizer is at hand, tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from pydantic import ValidationError

from ziggurat.records import Comparison, Demonstration, Message
from ziggurat.store.audit import value_hash

Method = Literal["supervised", "dpo"]
Count = Callable[[list[Message]], int]
"""Tokens of a conversation."""

MAX_ERRORS = 100
MAX_LINE = 4 << 20
"""Characters of one line."""
SUPERVISED_FIELDS = frozenset({"messages", "tools", "parallel_tool_calls", "metadata"})
DPO_FIELDS = frozenset({"input", "preferred_output", "non_preferred_output", "metadata"})


class BadLine(Exception):
    """Why a line cannot be trained on."""


def lines_of(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file that comes in parts."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


def check(
    parts: Iterable[bytes], *, count: Count | None = None, tokenizer: str | None = None
) -> dict[str, Any]:
    """The report of a training file: {method, examples, errors, bad_lines, duplicates, empty_answers, characters,
    tokens, tokenizer}. `method` is None where no line could be read."""
    errors: list[dict[str, Any]] = []
    bad = examples = duplicates = empty = characters = tokens = 0
    method: Method | None = None
    seen: set[str] = set()
    for number, raw in enumerate(lines_of(parts), 1):
        if not raw.strip():
            continue
        try:
            row = _row(raw)
            kind: Method = "dpo" if "preferred_output" in row or "input" in row else "supervised"
            if method is not None and kind != method:
                raise BadLine(f"this line is for {kind} training, and the lines above are for {method}")
            record = record_of(row, kind, number)
        except BadLine as error:
            bad += 1
            if len(errors) < MAX_ERRORS:
                errors.append({"line": number, "reason": str(error)})
            continue
        method = method or kind
        examples += 1
        digest = value_hash(row)
        duplicates += digest in seen
        seen.add(digest)
        conversations = conversations_of(record)
        empty += any(not said[-1].content.strip() and not said[-1].tool_calls for said in conversations)
        characters += sum(len(one.content) for said in conversations for one in said)
        if count is not None:
            tokens += sum(count(said) for said in conversations)
    if not examples and not bad:
        bad, errors = 1, [{"line": 1, "reason": "the file has no lines"}]
    return {
        "method": method,
        "examples": examples,
        "bad_lines": bad,
        "errors": errors,
        "duplicates": duplicates,
        "empty_answers": empty,
        "characters": characters,
        "tokens": tokens if count is not None else None,
        "tokenizer": tokenizer if count is not None else None,
    }


def records(parts: Iterable[bytes], method: Method) -> Iterator[Demonstration | Comparison]:
    """The records of a file that was checked.

    Raises:
        BadLine: a line is bad after all.
    """
    for number, raw in enumerate(lines_of(parts), 1):
        if raw.strip():
            yield record_of(_row(raw), method, number)


def record_of(row: dict[str, Any], method: Method, number: int) -> Demonstration | Comparison:
    """
    Raises:
        BadLine: why it is none.
    """
    allowed = SUPERVISED_FIELDS if method == "supervised" else DPO_FIELDS
    if unknown := sorted(set(row) - allowed):
        raise BadLine(f"there is no field {unknown[0]!r}; there are {', '.join(sorted(allowed))}")
    try:
        if method == "supervised":
            return Demonstration.model_validate({"messages": row.get("messages"), "tools": row.get("tools")})
        given = row.get("input")
        if not isinstance(given, dict):
            raise BadLine("input must be an object with messages")
        outputs = [_output(row, name) for name in ("preferred_output", "non_preferred_output")]
        return Comparison.model_validate(
            {
                "id": f"line-{number}",
                "prompt": given.get("messages"),
                "completions": outputs,
                "ranks": [1, 2],
                "tools": given.get("tools") or None,
            }
        )
    except ValidationError as error:
        raise BadLine(_reason(error)) from None


def _output(row: dict[str, Any], name: str) -> Any:
    value = row.get(name)
    if not isinstance(value, list) or not value:
        raise BadLine(f"{name} must be a list with a message of the assistant")
    return value


def _row(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_LINE:
        raise BadLine(f"the line has {len(raw):,} bytes; at most {MAX_LINE:,} are read")
    try:
        row = json.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadLine(f"this is not JSON in UTF-8 ({error})") from None
    if not isinstance(row, dict):
        raise BadLine("a line must be a JSON object")
    return row


def _reason(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    said = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def conversations_of(record: Demonstration | Comparison) -> list[list[Message]]:
    """All that is read of one record: a conversation, or one for each completion."""
    if isinstance(record, Demonstration):
        return [record.messages]
    return [
        [*record.prompt, *([Message(role="assistant", content=one)] if isinstance(one, str) else one)]
        for one in record.completions
    ]
