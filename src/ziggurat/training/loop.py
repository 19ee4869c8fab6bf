"""The loop of every stage that minimises a loss: pretrain, sft, reward (PPO has its own day, and borrows the parts).

A stage hands in batches and a loss that returns (sum, count); the optimizer step itself is in step.py. `elapsed_s`
counts optimisation only: evaluating, sampling and saving stand outside.

Left out: more than one device (DESIGN 8: FSDP2 will be applied from outside).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ziggurat.console import ProgressLine, err, human_count, human_time
from ziggurat.errors import ConfigError, TrainingError
from ziggurat.memory import keep_freed_memory
from ziggurat.model.cpu import accelerate
from ziggurat.model.transformer import set_compute_dtype
from ziggurat.runs import Run
from ziggurat.training.checkpoints import (
    load_training_state,
    random_states,
    save_training_state,
    seed_everything,
)
from ziggurat.training.config import TrainConfig
from ziggurat.training.interrupt import Interrupt
from ziggurat.training.optimizers import build_optimizer
from ziggurat.training.precision import choose_dtype
from ziggurat.training.schedules import describe_schedule, lr_factor
from ziggurat.training.step import LossFn, optimizer_step


class Batches(Protocol):
    """An endless source of batches whose position is a small JSON-able dict."""

    def next(self) -> Any: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


SplitFn = Callable[[Any, int], list[Any]]
"""(batch, n) -> at most n micro-batches; they may be unequal."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished call of `train` has to say; the rest is in metrics.jsonl."""

    steps: int
    loss: float | None
    """Of the last step; None where it counted nothing."""
    counted: int
    """Tokens (or whatever the stage counts) over all steps."""
    elapsed_s: float
    """Optimisation time, over all resumptions."""
    evaluation: dict[str, float]
    """The last evaluation."""


def train(
    run: Run,
    model: nn.Module,
    batches: Batches,
    loss: LossFn,
    config: TrainConfig,
    *,
    split: SplitFn | None = None,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    sample: Callable[[nn.Module], str] | None = None,
    resume: bool = False,
    stage_label: str = "",
    unit: str = "tokens",
    best_by: str | None = None,
    tokenizer: Any = None,
) -> TrainResult:
    """Take `config.steps` optimizer steps, leaving metrics and checkpoints in `run`.

    `unit` names what the loss counts, in the fields and the progress line. `best_by` names a field of the evaluation
    (lower is better) whose best checkpoint is kept. `tokenizer` is saved beside the weights of each checkpoint.
    """
    if config.micro_batches > 1 and split is None:
        raise ConfigError(
            f"micro_batches is {config.micro_batches}, but this stage cannot split a batch; set it to 1."
        )
    return _Training(
        run,
        model,
        batches,
        loss,
        config,
        split,
        evaluate,
        sample,
        stage_label or run.stage,
        unit,
        best_by,
        tokenizer,
    ).go(resume)


@dataclass
class _Training:
    """The state of one call of `train`."""

    run: Run
    model: nn.Module
    batches: Batches
    loss: LossFn
    config: TrainConfig
    split: SplitFn | None
    evaluate: Callable[[nn.Module], dict[str, float]] | None
    sample: Callable[[nn.Module], str] | None
    label: str
    unit: str
    best_by: str | None
    tokenizer: Any
    step: int = 0  # optimizer steps done
    counted: int = 0
    elapsed_s: float = 0.0
    best: float | None = None
    last_loss: float | None = None
    evaluation: dict[str, float] = field(default_factory=dict)
    saved_step: int = -1

    def __post_init__(self) -> None:
        keep_freed_memory()
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        self.dtype, self.dtype_reason = choose_dtype(self.config.dtype)
        set_compute_dtype(accelerate(self.model), self.dtype)
        self.optimizer = build_optimizer(self.model, self.config)

    def go(self, resume: bool) -> TrainResult:
        config = self.config
        seed_everything(config.seed)
        checkpoint = self.run.latest_checkpoint() if resume else None
        if checkpoint:
            self.restore(checkpoint)
        self.run.truncate_metrics(self.step)
        self.announce(checkpoint)
        self.model.train()
        started_step, started_mark = self.step, time.perf_counter()
        with Interrupt() as interrupt, ProgressLine(self.label) as progress:
            while self.step < config.steps:
                row = self.one_step()
                last = self.step == config.steps

                # evaluate?
                improved = False
                if self.evaluate and (last or self.due(config.eval_every_steps)):
                    row |= self.evaluation_fields()
                    improved = self.improves()
                if last or self.due(config.log_every_steps):
                    self.run.log_metrics(row)
                left_s = (
                    (time.perf_counter() - started_mark)
                    / (self.step - started_step)
                    * (config.steps - self.step)
                )
                progress.update(self.status(row, left_s), force=last)

                # a sample of the model's own words?
                if self.sample and (last or self.due(config.sample_every_steps)):
                    self.model.eval()
                    progress.note(f"step {self.step:,} says: {self.sample(self.model)}")
                    self.model.train()

                # save?
                if last or improved or interrupt.asked or self.due(config.checkpoint_every_steps):
                    self.save(best=improved)

                # stop?
                if interrupt.asked and not last:
                    progress.note(f"stopped after step {self.step:,}; --resume continues from there")
                    raise KeyboardInterrupt
        return TrainResult(self.step, self.last_loss, self.counted, self.elapsed_s, self.evaluation)

    def due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def one_step(self) -> dict[str, Any]:
        """One fenced and timed optimizer step; returns its row of metrics."""
        config = self.config
        before = self.batches.state(), random_states()
        t0 = time.perf_counter()
        self.optimizer.set_lr_factor(
            lr_factor(self.step, config.steps, config.warmup_steps, config.schedule, config.final_lr_factor)
        )
        batch = self.batches.next()
        pieces = (
            self.split(batch, config.micro_batches) if self.split and config.micro_batches > 1 else [batch]
        )
        try:
            outcome = optimizer_step(
                self.model, self.optimizer, pieces, self.loss, grad_clip=config.grad_clip, step=self.step + 1
            )
        except TrainingError:
            if self.step:
                self.save(before=before)  # the last good state
            raise
        step_s = time.perf_counter() - t0
        self.step += 1
        self.counted += outcome.count
        self.elapsed_s += step_s
        self.last_loss = outcome.loss
        return {
            "step": self.step,
            "loss": outcome.loss,
            "lr_matrix": self.optimizer.lr_matrix,
            "lr_adam": self.optimizer.lr_adam,
            "grad_norm": outcome.grad_norm,
            self.unit: outcome.count,
            f"{self.unit}_per_s": round(outcome.count / step_s, 1),
            "elapsed_s": round(self.elapsed_s, 4),
        }

    def evaluation_fields(self) -> dict[str, float]:
        assert self.evaluate
        self.model.eval()
        with torch.no_grad():
            self.evaluation = self.evaluate(self.model)
        self.model.train()
        return self.evaluation

    def improves(self) -> bool:
        if self.best_by is None:
            return False
        value = self.evaluation[self.best_by]
        if self.best is not None and value >= self.best:
            return False
        self.best = value
        return True

    def save(
        self, *, best: bool = False, before: tuple[dict[str, Any], dict[str, Any]] | None = None
    ) -> None:
        """A checkpoint of this step; `before` holds data position and random states if those have moved on since."""
        if self.saved_step == self.step:
            return
        position, randomness = before or (self.batches.state(), random_states())
        extra = {
            "step": self.step,
            "counted": self.counted,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "last_loss": self.last_loss,
            "evaluation": self.evaluation,
            "batches": position,
        }

        def write(folder: Path) -> None:
            save_training_state(
                folder,
                {"model": self.model},
                {"model": self.optimizer},
                extra,
                randomness=randomness,
                tokenizer=self.tokenizer,
            )

        self.run.save_checkpoint(self.step, write, best=best)
        self.saved_step = self.step

    def restore(self, checkpoint: Path) -> None:
        extra = load_training_state(checkpoint, {"model": self.model}, {"model": self.optimizer})
        self.step = self.saved_step = int(extra["step"])
        self.counted, self.elapsed_s = int(extra["counted"]), float(extra["elapsed_s"])
        self.best, self.last_loss, self.evaluation = extra["best"], extra["last_loss"], extra["evaluation"]
        self.batches.restore(extra["batches"])

    def announce(self, checkpoint: Path | None) -> None:
        """Everything derived, before the first step."""
        c = self.config
        where = f"resuming {checkpoint.name} of " if checkpoint else ""
        pieces = f" in {c.micro_batches} micro-batches" if c.micro_batches > 1 else ""
        clip = f"gradient clipped at {c.grad_clip:g}" if c.grad_clip else "gradient not clipped"
        schedule = describe_schedule(c.steps, c.warmup_steps, c.schedule, c.final_lr_factor)
        dtype = {torch.float32: "fp32", torch.bfloat16: "bf16"}[self.dtype]
        err.print(
            f"{self.label}: {where}{c.steps:,} steps{pieces}, seed {c.seed}, {torch.get_num_threads()} threads"
        )
        err.print(f"  {self.optimizer.describe()}; {clip}")
        err.print(f"  learning rates: {schedule}")
        err.print(f"  compute in {dtype} because {self.dtype_reason}; weights, losses and optimizer in fp32")

    def status(self, row: dict[str, Any], left_s: float) -> str:
        loss = "—" if row["loss"] is None else f"{row['loss']:.4f}"
        values = "".join(f" · {k} {v:.4f}" for k, v in self.evaluation.items()) if self.evaluation else ""
        return (
            f"step {self.step:,}/{self.config.steps:,} · loss {loss} · lr {row['lr_matrix']:.2g}/{row['lr_adam']:.2g}"
            f" · {human_count(row[f'{self.unit}_per_s'])} {self.unit}/s{values} · {human_time(left_s)} left"
        )
