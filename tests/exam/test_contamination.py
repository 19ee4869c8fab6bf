"""Items that a model's own data hold are found, and only those."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ziggurat.corpus.overlap import Overlap
from ziggurat.exam.contamination import corpora_of, overlaps
from ziggurat.exam.reading import read_task
from ziggurat.exam.run import sit
from ziggurat.exam.switches import Switches
from ziggurat.files import sha256_file

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
CHINESE = "白日依山尽黄河入海流欲穷千里目更上一层楼"


def test_thirteen_words_in_a_row() -> None:
    words = LONG.split()
    look = Overlap(
        {"long": [LONG], "chinese": [CHINESE], "short": ["too short to say"], "eight": [" ".join("abcdefgh")]}
    )
    assert look.judged == {"long", "chinese", "eight"}
    look.read(" ".join(words[:12]) + " and then " + " ".join(words[3:]))  # 12 words twice, never 13
    look.read("白日依山尽，黄河入海流。")  # 10 characters
    look.read("a b c d e f g")
    assert look.found == set()
    look.read("Before: One, two THREE " + " ".join(words[3:13]) + "!")
    assert look.found == {"long"}
    look.read("诗曰：黄河入海流，欲穷千里目，更上一层楼。")
    look.read("z a b c d e f g h i")
    assert look.found == {"long", "chinese", "eight"}


def test_common_wording_says_nothing() -> None:
    """All items begin with the same rule; a corpus that holds the rule alone holds none of them."""
    items = {
        str(i): [f"{LONG} and now the number {i} {i} {i} {i} {i} {i} {i} {i} {i} {i} {i}"] for i in range(30)
    }
    look = Overlap(items)
    look.read(LONG)
    assert look.found == set()
    look.read(items["7"][0])
    assert look.found == {"7"}


def test_the_data_of_a_lineage_is_read_once(write_task: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"messages": [{"role": "user", "content": f"So: {LONG}"}]}) + "\n")
    text = tmp_path / "book.txt"
    text.write_text("nothing of it")
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    entry = {"path": str(data), "sha256": sha256_file(data), "records": 1}
    parent = {
        "path": "x",
        "stage": "pretrain",
        "data": [{"path": str(text)}, {"path": str(tmp_path / "gone.jsonl")}],
    }
    (run / "manifest.json").write_text(json.dumps({"stage": "sft", "data": [entry], "parent": parent}))
    rows = [
        {"id": "seen", "question": LONG, "answer": "1"},
        {"id": "new", "question": LONG[::-1], "answer": "2"},
    ]
    rows.append({"id": "short", "question": "What?", "answer": "3"})
    task = read_task(write_task(rows=rows))
    corpora = corpora_of(str(run / "model"))
    assert [path.name for path in corpora.files] == ["data.jsonl", "book.txt"]
    assert corpora.gone == ["gone.jsonl (not there any more)"]
    wanted = {"mine": {"seen": True, "new": False}}
    assert overlaps(corpora, [task]) == wanted
    assert overlaps(corpora, [task]) == wanted  # from what was kept


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("old")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    known = {"stage": "sft", "parent": None, "data": [{"path": str(data), "sha256": sha256_file(data)}]}
    (tmp_path / "manifest.json").write_text(json.dumps(known))
    assert corpora_of(str(tmp_path / "model")).files == [data]
    data.write_text("new and longer")
    assert corpora_of(str(tmp_path / "model")).gone == ["data.txt (changed since the model learned from it)"]


def test_common_wording_alone_is_not_judged() -> None:
    assert Overlap({str(i): [LONG] for i in range(30)}).judged == set()


def test_only_items_that_were_sat_count_and_a_finished_result_is_looked_at_again(
    write_task: Callable[..., Path], scripted: Any
) -> None:
    task = read_task(write_task())
    candidate = scripted(lambda text: "1")
    first = sit(candidate, task, Switches(limit=2), overlap={"1": True, "2": False, "7": True, "8": True})
    assert (first.figure["contaminated"], first.figure["judged"]) == (0.5, 2)
    again = sit(candidate, task, Switches(limit=2), overlap={"1": True, "2": True})
    assert again.figure["contaminated"] == 1.0
    assert sit(candidate, task, Switches(limit=2)).figure == again.figure


def test_a_model_from_elsewhere_has_no_lineage(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert corpora_of(str(tmp_path)).files == []
