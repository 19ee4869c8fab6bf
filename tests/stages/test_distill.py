"""Distillation: numbers worked by hand, and a quarter-size student that keeps what the teacher does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.errors import ConfigError, ModelFolderError
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
from ziggurat.stages.inner_losses import (
    Inside,
    Projections,
    attention_loss,
    hidden_loss,
    look_inside,
    uniform_map,
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
    return alphabet.make_student(tmp_path_factory.mktemp("student"))


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


def test_blocks_are_spread_evenly_and_a_map_of_another_shape_is_refused(
    letters_sft: Path, student: Path
) -> None:
    assert uniform_map(4, 12) == (3, 6, 9, 12)
    assert uniform_map(2, 5) == (2, 5)
    for wrong in ((3,), (0,), (1, 2)):
        settings = {"hidden_weight": 1.0, "layer_map": wrong}
        with pytest.raises(ConfigError, match=r"layer_map is .*1 to 2\) for each of the student's 1 blocks"):
            prepare(
                distill_config(student, ("test", settings)), student, letters_sft, alphabet.demonstrations(30)
            )


def test_the_losses_inside_are_the_hand_worked_numbers() -> None:
    """Two levels, one token kept, width 2. States (3, 4) and (1, 1) over their root mean squares 3.5355 and 1 differ by
    (-0.1515, 0.1314): the mean square is 0.0201. Equal states at the other level: the loss is half of that.

    One head; the student's scores of the second query are 0 and 0, the teacher's log 3 and 0: KL is
    3/4 log(3/2) + 1/4 log(1/2) = 0.1308. With two heads of the teacher, log 3, 0 and 0, log 3, their mean is even: 0.
    """
    kept = torch.tensor([[False, True]])
    level = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    other = torch.tensor([[[9.0, 9.0], [1.0, 1.0]]])
    shape = ModelConfig(layers=1, d_model=2, heads=1, kv_heads=1, d_head=2, d_ff=2, vocab_size=3, context=4)
    none = Projections(shape, shape, seed=0)
    s, t = Inside([level, level], {}, {}, [None]), Inside([level, other], {}, {}, [None])
    gap = 0.5 * ((3 / 12.5**0.5 - 1) ** 2 + (4 / 12.5**0.5 - 1) ** 2)
    assert hidden_loss(s, t, kept, (1,), none).tolist() == pytest.approx([gap / 2], abs=1e-5)
    wide = Projections(shape, shape.model_copy(update={"d_model": 5}), seed=0)
    assert [tuple(each.weight.shape) for each in wide.levels] == [(5, 2), (5, 2)]

    root = 2**0.5
    keys = torch.tensor([[[[math.log(3) * root, 0.0], [0.0, math.log(3) * root]]]])  # (1, 1, 2, 2)
    ask = torch.tensor([[[[0.0, 0.0], [1.0, 0.0]]]])
    still = Inside([], {0: torch.zeros_like(ask)}, {0: keys}, [None])
    one = Inside([], {0: ask}, {0: keys}, [None])
    two = Inside([], {0: torch.cat((ask, ask.flip(-1)), 1)}, {0: keys}, [None])
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert attention_loss(still, one, kept, (1,)).tolist() == pytest.approx([kl], abs=1e-6)
    assert attention_loss(still, two, kept, (1,)).tolist() == pytest.approx([0.0], abs=1e-6)


def test_looking_inside_changes_nothing_and_the_losses_inside_fall(
    letters_sft: Path, student: Path, tmp_path: Path
) -> None:
    teacher = load_reference(letters_sft, TrainConfig(dtype="fp32"))
    ids = torch.arange(12).view(2, 6)
    torch.testing.assert_close(teacher.norm(look_inside(teacher, ids).levels[-1]), teacher.hidden(ids))
    settings = {"hidden_weight": 1.0, "attention_weight": 1.0}
    config = distill_config(student, ("test", SMALL), ("--set", settings))
    run = Run.open(
        distill(config, student, letters_sft, alphabet.demonstrations(300), tmp_path / "distill-1")
    )
    rows = run.read_metrics()
    assert run.config["layer_map"] == [2]
    assert rows[-1]["hidden"] < 0.5 * rows[0]["hidden"]
    assert rows[-1]["attention"] < 0.7 * rows[0]["attention"]
    assert (run.report or {})["numbers"]["val_kl_after"] < 0.15 * (run.report or {})["numbers"][
        "val_kl_before"
    ]
