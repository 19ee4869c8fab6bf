"""Raw text from files of every kind, and from folders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ziggurat.corpus.documents import read_documents
from ziggurat.corpus.html import html_text
from ziggurat.errors import DataError


def texts(path: Path) -> list[str]:
    return [document.text for document in read_documents(path)]


def test_plain_text_is_one_document_unless_separated(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeffone\n\ntwo\n", encoding="utf-8")
    assert texts(tmp_path / "a.txt") == ["one\n\ntwo\n"]
    (tmp_path / "b.txt").write_text("one\n<|endoftext|>\ntwo\n<|endoftext|>\n")
    assert texts(tmp_path / "b.txt") == ["one", "two"]


def test_rows_keep_their_other_fields(tmp_path: Path) -> None:
    row = {"text": "t", "url": "u", "lang": "en", "license": "CC0", "source": "s"}
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    [document] = read_documents(tmp_path / "a.jsonl.gz")
    assert (document.source, document.license, document.lang, document.meta) == (
        "s",
        "CC0",
        "en",
        {"url": "u"},
    )


def test_verse_in_lines_is_joined(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "静夜思", "lines": ["床前明月光", "疑是地上霜"]}')
    assert texts(tmp_path / "a.jsonl") == ["床前明月光\n疑是地上霜"]


def test_csv_and_parquet_have_a_text_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.csv").write_text("id,content\n1,one\n2,two\n")
    pq.write_table(pa.Table.from_pylist([{"content": "three", "id": 3}]), tmp_path / "b.parquet")
    assert [document.text for document in read_documents(tmp_path)] == ["one", "two", "three"]


def test_markdown_loses_front_matter_and_code_knows_its_language(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\ntitle: T\n---\n\n# Head\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    markdown, code = read_documents([tmp_path / "a.md", tmp_path / "b.py"])
    assert markdown.text == "# Head\n"
    assert (code.text, code.meta) == ("x = 1\n", {"language": "python"})


def test_html_gives_what_a_reader_sees() -> None:
    page = """<html><head><title>T &amp; U</title><style>p{}</style></head><body><nav>Menu</nav>
    <h1>Head</h1><p>One <b>two</b>
      three.</p><script>x()</script><pre>a
  b</pre><ul><li>i<li>j</ul></body></html>"""
    assert html_text(page) == ("T & U", "Head\n\nOne two three.\n\na\n  b\n\ni\nj")


def test_folders_are_read_by_name_and_hidden_files_left(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.txt", ".hidden", "sub/c.txt"):
        (tmp_path / name).write_text(name)
    assert texts(tmp_path) == ["a.txt", "b.txt", "sub/c.txt"]


def test_conversations_are_no_raw_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"instruction": "q", "output": "a"}]')
    with pytest.raises(DataError, match=r"holds conversations \(alpaca\), not raw text"):
        texts(tmp_path / "a.json")


def test_row_without_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "t"}, {"title": "x"}]')
    with pytest.raises(DataError, match="line 2, field text: expected text"):
        texts(tmp_path / "a.json")
