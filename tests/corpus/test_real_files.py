"""The real files beside the checkout load without editing anything; skipped, saying so, where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.corpus.check import LOADERS
from ziggurat.corpus.documents import read_documents

# file, kind, format, records, rows dropped. Counts were taken by other means: rows; in the trees, answers without an
# answer below them (546) and questions with two ranked answers (212). Four HH rows have an empty answer.
FILES = [
    ("alpaca_en_demo.json", "demonstrations", "alpaca", 999, 0),
    ("alpaca_zh_demo.json", "demonstrations", "alpaca", 1000, 0),
    ("self_instruct_seed_tasks.jsonl", "demonstrations", "self-instruct tasks", 175, 0),
    ("glaive_toolcall_en_demo.json", "demonstrations", "sharegpt", 300, 0),
    ("glaive_toolcall_zh_demo.json", "demonstrations", "sharegpt", 300, 0),
    ("gsm8k_test.jsonl", "demonstrations", "questions with answers", 1319, 0),
    ("gaokao_objective_zh.jsonl.gz", "demonstrations", "questions with answers", 1336, 0),
    ("oasst_en_100_tree.jsonl", "demonstrations", "open-assistant trees", 546, 0),
    ("oasst_en_100_tree.jsonl", "comparisons", "open-assistant trees", 212, 0),
    ("dpo_en_demo.json", "comparisons", "sharegpt comparison", 299, 0),
    ("dpo_zh_demo.json", "comparisons", "sharegpt comparison", 300, 0),
    ("hh_harmless_test.jsonl.gz", "comparisons", "hh-rlhf transcripts", 2308, 4),
    ("kto_en_demo.json", "ratings", "openai messages with a label", 300, 0),
]


@pytest.mark.parametrize(("name", "kind", "format", "records", "dropped"), FILES)
def test_real_file_loads(
    corpora: Path, name: str, kind: str, format: str, records: int, dropped: int
) -> None:
    imported = LOADERS[kind](corpora / name)
    assert (imported.format, len(imported.records), imported.dropped.total()) == (format, records, dropped)


@pytest.mark.parametrize(
    ("name", "count"), [("c4_demo.jsonl", 300), ("shakespeare.txt", 1), ("songci_zh.jsonl.gz", 19987)]
)
def test_real_text_loads(corpora: Path, name: str, count: int) -> None:
    assert sum(1 for _ in read_documents(corpora / name)) == count


def test_show_renders_a_real_conversation_with_tools(
    corpora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "show", str(corpora / "glaive_toolcall_zh_demo.json"), "-n", "1", "--ids"]) == 0
    told = capsys.readouterr()
    assert '<|tool|>{"name": "generate_invoice", "arguments": {"customer_name": "约翰·多伊"' in told.out
    assert "trained" in told.err
