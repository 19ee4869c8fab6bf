"""Rows of published files below $ZIGGURAT_DATA, for shipped tasks that do not ship the data.

A generator (see `exam/generators`), with the settings `publisher` and `file` (tasks/gsm8k/task.yaml).
Without the folder or the file, the task is skipped, and the message says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ziggurat.corpus.rows import read_rows, read_text
from ziggurat.errors import DataError, UsageError, did_you_mean


def rows(count: int, seed: int, *, publisher: str, file: str) -> list[dict[str, Any]]:
    """The first `count` rows of `$ZIGGURAT_DATA/<file>`, in the form of `publisher`.

    Raises:
        MissingData: the file is not there.
    """
    from ziggurat.exam.publishers import PUBLISHERS, open_published
    from ziggurat.exam.reading import DATA, data_path

    del seed
    path = data_path(f"{DATA}/{file}", Path(file))
    if publisher in READERS:
        found = list(READERS[publisher](path))
    elif publisher in PUBLISHERS:
        (task,) = open_published(publisher, path)
        found = [dict(row) for row in task.rows]
    else:
        hint = did_you_mean(publisher, [*READERS, *PUBLISHERS])
        raise UsageError(f"rows.settings.publisher is {publisher!r}, which is no publisher.{hint}")
    return found[:count]


def articles(path: Path) -> Iterator[dict[str, Any]]:
    """WikiText: articles, cut at their titles (` = Title = ` on a line of its own)."""
    text = read_text(path)
    starts = [match.start() for match in re.finditer(r"^ = [^=\n]+ = *$", text, re.MULTILINE)]
    if not starts:
        raise DataError("there is no title of the form ` = Title = `, so it is not WikiText.", path=path)
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), start=1):
        yield {"id": str(number), "text": text[start:stop].strip("\n")}


def preferences(path: Path) -> Iterator[dict[str, Any]]:
    """HH-RLHF: the shared conversation, and the answers that a person preferred and did not, in an order by hash."""
    for line, row in read_rows(path):
        chosen, rejected = str(row.get("chosen")), str(row.get("rejected"))
        cut = chosen.rfind("\n\nAssistant:") + len("\n\nAssistant:")
        if cut < len("\n\nAssistant:") or rejected.rfind("\n\nAssistant:") + len("\n\nAssistant:") != cut:
            continue  # the conversations part before the last answer
        front = chosen[:cut]
        better, worse = chosen[cut:].strip(), rejected[cut:].strip()
        if rejected[:cut] != front or not better or not worse or better == worse:
            continue
        first = int(hashlib.sha256(f"{front}{better}{worse}".encode()).hexdigest(), 16) % 2
        yield {
            "id": str(line),
            "conversation": front.strip(),
            "choices": [better, worse] if first == 0 else [worse, better],
            "answer": first,
        }


READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    "hh": preferences,
    "wikitext": articles,
}
"""Files that are no test set of their own."""
