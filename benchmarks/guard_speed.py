"""What the guard costs, and how often it stops harmless text of public data.

    ZIGGURAT_DATA=FOLDER python benchmarks/guard_speed.py

Speed: microseconds for one piece of a stream (4 characters of English, 2 of Chinese) and for one request. False stops:
instructions and questions of public data sets (Alpaca in English and Chinese, Self-Instruct, GSM8K, Gaokao) as
requests, and answers, articles, plays and poems (Alpaca, WikiText, Shakespeare, Tang and Song poems) as answers, those
of them that are in the folder. What was stopped is printed. Prints lines, then one line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ziggurat.console import out
from ziggurat.messages import Message
from ziggurat.safety.guard import Guard
from ziggurat.safety.sources import Builtin

EN = "Mira walks by the canal and writes that you should go and see the market on Friday. "
ZH = "米拉在运河边散步，她说你应该去看看星期五的市场，没有人会错过这个机会。"


def rows(path: Path) -> list[Any]:
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as file:
        return json.load(file) if path.suffix == ".json" else [json.loads(line) for line in file]


def requests_of(folder: Path) -> Iterator[tuple[str, str]]:
    for name, field in (
        ("alpaca_en_demo.json", "instruction"),
        ("alpaca_zh_demo.json", "instruction"),
        ("self_instruct_seed_tasks.jsonl", "instruction"),
        ("gsm8k_test.jsonl", "question"),
        ("gaokao_objective_zh.jsonl.gz", "question"),
    ):
        if (folder / name).exists():
            for row in rows(folder / name):
                if text := row.get(field):
                    yield name, f"{text}\n{row.get('input', '')}"


def answers_of(folder: Path) -> Iterator[tuple[str, str]]:
    for name in ("alpaca_en_demo.json", "alpaca_zh_demo.json"):
        if (folder / name).exists():
            for row in rows(folder / name):
                yield name, row["output"]
    for name in ("wikitext2_test.txt", "shakespeare.txt", "wiki_demo.txt"):
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8")
            yield from ((name, text[i : i + 1_500]) for i in range(0, len(text), 1_500))
    for name in ("poems_zh.jsonl.gz", "songci_zh.jsonl.gz"):
        if (folder / name).exists():
            for row in rows(folder / name)[:5_000]:
                yield name, "".join(map(str, row.values()))


def piece_us(guard: Guard, text: str, size: int) -> float:
    found = []
    for _ in range(5):
        watch, begin = guard.watch(), time.perf_counter()
        for i in range(0, len(text), size):
            watch.feed(text[i : i + size])
        watch.end()
        found.append((time.perf_counter() - begin) / (len(text) / size) * 1e6)
    return statistics.median(found)


def request_us(guard: Guard, text: str) -> float:
    found = []
    for _ in range(30):
        begin = time.perf_counter()
        guard.before([Message(role="user", content=text)])
        found.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(found)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    guard = Guard(Builtin())
    figures: dict[str, Any] = {
        "us for a piece, English": round(piece_us(guard, EN * 24, 4)),
        "us for a piece, Chinese": round(piece_us(guard, ZH * 24, 2)),
        "us for a request of 80 characters": round(request_us(guard, EN)),
        "us for a request of 2,000 characters": round(request_us(guard, EN * 24)),
        "us for a request of 32,000 characters": round(request_us(guard, EN * 385)),
    }
    folder = Path(os.environ.get("ZIGGURAT_DATA", "."))
    tried: dict[str, list[int]] = {}
    for name, text in requests_of(folder):
        count = tried.setdefault(f"requests, {name}", [0, 0])
        asked = guard.before([Message(role="user", content=text)])
        count[0] += 1
        count[1] += asked.acts or any(rule.id.startswith("selfharm") for rule in asked.conditions)
        if asked.acts or any(rule.id.startswith("selfharm") for rule in asked.conditions):
            matched = [(match.rule.id, match.view, match.text) for match in asked.matches]
            out.print(f"request, {name}: {text[:150]!r} {matched}", markup=False, soft_wrap=True)
    for name, text in answers_of(folder):
        count = tried.setdefault(f"answers, {name}", [0, 0])
        watch = guard.watch()
        watch.feed(text)
        watch.end()
        count[0] += 1
        if watch.decision is not None:
            count[1] += 1
            matched = [(match.rule.id, match.view, match.text) for match in watch.decision.matches]
            out.print(f"answer, {name}: {matched}", markup=False, soft_wrap=True)
    figures["stopped"] = {name: f"{stopped} of {count}" for name, (count, stopped) in tried.items()}
    out.print(json.dumps(figures, ensure_ascii=False), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
