"""Native data files: strict, compressed or not, one sentence per mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggurat.errors import DataError
from ziggurat.records import (
    Comparison,
    Demonstration,
    Document,
    Message,
    Prompt,
    Rating,
    Record,
    Reject,
    check_ranks,
    read_records,
    write_records,
)

ASK = {"role": "user", "content": "Who bakes?"}
ANSWER = {"role": "assistant", "content": "Ana bakes."}
VOTE: dict[str, Any] = {"id": "1", "prompt": [ASK], "completions": ["a", "b"], "ranks": [1, 2]}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def one_of_each() -> list[Record]:
    call = Message(role="assistant", tool_calls=[{"id": "c", "function": {"name": "sum", "arguments": "{}"}}])
    return [
        Document(text="水 and\u2028bread\n", source="town", lang="zh", meta={"year": 3}),
        Demonstration(
            messages=[
                Message(**ASK),
                call,
                Message(role="tool", content="4", tool_call_id="c"),
                Message(**ANSWER),
            ]
        ),
        Comparison(
            id="7",
            prompt=[Message(**ASK)],
            completions=["a", [Message(**ANSWER)]],
            ranks=[2, 1],
            labeller="x",
        ),
        Rating(prompt=[Message(**ASK)], completion="a", label=False),
        Prompt(prompt=[Message(**ASK)], meta={"kind": "trade"}),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
@pytest.mark.parametrize("record", one_of_each(), ids=lambda r: type(r).__name__)
def test_what_is_written_is_read_back(tmp_path: Path, record: Record, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    assert write_records(path, [record, record]) == 2
    assert list(read_records(path, type(record))) == [record, record]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_compressed_files_of_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_records(tmp_path / name, [Document(text="x")])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_nothing_is_left_of_a_writing_that_failed(tmp_path: Path) -> None:
    def failing() -> Any:
        yield Document(text="x")
        raise OSError("no space")

    path = lines(tmp_path / "d.jsonl", {"text": "old"})
    with pytest.raises(OSError, match="no space"):
        write_records(path, failing())
    assert [p.name for p in tmp_path.iterdir()] == ["d.jsonl"]
    assert next(read_records(path, Document)).text == "old"


BAD: list[tuple[type[Record], Any, str]] = [
    (Document, '{"text": "a"', r"d.jsonl line 2: broken JSON at column \d+"),
    (Document, [1], "line 2: expected one document as a JSON object, found list"),
    (Document, {"txt": "a"}, 'line 2, field (text: is missing|txt: unknown field. Did you mean "text"?)'),
    (Document, {"text": "a", "lagn": "en"}, r'line 2, field lagn: unknown field\. Did you mean "lang"\?$'),
    (Document, {"text": 3}, "line 2, field text: input should be a valid string, found 3"),
    (Demonstration, {"messages": []}, "line 2, field messages: expected at least one message"),
    (Demonstration, {"messages": [ASK]}, "line 2, field messages: a demonstration must end on the assistant"),
    (
        Demonstration,
        {"messages": [{"role": "bot", "content": "x"}]},
        r"line 2, field messages\[0\].role: .*'bot'",
    ),
    (
        Demonstration,
        {"messages": [ASK, {"role": "assistant"}]},
        r"field messages\[1\]: a message needs content",
    ),
    (
        Comparison,
        {**VOTE, "completions": ["a"], "ranks": [1]},
        "field completions: expected 2 to 9 completions .* found 1",
    ),
    (Comparison, {**VOTE, "ranks": [1]}, "field ranks: expected one rank for each of 2 completions, found 1"),
    (
        Comparison,
        {**VOTE, "ranks": [0, 1]},
        r"field ranks: ranks start at 1 .* \[0, 1\] should be written \[1, 2\]",
    ),
    (Comparison, {**VOTE, "completions": ["a", 3]}, r"field completions\[1\]: .*found 3"),
    (Comparison, {**VOTE, "prompt": [ASK, ANSWER]}, "field prompt: a prompt must end on a user"),
    (
        Rating,
        {"prompt": [ASK], "completion": "a", "label": 1},
        "field label: input should be a valid boolean",
    ),
]


@pytest.mark.parametrize(("kind", "row", "says"), BAD)
def test_a_bad_row_names_file_line_field_and_what_was_expected(
    tmp_path: Path, kind: type[Record], row: Any, says: str
) -> None:
    good: dict[type[Record], Any] = {
        Document: {"text": "ok"},
        Demonstration: {"messages": [ASK, ANSWER]},
        Comparison: VOTE,
        Rating: {"prompt": [ASK], "completion": "a", "label": True},
    }
    path = lines(tmp_path / "d.jsonl", good[kind], row)
    with pytest.raises(DataError, match=says) as caught:
        list(read_records(path, kind))
    assert caught.value.line == 2
    assert caught.value.path == path
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_bad_rows_can_be_skipped_counted_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(tmp_path / "d.jsonl", {"text": "a"}, "{", {"text": "b"}, {"text": None})
    rejects: list[Reject] = []
    assert [d.text for d in read_records(path, Document, skip_bad_rows=True, rejects=rejects)] == ["a", "b"]
    assert [reject.line for reject in rejects] == [2, 4]
    assert "skipped 2 bad of 4 rows" in capsys.readouterr().err


def test_a_file_of_bad_rows_only_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable record"):
        list(read_records(lines(tmp_path / "d.jsonl", "{"), Document, skip_bad_rows=True))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.jsonl", None, "none.jsonl: no such file"),
        ("empty.jsonl", b"", "empty.jsonl: the file is empty"),
        ("blank.jsonl", b"\n \n", "the file is empty"),
        ("latin.jsonl", '{"text": "é"}'.encode("latin-1"), "line 1: not UTF-8"),
        ("broken.jsonl.gz", b"\x1f\x8b\x08 not gzip at all", "compressed data is broken"),
        ("broken.jsonl.zst", b"not zstd", "compressed data is broken"),
        ("broken.parquet", b"PAR?", "is not a Parquet file"),
        ("none.parquet", None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        list(read_records(path, Document))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        list(read_records(tmp_path, Document))


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n')
    assert next(read_records(path, Document)).text == "a"


def test_a_comparison_without_a_labeller_is_an_import(tmp_path: Path) -> None:
    assert (
        next(read_records(lines(tmp_path / "votes.jsonl", VOTE), Comparison)).labeller == "import:votes.jsonl"
    )


@pytest.mark.parametrize("ranks", [[1, 2, 2, 4], [1, 2, 2, 3], [1, 1], [3, 1, 2], [1, 1, 1]])
def test_ties_may_be_counted_densely_or_as_in_a_race(ranks: list[int]) -> None:
    check_ranks(ranks, len(ranks))


@pytest.mark.parametrize("ranks", [[0, 1], [2, 3], [1, 3], [1, 1, 2, 4], [1, 2, 2, 5]])
def test_other_ranks_are_refused(ranks: list[int]) -> None:
    with pytest.raises(ValueError, match="should be written"):
        check_ranks(ranks, len(ranks))


@given(st.lists(st.integers(-3, 9), min_size=2, max_size=9))
def test_the_ranks_that_an_error_proposes_are_accepted_and_keep_the_order(ranks: list[int]) -> None:
    try:
        check_ranks(ranks, len(ranks))
    except ValueError as error:
        proposed = json.loads(str(error).rpartition("written ")[2])
        check_ranks(proposed, len(ranks))
        assert [(a > b) - (a < b) for a in ranks for b in ranks] == [
            (a > b) - (a < b) for a in proposed for b in proposed
        ]
