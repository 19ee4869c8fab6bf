"""The cost of int8 and int4 weights is a measurement: of the same text, and of the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ziggurat.cli.main import run
from ziggurat.evaluation import quantization
from ziggurat.evaluation.bits import score_texts
from ziggurat.model.cpu import groups
from ziggurat.model.hub import load_model, save_model
from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TEXT = "the cat sat on the mat and the dog sat on the cat. " * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train([TEXT], 280)
    shape = sized(layers=2, d_model=64, vocab_size=tokenizer.vocab_size, context=32, d_head=16)
    model = Transformer(shape, seed=0)
    with torch.no_grad():
        model.norm.weight.mul_(20)
    save_model(model, path)
    tokenizer.save(path)
    return path


def test_each_precision_is_scored_on_the_same_text(folder: Path) -> None:
    found = quantization.compare(folder, [TEXT], dtype=torch.bfloat16)
    assert [row.numerics.split(",")[0] for row in found] == ["float32", *["bfloat16"] * 3]
    assert "int8 weights" in found[2].numerics
    assert "int4 weights" in found[3].numerics
    plain = score_texts(load_model(folder), Tokenizer.load(folder), [TEXT])
    assert found[0].score == plain
    assert found[0].agreement == 1.0
    assert (
        found[0].weight_bytes
        == 2 * found[1].weight_bytes
        > 2 * found[2].weight_bytes
        > 2 * found[3].weight_bytes
    )
    for row in found[1:]:
        assert row.score.tokens == plain.tokens
        assert row.score.nll_nats != plain.nll_nats
        few = row is found[3]  # random weights lose more to 4 bits than trained ones
        assert row.score.bits_per_byte == pytest.approx(plain.bits_per_byte, rel=0.05 if few else 0.01)
        assert (0.3 if few else 0.9) < row.agreement < 1


def test_weights_rounded_badly_are_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        codes, scales = right(weight)
        return ((codes.int() + 32) // 64 * 64).clamp(0, 255).to(torch.uint8), scales

    right = groups.round8
    monkeypatch.setattr(groups, "round8", coarse)
    found = quantization.compare(folder, [TEXT], dtype=torch.float32)
    assert len(found) == 3
    assert (
        abs(found[1].score.bits_per_byte / found[0].score.bits_per_byte - 1) > 0.02
        or found[1].agreement < 0.8
    )


def test_the_command_prints_the_cost(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    assert run(["bench", "quantization", str(folder), "--text", str(text)]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert run(["bench", "quantization", str(folder), "--text", str(text), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"numerics", "weight_bytes", "agreement"} <= set(rows[-1])
    assert rows[-1]["score"]["bits_per_byte"] > 0


def test_other_weights_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", str(folder), "the cat", "--weights", "int3"]) != 0
    assert "int8" in capsys.readouterr().err
    assert run(["generate", str(folder), "the cat", "--raw", "--weights", "int8", "-t", "0"]) == 0
