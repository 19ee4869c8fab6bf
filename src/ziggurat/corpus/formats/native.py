"""Our own records (DESIGN section 5) inside a JSON array or CSV; in JSON Lines and Parquet they are read strictly."""

from __future__ import annotations

from collections.abc import Iterator

from ziggurat.corpus.formats.common import Context, Format
from ziggurat.corpus.formats.openai import is_messages
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Prompt, Rating


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    yield Comparison.model_validate({"id": context.id, "labeller": context.labeller, **row})


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    yield Rating.model_validate(row)


def _prompts(row: Row, _: Context) -> Iterator[Prompt]:
    yield Prompt.model_validate(row)


NATIVE_COMPARISON = Format(
    "comparison", lambda row: {"prompt", "completions", "ranks"} <= set(row), comparisons=_comparisons
)
NATIVE_RATING = Format(
    "rating",
    lambda row: is_messages(row.get("prompt")) and {"completion", "label"} <= set(row),
    ratings=_ratings,
)
NATIVE_PROMPT = Format(
    "prompt", lambda row: is_messages(row.get("prompt")) and set(row) <= {"prompt", "meta"}, prompts=_prompts
)
