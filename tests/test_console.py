"""Numbers for people, and progress that does not disturb."""

from __future__ import annotations

import pytest

from ziggurat import console
from ziggurat.console import ProgressLine, human_count, human_time, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.42 s"), (12, "12 s"), (59.7, "1m 00s"), (75, "1m 15s"), (3599.9, "1h 00m"), (7320, "2h 02m")],
)
def test_times(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (950, "950"), (0.5, "0.50"), (12_345, "12.3K"), (3.6e6, "3.60M"), (175e9, "175B")],
)
def test_counts(n: float, text: str) -> None:
    assert human_count(n) == text


def test_text_by_models_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.out.print("[bold]x[/bold] :smile: " + "a" * 300)
    assert capsys.readouterr().out.replace("\n", "") == "[bold]x[/bold] :smile: " + "a" * 300


def test_a_piped_table_keeps_its_rows_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console.out.print(table("T", ["name", "n"], [("town/ppo-1 " * 10, 3), ("[b]", None)], right=("n",)))
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_piped_progress_is_sparse_plain_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("sft") as progress:
        for step in range(100):
            progress.update(f"step {step}")
        progress.note("a sample")
    printed = capsys.readouterr()
    assert printed.err == "sft step 0\na sample\nsft step 99\n"
    assert printed.out == ""


def test_progress_may_be_closed_twice(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLine()
    progress.close()
    progress.update("x")
    progress.close("done")
    progress.close()
    assert capsys.readouterr().err == "x\ndone\n"


def test_a_noun_has_its_article() -> None:
    assert [console.with_article(noun) for noun in ("model", "embedding model")] == [
        "a model",
        "an embedding model",
    ]
