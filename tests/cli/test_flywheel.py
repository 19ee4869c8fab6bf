"""`ziggurat flywheel` from an empty store: what each command says, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.service.tiny import tiny_chat

from ziggurat.cli.main import run
from ziggurat.model.hub import save_model


def called(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(["flywheel", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_commands_from_an_empty_store(
    ziggurat_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = called("status", capsys=capsys)
    assert code == 0
    assert "none yet" in text
    for words, sentence in (
        (("turn",), "there is no dataset version yet"),
        (("build",), "nobody has judged anything yet"),
        (("rollback",), "there is no channel assistant"),
        (("promote",), "name a release, a gate or a turn"),
        (("promote", "turn-1"), "there is no turn turn-1"),
        (("gate", "turn-1"), "there is no turn turn-1"),
        (("turn", "--set", "beta=1"), "begins with its stage"),
        (("turn", "--resume", "turn-7"), "there is no turn turn-7"),
    ):
        code, _, said = called(*words, capsys=capsys)
        assert code == 2, words
        assert sentence in said, said
    chat = tiny_chat()
    save_model(chat.model, tmp_path / "model", chat.tokenizer)
    code, text, said = called("promote", "--from", str(tmp_path / "model"), capsys=capsys)
    assert (code, text.strip()) == (0, "assistant-1"), said
    assert "assistant-1 serves on assistant." in said
    assert (ziggurat_home / "releases" / "assistant-1" / "model" / "model.safetensors").is_file()
    code, text, _ = called("explain", "assistant-1", "--json", capsys=capsys)
    assert json.loads(text)["lineage"][0]["name"] == "assistant-1"
    code, text, _ = called("status", "--json", capsys=capsys)
    assert json.loads(text)["channels"][0]["release"] == "assistant-1"
    code, text, _ = called("work", "--once", capsys=capsys)
    assert (code, text) == (0, "")
