"""Our own records (DESIGN section 5) inside a JSON array or CSV; in JSON Lines and Parquet they are read strictly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ziggurat.corpus.formats.cells import label_of, tools_of, with_system
from ziggurat.corpus.formats.common import Context, Format, as_completion, join_turns
from ziggurat.corpus.formats.openai import is_messages, messages
from ziggurat.corpus.rows import Row
from ziggurat.corpus.track import plain
from ziggurat.records import Comparison, Prompt, Rating, Record


def _fields(row: Row, kind: type[Record]) -> dict[str, Any]:
    """The fields of a record that the row has, with its messages read as leniently as any importer reads them."""
    fields = {key: plain(row[key]) for key in kind.model_fields if row.get(key) is not None}
    fields["tools"] = tools_of(row)
    return {**fields, "prompt": with_system(row, messages(row["prompt"]))}


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    yield Comparison.model_validate(
        {"id": context.id, "labeller": context.labeller, **_fields(row, Comparison)}
    )


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    completion = row["completion"]
    if is_messages(completion):
        completion = as_completion(join_turns(messages(completion)))
    fields = {**_fields(row, Rating), "completion": completion, "label": label_of(row["label"])}
    yield Rating.model_validate(fields)


def _prompts(row: Row, _: Context) -> Iterator[Prompt]:
    yield Prompt.model_validate(_fields(row, Prompt))


NATIVE_COMPARISON = Format(
    "comparison", lambda row: {"prompt", "completions", "ranks"} <= set(row), comparisons=_comparisons
)
NATIVE_RATING = Format(
    "rating",
    lambda row: is_messages(row.get("prompt")) and {"completion", "label"} <= set(row),
    ratings=_ratings,
)
NATIVE_PROMPT = Format(
    "prompt",
    lambda row: is_messages(row.get("prompt")) and set(row) <= {"prompt", "meta", "tools", "system"},
    prompts=_prompts,
)
