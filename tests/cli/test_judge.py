"""`ziggurat judge`, `leaderboard` and `advise` at the users' door: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.exam.test_leaderboard import sat

from ziggurat.cli.main import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    monkeypatch.delenv("ZIGGURAT_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ziggurat.exam.judges.bias.RESAMPLES", 40)
    (tmp_path / "taste.py").write_text(
        "def grade(prompt, completion, row):\n    return min(10, len(completion))\n"
    )
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def test_a_function_that_likes_length_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "judge", "bias", "taste.py:grade", "--json")
    found: dict[str, Any] = json.loads(out)
    assert (code, found["pairs"], found["changed_with_the_order"]["value"]) == (0, 80, 0)
    assert "length" in found["found"]


def test_comparisons_of_a_file_are_pairs_of_known_quality(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [{"role": "user", "content": "Say a."}]
    rows = [
        {"id": str(n), "prompt": asked, "completions": [f"a{n}", f"a longer one, {n}"], "ranks": [1, 2]}
        for n in range(12)
    ]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = said(capsys, "judge", "bias", "taste.py:grade", "--pairs", "pairs.jsonl", "--json")
    assert code == 0
    assert (json.loads(out)["pairs"], json.loads(out)["right"]["value"]) == (12, 0.0)


def test_agreement_needs_judgements_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "judge", "agreement", "taste.py:grade")
    assert code == 2
    assert "no comparison" in err


def test_the_board_is_printed_with_blanks_and_sorted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No model has sat" in said(capsys, "leaderboard")[1]
    sat(home, "town/ppo", "facts", 0.8)
    sat(home, "town/sft", "facts", 0.9)
    code, out, _ = said(capsys, "leaderboard")
    assert (code, out.index("town/sft") < out.index("town/ppo")) == (0, True)
    assert "80.0 [75.0, 85.0]" in out
    assert "n/a" in out
    assert "80.0 (above 0 %)" in said(capsys, "leaderboard", "--percentiles")[1]
    _, out, _ = said(capsys, "leaderboard", "--sort", "model", "--references")
    assert out.index("town/ppo") < out.index("town/sft")
    assert "GPT-3.5-turbo" in out
    code, _, err = said(capsys, "leaderboard", "--sort", "fact")
    assert (code, 'Did you mean "facts"' in err or "facts" in err) == (2, True)


def test_advice_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "advise", "forecast the sales of next month")
    assert code == 0
    assert "not the best choice" in out
    assert "forecast" in out
    assert "Better:" in out
