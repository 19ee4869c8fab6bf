"""The tokenizer report: counts by hand, and the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.report import SAMPLE, measure


def test_figures_of_a_character_tokenizer_are_known() -> None:
    """One token a character: every ratio per character is 1; "two words" has 9 characters and 2 words."""
    fit = measure(Tokenizer.characters(SAMPLE + "两个字"), ["two words 两个字。"])
    assert (fit.chinese_characters, fit.chinese_tokens) == (3, 3)
    assert fit.tokens_per_chinese_character == 1
    assert fit.tokens_per_english_character == 1
    assert (fit.english_words, fit.characters, fit.tokens) == (2, 14, 14)
    assert fit.bytes_per_token == pytest.approx((10 + 4 * 3) / 14)


def test_learning_chinese_pieces_saves_chinese_tokens() -> None:
    """The LLaMA -> Chinese-LLaMA step in small: Chinese tokens fall by more than half, English hardly moves."""
    english = Tokenizer.train(["the bread on the other bank of the river " * 50], 300)
    both = Tokenizer.train(
        ["the bread on the other bank of the river " * 50, "面包师傅乘渡船到对岸去卖面包" * 50], 400
    )
    text = ["the bread of the baker", "面包师傅卖面包"]
    before, after = measure(english, text), measure(both, text)
    assert after.chinese_tokens < before.chinese_tokens / 2
    assert after.english_tokens <= before.english_tokens


def test_absent_script_has_no_ratio() -> None:
    assert measure(Tokenizer.characters("abc"), ["abc"]).tokens_per_chinese_character is None


def test_train_report_and_show_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text(SAMPLE)
    folder = str(tmp_path / "tokenizer")
    assert run(["tokenizer", "train", str(tmp_path / "text.txt"), "--vocab", "300", "--out", folder]) == 0
    assert (
        run(["tokenizer", "train", str(tmp_path / "text.txt"), "--out", folder]) == 2
    )  # it is there already
    assert "--overwrite" in capsys.readouterr().err
    assert run(["tokenizer", "report", folder]) == 0
    told = capsys.readouterr().out
    assert "300" in told
    assert "Chinese-LLaMA" in told
    assert run(["tokenizer", "show", folder, "<|end|>面", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["tokens"] == len(shown["ids"]) == len(shown["pieces"])
    assert 6 not in shown["ids"]
    assert run(["tokenizer", "show", folder, "<|end|>", "--specials", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ids"] == [6]
