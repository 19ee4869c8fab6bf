"""`--draft`: a smaller model of the same tokenizer guesses ahead in what is served; the words stay the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ziggurat.cli.main import run
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.evaluation import speed
from ziggurat.model.hub import save_model
from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.training import precision

TEXT = "the cat sat on the mat and the dog sat on the cat. " * 20


@pytest.fixture(autouse=True)
def _fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ziggurat.dialogue.loading.choose_dtype", lambda: precision.choose_dtype("fp32"))


def saved(path: Path, text: str, noise: float) -> Path:
    tokenizer = Tokenizer.train([text], 280)
    shape = sized(layers=2, d_model=64, vocab_size=tokenizer.vocab_size, context=160, d_head=16)
    model = Transformer(shape, seed=0)
    with torch.no_grad():
        model.norm.weight.mul_(20)
        for weight in model.parameters():
            weight += noise * weight.abs().mean() * torch.randn_like(weight)
    save_model(model, path)
    tokenizer.save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    torch.manual_seed(0)
    strange = saved(tmp_path / "strange", "ein anderer Text. " * 30, 0)
    return saved(tmp_path / "large", TEXT, 0), saved(tmp_path / "small", TEXT, 0.05), strange


def test_the_words_stay_the_same_and_guesses_are_counted(folders: tuple[Path, Path, Path]) -> None:
    large, small, _ = folders
    params = SamplingParams(temperature=0, max_tokens=30)
    alone, helped = Chat.load(large), Chat.load(large, draft=str(small))
    said = ["".join(d.text for d in chat.stream_text("the cat", params)) for chat in (alone, helped)]
    assert said[0] == said[1]
    desk = helped.desk()
    desk.begin(helped.prepare_raw("the cat", params))
    deltas = []
    while not deltas or deltas[-1][1].finish is None:
        deltas += desk.step()
    assert len(deltas) == 30
    stats = desk.stats()
    assert 0 < stats["taken"] <= stats["guessed"]
    assert alone.desk().stats()["guessed"] == 0


def test_another_tokenizer_is_refused(folders: tuple[Path, Path, Path]) -> None:
    large, _, strange = folders
    with pytest.raises(UsageError, match="another tokenizer"):
        Chat.load(large, draft=str(strange))


@pytest.mark.slow
def test_the_benchmark_says_how_many_guesses_were_taken(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "CASES", speed.CASES[:1])
    large, small, _ = folders
    command = ["bench", "decode", str(large), "--draft", str(small), "--no-peers", "--dtype", "fp32"]
    assert run([*command, "--json"]) == 0
    figure = json.loads(capsys.readouterr().out)["figures"][0]
    assert figure["peers"]["guessed ahead"] > 0
    assert 0 < figure["taken"] <= 1
    assert run(command) == 0
    assert "guesses taken" in capsys.readouterr().out
