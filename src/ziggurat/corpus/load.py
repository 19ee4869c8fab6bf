"""Files in, records out: the four functions through which data reaches the stages.

    load_demonstrations("alpaca.json").records      load_comparisons("hh.jsonl.gz").records
    load_ratings("kto.json").records                load_prompts("questions.jsonl").records

Native files are strict. Everything else is recognised (sniff.py) and imported (formats/). What a reader leaves out or
mends is counted by reason, and the fields that it does not use are counted by name; `Imported.summary()` says it in one
sentence. Where a file holds richer records than are needed, the obvious part is taken, and the summary says so: the
best completions of comparisons as demonstrations, the questions of anything as prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from ziggurat.corpus.formats.cells import Unusable
from ziggurat.corpus.formats.common import Context, Format, best_of, ratings_of
from ziggurat.corpus.rows import Row, read_rows
from ziggurat.corpus.sniff import Sniffed, sniff
from ziggurat.corpus.track import Tracked, count_unused
from ziggurat.errors import DataError
from ziggurat.records import (
    Comparison,
    Demonstration,
    Notes,
    Origin,
    Prompt,
    Rating,
    Record,
    Reject,
    completion_messages,
    read_records,
)

R = TypeVar("R", bound=Record)
KINDS: dict[str, type[Record]] = {
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "ratings": Rating,
    "prompts": Prompt,
}


@dataclass
class Imported(Generic[R]):
    """The records of one file, and what was done to get them."""

    records: list[R]
    format: str
    notes: Notes = field(default_factory=Notes)

    @property
    def dropped(self) -> Counter[str]:
        """Reasons for which a row gave no record, with their counts."""
        return self.notes.dropped

    @property
    def mended(self) -> Counter[str]:
        """Repairs after which a row gave a record, with their counts."""
        return self.notes.mended

    @property
    def unused(self) -> Counter[str]:
        """Fields that were not used, with the number of rows that have them."""
        return self.notes.unused

    def summary(self) -> str:
        """`300 ratings (openai messages with a label); 2 dropped: no answer by the assistant (2)`"""
        kind = type(self.records[0]).__name__.lower() if self.records else "record"
        text = f"{len(self.records):,} {kind}{'' if len(self.records) == 1 else 's'} ({self.format})"
        return text + self.notes.summary()


def load_demonstrations(path: str | Path, *, skip_bad_rows: bool = False) -> Imported[Demonstration]:
    """Conversations to imitate; of comparisons the best completion, of ratings the liked ones."""
    imported = _load(Path(path), ("demonstrations", "comparisons", "ratings"), skip_bad_rows)
    return _converted(imported, Demonstration, _as_demonstration)


def load_comparisons(path: str | Path, *, skip_bad_rows: bool = False) -> Imported[Comparison]:
    """Ranked completions."""
    return _converted(_load(Path(path), ("comparisons",), skip_bad_rows), Comparison, lambda _: None)


def load_ratings(path: str | Path, *, skip_bad_rows: bool = False) -> Imported[Rating]:
    """Thumbs up and down; of comparisons one for each completion that beats more others than beat it, or fewer."""
    imported = _load(Path(path), ("ratings", "comparisons"), skip_bad_rows)
    made: list[Record] = []
    for record in imported.records:
        if isinstance(record, Comparison):
            made += (thumbs := ratings_of(record))
            imported.mended["a thumb taken from a ranking"] += len(thumbs)
        else:
            made.append(record)
    imported.records = made
    return _converted(imported, Rating, lambda _: None)


def load_prompts(path: str | Path, *, skip_bad_rows: bool = False) -> Imported[Prompt]:
    """Questions without answers; of other records the conversation up to the last question."""
    imported = _load(Path(path), ("prompts", "demonstrations", "comparisons", "ratings"), skip_bad_rows)
    native = bool(imported.records) and isinstance(imported.records[0], Prompt)
    prompts = _converted(imported, Prompt, _as_prompt)
    return prompts if native else _unique(prompts)


# ---------------------------------------------------------------------- reading


def _load(path: Path, accepted: tuple[str, ...], skip_bad_rows: bool) -> Imported[Record]:
    sniffed = sniff(path)
    given = gives(sniffed)
    wanted = next((name for name in accepted if name in given), None)
    if wanted is None:
        has = f"{' and '.join(given)} ({sniffed.name})" if given else "raw text"
        raise DataError(
            f"holds {has}, and {accepted[0]} are needed here; docs/data.md shows their formats.",
            path=path,
        )
    if sniffed.native is not None:
        rejects: list[Reject] = []
        notes = Notes()
        records = list(
            read_records(path, sniffed.native, skip_bad_rows=skip_bad_rows, rejects=rejects, notes=notes)
        )
        if rejects:
            notes.dropped["bad rows skipped"] = len(rejects)
        return Imported(records, sniffed.name, notes)
    assert sniffed.format is not None
    return _import(path, sniffed.format, wanted)


def gives(sniffed: Sniffed) -> list[str]:
    """The kinds of record in a file; none: raw text."""
    if sniffed.native is not None:
        return [name for name, kind in KINDS.items() if kind is sniffed.native]
    return sniffed.format.gives() if sniffed.format is not None else []


def _import(path: Path, format: Format, wanted: str) -> Imported[Record]:
    make: Callable[[Row, Context], Iterator[Record]] = getattr(format, wanted)
    context = Context(path=path)
    rows = iter(format.rows(path)) if format.rows else read_rows(path, context)
    records: list[Record] = []
    for line, row in format.gather(rows, context.dropped) if format.gather else rows:
        context.line = line
        if format.gather is None and not format.recognises(row):
            context.dropped[f"not a row of {format.name}"] += 1
            continue
        tracked = Tracked(row)
        try:
            records.extend(record.at(Origin(path, line)) for record in make(tracked, context))
            count_unused(tracked, context.unused)
        except Unusable as reason:
            context.dropped[str(reason)] += 1
        except ValidationError as error:
            detail = error.errors()[0]
            context.dropped[
                f"unexpected {'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
            ] += 1
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            context.dropped[f"a row of unexpected shape ({type(error).__name__}: {error})"] += 1
    if not records:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in context.dropped.most_common(3))
        raise DataError(f"no row of this file ({format.name}) is usable: {reasons or 'no rows'}.", path=path)
    return Imported(records, format.name, context)


# ---------------------------------------------------------------------- taking the obvious part


def _converted(
    imported: Imported[Record], kind: type[R], convert: Callable[[Record], tuple[R, str] | None]
) -> Imported[R]:
    records: list[R] = []
    dropped, mended = imported.dropped, imported.mended
    for record in imported.records:
        if isinstance(record, kind):
            records.append(record)
            continue
        made = convert(record)
        if made is None:
            dropped[f"a {type(record).__name__.lower()} that gives no {kind.__name__.lower()}"] += 1
        else:
            records.append(made[0].at(record.origin))
            mended[made[1]] += 1
    return Imported(records, imported.format, imported.notes)


def _as_demonstration(record: Record) -> tuple[Demonstration, str] | None:
    if isinstance(record, Comparison):
        return Demonstration(
            messages=best_of(record), source=record.source, tools=record.tools
        ), "the best completion taken as the answer"
    if isinstance(record, Rating) and record.label:
        messages = [*record.prompt, *completion_messages(record.completion)]
        return Demonstration(messages=messages, tools=record.tools), "a liked completion taken as the answer"
    return None


def _as_prompt(record: Record) -> tuple[Prompt, str] | None:
    if isinstance(record, Comparison | Rating):
        return Prompt(prompt=record.prompt, tools=record.tools), "the prompt taken alone"
    assert isinstance(record, Demonstration)
    messages, answer = list(record.messages), ""
    while messages and messages[-1].role == "assistant":
        answer = messages.pop().content
    if not messages or messages[-1].role == "system":
        return None
    return Prompt(
        prompt=messages, tools=record.tools, meta={"answer": answer} if answer else None
    ), "the conversation up to its last question taken as the prompt"


def _unique(prompts: Imported[Prompt]) -> Imported[Prompt]:
    seen: set[str] = set()
    kept: list[Prompt] = []
    for prompt in prompts.records:
        key = prompt.model_dump_json(exclude={"meta"})
        if key in seen:
            prompts.dropped["the same prompt again"] += 1
        else:
            seen.add(key)
            kept.append(prompt)
    return Imported(kept, prompts.format, prompts.notes)
