"""Distillation: numbers worked by hand, and a quarter-size student that keeps what the teacher does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.errors import ModelFolderError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import load_config, save_model
from ziggurat.model.transformer import Transformer
from ziggurat.runs import Run
from ziggurat.stages.comparison_batches import split_batch
from ziggurat.stages.distill import (
    DistillConfig,
    distill,
    distill_config,
    distillation_loss,
    loss_of,
    prepare,
)
from ziggurat.stages.likelihood import load_policy, load_reference
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.training import TrainConfig

SMALL: dict[str, Any] = {
    "held_out_share": 0.2,
    "epochs": 6.0,
    "train": {"optimizer": "adamw", "lr_adam": 1e-2, "dtype": "fp32", "threads": 1},
}


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with a quarter of the width and half of the blocks."""
    folder = tmp_path_factory.mktemp("student")
    words = alphabet.tokenizer()
    shape = ModelConfig(
        layers=1, d_model=16, heads=1, kv_heads=1, d_head=16, d_ff=32, vocab_size=words.vocab_size, context=32
    )
    save_model(Transformer(shape), folder, words)
    return folder


def test_the_loss_is_the_hand_worked_number() -> None:
    ours, theirs, target = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), torch.tensor([0])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    for direction, kl in (("forward", forward), ("reverse", reverse)):
        loss, found = distillation_loss(ours, theirs, target, DistillConfig(direction=direction))
        assert found.item() == pytest.approx(kl, abs=1e-6)
        assert loss.item() == pytest.approx(0.5 * math.log(2) + 0.5 * kl, abs=1e-6)
    warm, found = distillation_loss(
        ours, 2 * theirs, target, DistillConfig(temperature=2.0, logits_weight=1.0)
    )
    assert warm.item() == found.item() == pytest.approx(4 * forward, abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"logits_weight": 1.0}, {"sequences": True, "sequence_temperature": 1.0, "logits_weight": 0.5}],
)
def test_a_small_student_comes_near_its_teacher(
    letters_sft: Path, student: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """The teacher's answers are random letters, so agreement is in distribution: KL falls to little of what it was."""
    config = distill_config(student, ("test", SMALL), ("--set", settings))
    run = Run.open(
        distill(config, student, letters_sft, alphabet.demonstrations(300), tmp_path / "distill-1")
    )
    numbers = (run.report or {})["numbers"]
    assert numbers["val_kl_of_teacher"] == pytest.approx(0.0, abs=1e-6)
    assert numbers["val_kl_after"] < 0.15 * numbers["val_kl_before"]
    assert numbers["val_loss_after"] < numbers["val_loss_of_teacher"] + 0.2
    assert (run.path / "teacher.jsonl").exists() == ("sequences" in settings)
    assert load_config(run.model_path).d_model == 16
    assert run.manifest["teacher"]["path"] == str(letters_sft.resolve())


def test_microbatches_add_up_to_the_whole(letters_sft: Path, student: Path) -> None:
    from ziggurat.stages.comparison_batches import collate

    ready = prepare(distill_config(student), student, letters_sft, alphabet.demonstrations(30))
    policy, teacher = (
        load_policy(student, TrainConfig(dtype="fp32"), 0),
        load_reference(letters_sft, TrainConfig(dtype="fp32")),
    )
    whole = collate(ready.rows[:9], ready.tokenizer.pad_id, torch.device("cpu"))
    loss = loss_of(ready.config, teacher)
    total, count, _ = loss(policy, whole)
    parts = [loss(policy, piece) for piece in split_batch(whole, 3)]
    assert sum(n for _, n, _ in parts) == count
    assert sum(x.item() for x, _, _ in parts) == pytest.approx(total.item(), rel=1e-5)


def test_another_tokenizer_is_refused(letters_sft: Path, tmp_path: Path) -> None:
    words = Tokenizer.characters("abc")
    shape = ModelConfig(
        layers=1, d_model=16, heads=1, kv_heads=1, d_head=16, d_ff=32, vocab_size=words.vocab_size, context=32
    )
    save_model(Transformer(shape), tmp_path, words)
    with pytest.raises(ModelFolderError, match="another tokenizer"):
        prepare(distill_config(tmp_path), tmp_path, letters_sft, alphabet.demonstrations(30))
