"""Poems to test on: a few that everybody knows, and, where the corpora are, a sample of the real file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.needs import needs

needs("pypinyin", reason='rhyme needs pypinyin: pip install "ziggurat[verse]"')

SAMPLE_POEMS = 1600


@pytest.fixture(scope="session")
def poems_file(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every so many-th poem of the real file, so that all forms are there; plain JSON Lines."""
    path = corpora / "poems_zh.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        chosen = [row for i, row in enumerate(rows) if i % 138 == 0][:SAMPLE_POEMS]
    sample = tmp_path_factory.mktemp("poems") / "poems.jsonl"
    sample.write_text("".join(chosen), encoding="utf-8")
    assert {json.loads(row)["form"] for row in chosen} == {"五言绝句", "七言绝句", "五言律诗", "七言律诗"}
    return sample
