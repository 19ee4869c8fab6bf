"""The files of a dataset version, a pure function of its items: the same items give the same bytes.

    $ZIGGURAT_HOME/datasets/<name>/v<n>/
        demonstrations.jsonl comparisons.jsonl ratings.jsonl prompts.jsonl        to learn from
        held-out-demonstrations.jsonl held-out-comparisons.jsonl ...              to measure with
        card.json                                                                what it holds, and what was left out

A file without records is not written. `prompts.jsonl` holds every prompt of the other files once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ziggurat.files import replace_folder, to_json, write_json
from ziggurat.home import ziggurat_home
from ziggurat.records import Comparison, Demonstration, Prompt, Rating, Record

CARD, CARD_VERSION = "card.json", 1
KINDS: dict[str, tuple[str, type[Record]]] = {
    "demonstration": ("demonstrations", Demonstration),
    "comparison": ("comparisons", Comparison),
    "rating": ("ratings", Rating),
    "prompt": ("prompts", Prompt),
}


def folder_of(name: str, n: int) -> Path:
    return ziggurat_home() / "datasets" / name / f"v{n}"


def rows_of_files(items: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """File name -> records. An item is `{kind, split, content}`; one without content was deleted."""
    found: dict[str, list[dict[str, Any]]] = {}
    prompts: dict[str, dict[str, None]] = {}
    for item in items:
        content = item["content"]
        if content is None:
            continue
        side = "" if item["split"] == "train" else "held-out-"
        if item["kind"] != "prompt":
            found.setdefault(f"{side}{KINDS[item['kind']][0]}.jsonl", []).append(content)
        if asked := prompt_of(content):
            prompts.setdefault(f"{side}prompts.jsonl", {}).setdefault(to_json(_sorted(asked)))
    for name, each in prompts.items():
        found[name] = [{"prompt": json.loads(prompt)} for prompt in each]
    return dict(sorted(found.items()))


def prompt_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation before the answer that is learned."""
    if "prompt" in record:
        return list(record["prompt"])
    turns = list(record["messages"])
    last = max((i for i, turn in enumerate(turns) if turn["role"] in ("user", "tool")), default=-1)
    return turns[: last + 1]


def texts_of(items: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, bytes]]:
    """File name -> (records, bytes)."""
    kinds = dict(KINDS.values())
    found = {}
    for name, rows in rows_of_files(items).items():
        kind = kinds[name.removesuffix(".jsonl").removeprefix("held-out-")]
        lines = [to_json(kind.model_validate(_sorted(row)).to_json()) for row in rows]
        found[name] = len(lines), "".join(f"{line}\n" for line in lines).encode()
    return found


def measure(items: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each file with its records and SHA-256."""
    return {
        name: {"records": count, "sha256": hashlib.sha256(data).hexdigest()}
        for name, (count, data) in texts_of(items).items()
    }


def _sorted(value: Any) -> Any:
    """Free-form objects in alphabetical order: PostgreSQL keeps none."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(inner) for inner in value] if isinstance(value, list | tuple) else value


def hash_of(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash of all files, the card apart."""
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def put(folder: Path, items: Sequence[Mapping[str, Any]], card: Mapping[str, Any]) -> None:
    """Write a version's folder as a whole, in place of what is there; killed at any moment, none or all of it is."""

    def write(aside: Path) -> None:
        for name, (_, data) in texts_of(items).items():
            (aside / name).write_bytes(data)
        write_json(aside / CARD, _sorted(card), CARD_VERSION)
        (aside / "README.md").write_text(readme(_sorted(card)), encoding="utf-8")

    folder.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(folder, write)


def readme(card: Mapping[str, Any]) -> str:
    """The card for people."""
    lines = [f"# {card['name']} v{card['version']}", "", f"SHA-256 of the data: `{card['sha256']}`", ""]
    lines += _table("Files", ("file", "records"), ((k, v["records"]) for k, v in card["files"].items()))
    for title, name in (
        ("By kind of judgement", "source"),
        ("By person", "person"),
        ("By model", "model"),
        ("By language", "lang"),
    ):
        lines += _table(title, (name, "records"), card["counts"][name].items())
    lines += _table(
        "Left out",
        ("reason", "count", "what it means"),
        ((k, v["count"], v["why"]) for k, v in card["left_out"].items()),
    )
    return "\n".join(lines)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    body = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    if not body:
        return []
    return [f"## {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body, ""]
