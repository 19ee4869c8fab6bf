"""The loop on a two-layer model: accumulation, refusal, clipping, resume, interruption."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.tiny import RandomRows, new_run, next_token_loss, same_bytes, tiny_model, weights
from torch import Tensor, nn

from ziggurat.errors import ConfigError, TrainingError
from ziggurat.model.hub import load_model
from ziggurat.training import TrainConfig, train
from ziggurat.training.optimizers import build_optimizer
from ziggurat.training.step import optimizer_step

WALL_FIELDS = {"elapsed_s", "tokens_per_s"}


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"steps": 6, "dtype": "fp32", "warmup_steps": 2, **changes})


def rows_without_wall_times(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in WALL_FIELDS} for row in rows]


def test_accumulation_cannot_change_the_result(tmp_path: Path) -> None:
    """1 x 8 rows against 8 x 1 and 3 unequal pieces; the rows count unequally many targets."""
    results = []
    for pieces in (1, 3, 8):
        model = tiny_model()
        with new_run(tmp_path / str(pieces)) as run:
            train(
                run,
                model,
                RandomRows(),
                next_token_loss,
                config(micro_batches=pieces, optimizer="adamw", grad_clip=0.5),
                split=lambda batch, n, tokens: list(batch.tensor_split(n)),
            )
        results.append((weights(model), rows_without_wall_times(tmp_path / str(pieces))))
    for other, rows in results[1:]:
        for name, value in results[0][0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=2e-6)
        assert [row["loss"] for row in rows] == pytest.approx(
            [row["loss"] for row in results[0][1]], rel=1e-5
        )
        assert [row.get("tokens") for row in rows] == [row.get("tokens") for row in results[0][1]]


def test_dividing_each_piece_by_its_own_count_would_be_noticed() -> None:
    """The careless version of accumulation (a mean of means) moves the gradient by far more than the tolerance."""
    batch = RandomRows().next()
    model = tiny_model()
    total, count = next_token_loss(model, batch)
    (total / count).backward()
    right = model.embedding.weight.grad.clone()
    model.zero_grad()
    for row in batch.tensor_split(8):
        row_sum, row_count = next_token_loss(model, row)
        (row_sum / row_count / 8).backward()
    assert (model.embedding.weight.grad - right).abs().max() > 1e-3


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_non_finite_step_is_refused_before_the_weights_move(tmp_path: Path, poison: str) -> None:
    model = tiny_model()
    history: list[dict[str, Tensor]] = []

    def loss(model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        history.append(weights(model))
        total, count = next_token_loss(model, batch)
        if len(history) == 4:
            # the second poison has a finite value and an infinite slope: sqrt at 0
            total = (
                total * float("nan")
                if poison == "loss"
                else total + (total - total.detach()).clamp(min=0).sqrt()
            )
        return total, count

    with new_run(tmp_path / "run") as run:
        with pytest.raises(TrainingError, match="step 4"):
            train(run, model, RandomRows(), loss, config())
        assert same_bytes(weights(model), history[-1])
        saved = run.latest_checkpoint()
        assert saved is not None
        assert saved.name == "step-000003"
        assert json.loads((saved / "state.json").read_text())["extra"]["learner"]["batches"] == {
            "position": 3
        }


def test_a_step_that_counts_nothing_moves_nothing() -> None:
    """All comparisons tied: the sum is 0, the count is 0, and momentum or decay must not move the weights either."""
    model = tiny_model()
    optimizer = build_optimizer(model, TrainConfig(weight_decay=0.1))
    batch = RandomRows().next()
    optimizer_step(model, optimizer, [batch], next_token_loss, grad_clip=1.0, step=1)
    before = weights(model)
    outcome = optimizer_step(
        model, optimizer, [batch], lambda m, b: (m(b).sum() * 0.0, 0), grad_clip=1.0, step=2
    )
    assert outcome.loss is None
    assert same_bytes(before, weights(model))


def test_clipping_bounds_the_gradient_and_reports_the_norm_before() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, TrainConfig(optimizer="adamw", lr_adam=0.0))
    batch = RandomRows().next()
    outcome = optimizer_step(model, optimizer, [batch], next_token_loss, grad_clip=0.01, step=1)
    clipped = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert outcome.grad_norm > 0.1
    assert float(clipped) == pytest.approx(0.01, rel=1e-4)


def test_loss_falls_with_both_optimizers(tmp_path: Path) -> None:
    for kind in ("muon", "adamw"):
        model, rows = tiny_model(), RandomRows()
        rows.next = lambda: torch.arange(13).repeat(8, 1) % 7 + 1  # type: ignore[method-assign]
        with new_run(tmp_path / kind) as run:
            result = train(run, model, rows, next_token_loss, config(steps=60, optimizer=kind, lr_adam=0.01))
        assert result.loss is not None
        assert result.loss < 0.5


def test_rows_of_metrics_have_fixed_fields_and_evaluations_join_them(tmp_path: Path) -> None:
    with new_run(tmp_path / "run") as run:
        result = train(
            run,
            tiny_model(),
            RandomRows(),
            next_token_loss,
            config(eval_every_steps=3),
            evaluate=lambda model: {"val_loss": 1.0},
            unit="pairs",
        )
        rows = run.read_metrics()
    fixed = {"step", "loss", "lr_matrix", "lr_adam", "grad_norm", "pairs", "pairs_per_s", "elapsed_s"}
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert [set(row) - fixed for row in rows[:6]] == [{"val_loss"}, set(), set(), {"val_loss"}, set(), set()]
    assert all(fixed <= set(row) for row in rows[:6])
    assert set(rows[6]) == {"step", "loss", "elapsed_s", "val_loss"}, "no update follows the last row"
    assert result.evaluation == {"val_loss": 1.0}


def test_best_checkpoint_is_the_lowest_evaluation(tmp_path: Path) -> None:
    values = iter([4.0, 3.0, 1.0, 2.0])
    with new_run(tmp_path / "run") as run:
        train(
            run,
            tiny_model(),
            RandomRows(),
            next_token_loss,
            config(eval_every_steps=2),
            evaluate=lambda model: {"val_loss": next(values)},
            best_by="val_loss",
        )
        best = run.best_checkpoint()
    assert best is not None
    assert best.name == "step-000004"


def test_schedule_is_printed_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def loss(model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        seen.append(capsys.readouterr().err)
        return next_token_loss(model, batch)

    with new_run(tmp_path / "run") as run:
        train(
            run, tiny_model(), RandomRows(), loss, config(sample_every_steps=6), sample=lambda model: "hello"
        )
    assert "6 steps" in seen[0]
    assert "warm-up 2 steps, then linear to 0" in seen[0]
    after = capsys.readouterr()
    assert "step 6/6" in after.err
    assert "hello" in after.err
    assert after.out == ""


def test_splitting_without_a_split_is_refused(tmp_path: Path) -> None:
    with new_run(tmp_path / "run") as run, pytest.raises(ConfigError, match="micro_batches is 2"):
        train(run, tiny_model(), RandomRows(), next_token_loss, config(micro_batches=2))


def test_row_s_describes_the_model_after_s_updates(tmp_path: Path) -> None:
    """The loss of row s is that of checkpoint s on the batch that it is about to learn from; row 6 has no update."""
    with new_run(tmp_path / "run") as run:
        train(
            run,
            tiny_model(),
            RandomRows(),
            next_token_loss,
            config(checkpoint_every_steps=1, eval_every_steps=1, optimizer="adamw"),
            evaluate=lambda model: {"val_norm": model.embedding.weight.norm().item()},
        )
        rows = run.read_metrics()
        models = {0: tiny_model()} | {int(p.name[-6:]): load_model(p / "model") for p in run.checkpoints()}
    assert sorted(models) == [0, 5, 6]
    for step, model in models.items():
        batches = RandomRows()
        batches.position = step
        total, count = next_token_loss(model, batches.next())
        assert rows[step]["step"] == step
        assert rows[step]["loss"] == pytest.approx(total.item() / count, rel=1e-5)
        assert rows[step]["val_norm"] == pytest.approx(model.embedding.weight.norm().item(), rel=1e-6)
        assert ("grad_norm" in rows[step]) is (step < 6)


def test_further_metrics_of_a_loss_are_means_over_the_step(tmp_path: Path) -> None:
    """Sums are divided by the step's count, pairs by their own, whatever the pieces; an empty one is left out."""

    def loss(model: nn.Module, batch: Tensor) -> tuple[Tensor, int, dict[str, Any]]:
        total, count = next_token_loss(model, batch)
        rows = len(batch)
        return total, count, {"double": 2 * total, "first": (batch[:, 0].sum(), rows), "none": (0.0, 0)}

    for pieces in (1, 3):
        with new_run(tmp_path / str(pieces)) as run:
            settings = config(steps=1, warmup_steps=0, micro_batches=pieces)
            split = lambda batch, n, tokens: list(batch.tensor_split(n))  # noqa: E731
            train(run, tiny_model(), RandomRows(), loss, settings, split=split)
            first, last = run.read_metrics()
        for row, position in ((first, 0), (last, 1)):
            batches = RandomRows()
            batches.position = position
            assert row["double"] == pytest.approx(2 * row["loss"], rel=1e-5)
            assert row["first"] == pytest.approx(batches.next()[:, 0].float().mean().item(), rel=1e-5)
            assert "none" not in row


@pytest.mark.parametrize("bad", ["large", "not a number"])
def test_a_spike_goes_back_to_the_last_checkpoint_and_its_batch_is_never_learned(
    tmp_path: Path, bad: str
) -> None:
    """Batch 13 is poison. The run ends with the bytes of one whose data never held it."""

    class Without13(RandomRows):
        def next(self) -> Tensor:
            self.position += self.position == 13
            return super().next()

    def poisoned(model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
        total, count = next_token_loss(model, batch)
        if torch.equal(batch, poison):
            total = total * (1e4 if bad == "large" else float("nan"))
        return total, count

    at_13 = RandomRows()
    at_13.position = 13
    poison = at_13.next()
    settings = config(steps=20, checkpoint_every_steps=4, spike_factor=10.0)
    ends = []
    for name, batches in (("poisoned", RandomRows()), ("clean", Without13())):
        model = tiny_model()
        with new_run(tmp_path / name) as run:
            train(run, model, batches, poisoned, settings)
            saved = run.checkpoints()[-1]
        ends.append((weights(model), (saved / "optimizer.safetensors").read_bytes()))
    assert same_bytes(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    rows = rows_without_wall_times(tmp_path / "poisoned")
    assert rows[:-1] == rows_without_wall_times(tmp_path / "clean")[:-1]
    assert [row["step"] for row in rows] == list(range(21))


# --- resume --------------------------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from tests.training.tiny import RandomRows, new_run, next_token_loss, tiny_model
from ziggurat.training import TrainConfig, train

path, resume, kill_at, sig = Path(sys.argv[2]), sys.argv[3] == "resume", int(sys.argv[4]), int(sys.argv[5])
def loss(model, batch):
    total, count = next_token_loss(model, batch)
    if rows.position == kill_at:
        os.kill(os.getpid(), sig)
    noise = torch.rand(()) + float(__import__("random").random()) + float(__import__("numpy").random.rand())
    return total * (1 + 0.01 * noise), count      # the loss uses all three random generators
rows = RandomRows()
config = TrainConfig(steps=12, warmup_steps=2, checkpoint_every_steps=4, seed=3, dtype="auto")
with new_run(path, resume=resume) as run:
    train(run, tiny_model(), rows, loss, config, resume=resume)
assert "torch._dynamo" not in sys.modules, "two seconds of imports, for a compiler that compiled nothing"
"""


def start(path: Path, *, resume: bool = False, kill_at: int = 0, sig: int = signal.SIGKILL) -> int:
    root, mode = Path(__file__).parents[2], "resume" if resume else "fresh"
    arguments = [str(root), str(path), mode, str(kill_at), str(int(sig))]
    return subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, timeout=120
    ).returncode


def final_state(path: Path) -> tuple[bytes, bytes, bytes, dict[str, Any]]:
    folder = path / "checkpoints" / "step-000012"
    state = json.loads((folder / "state.json").read_text())
    state["extra"].pop("elapsed_s")
    blobs = [(folder / name).read_bytes() for name in ("optimizer.safetensors", "random.safetensors")]
    return (folder / "model" / "model.safetensors").read_bytes(), blobs[0], blobs[1], state


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went through, in a process of its own."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert start(path) == 0
    return path


def test_killed_and_resumed_ends_with_the_same_bytes(tmp_path: Path, whole: Path) -> None:
    """A real SIGKILL in the middle of step 11, after the checkpoint of step 8; then a second run to the end."""
    assert start(tmp_path / "killed", kill_at=11) == -signal.SIGKILL
    assert len(rows_without_wall_times(tmp_path / "killed")) == 10  # rows 0 to 9
    assert start(tmp_path / "killed", resume=True) == 0
    assert final_state(tmp_path / "killed") == final_state(whole)
    assert rows_without_wall_times(tmp_path / "killed") == rows_without_wall_times(whole)
    assert len(rows_without_wall_times(whole)) == 13


def test_optimizer_state_is_saved_for_every_parameter(whole: Path) -> None:
    """Otherwise the comparison above would compare nothing with nothing."""
    names = load_file(whole / "checkpoints" / "step-000012" / "optimizer.safetensors")
    momenta = [n for n in names if n.startswith("model.muon.momentum.")]
    moments = [n for n in names if n.startswith("model.adamw.exp_avg_sq.")]
    assert len(momenta) + len(moments) == len(list(tiny_model().parameters()))
    assert all(names[n].abs().sum() > 0 for n in momenta)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_interruption_saves_after_the_step_and_resumes(tmp_path: Path, sig: signal.Signals) -> None:
    assert start(tmp_path / "run", kill_at=6, sig=sig) not in (0, -int(signal.SIGKILL))
    assert (tmp_path / "run" / "checkpoints" / "step-000006" / "COMPLETE").exists()
    assert start(tmp_path / "run", resume=True) == 0
    assert [row["step"] for row in rows_without_wall_times(tmp_path / "run")] == list(range(13))


def test_a_finished_run_resumed_does_nothing_again(tmp_path: Path, whole: Path) -> None:
    again = Path(shutil.copytree(whole, tmp_path / "run"))
    assert start(again, resume=True) == 0
    assert final_state(again) == final_state(whole)
