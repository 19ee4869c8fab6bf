"""The learner of every stage that minimises one loss over batches: pretrain, sft, reward, and what others add.

A stage hands in batches and a loss that returns (sum, count) or (sum, count, further metrics); the optimizer step
itself is in step.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ziggurat.console import human_count
from ziggurat.errors import ConfigError
from ziggurat.processes import processes, rank
from ziggurat.runs import Run
from ziggurat.training import parallel
from ziggurat.training.config import TrainConfig
from ziggurat.training.learner import Learner, Row
from ziggurat.training.loop import run_loop
from ziggurat.training.optimizers import Optimizers, build_optimizer
from ziggurat.training.precision import choose_dtype
from ziggurat.training.step import LossFn, StepOutcome, mean_loss, optimizer_step
from ziggurat.training.trainable import freeze


class Batches(Protocol):
    """An endless source of batches whose position is a small JSON-able dict."""

    def next(self) -> Any: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


SplitFn = Callable[[Any, int, int], list[Any]]
"""(batch, pieces, tokens) -> microbatches: at least `pieces` if there are so many rows, each of at most `tokens` tokens
(0: any number) unless a single row has more; they may be unequal."""


@dataclass(frozen=True)
class TrainResult:
    """The numbers of a finished call of `train`; the rest is in metrics.jsonl."""

    steps: int
    loss: float | None
    """Of the trained model, on the batch after the last one; None where that batch counts nothing."""
    counted: int
    """Tokens (or whatever the stage counts) over all steps."""
    elapsed_s: float
    """Optimisation time, over all resumptions."""
    evaluation: dict[str, float]
    """The last evaluation."""

    def numbers(self) -> dict[str, Any]:
        """What a report shows of it."""
        return {"steps": self.steps, "tokens": self.counted, "loss": self.loss, **self.evaluation}


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
    unit: str = "tokens",
    best_by: str | None = None,
    tokenizer: Any = None,
    beside: nn.Module | None = None,
) -> TrainResult:
    """Take `config.steps` optimizer steps on what `config.trainable` names; metrics and checkpoints go to `run`.

    `unit` names what the loss counts, in the fields and the progress line. `best_by` names a field of the evaluation
    (lower is better) whose best checkpoint is kept. `tokenizer` is saved beside the weights of each checkpoint.
    `beside`: what the loss has of its own that learns too; checkpoints hold it, the run's model does not.
    """
    learner = Supervised(model, batches, loss, config, split, evaluate, sample, unit, best_by, beside)
    row = run_loop(run, learner, config, resume=resume, label=run.stage, tokenizer=tokenizer)
    return TrainResult(row["step"], row["loss"], learner.counted, row["elapsed_s"], learner.evaluation)


class Supervised(Learner):
    """One model, one optimizer, one loss."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        loss: LossFn,
        config: TrainConfig,
        split: SplitFn | None,
        evaluate: Callable[[nn.Module], dict[str, float]] | None,
        sample: Callable[[nn.Module], str] | None,
        unit: str,
        best_by: str | None,
        beside: nn.Module | None = None,
    ) -> None:
        if processes() > 1 and split is None:
            raise ConfigError(
                "this stage cannot split a batch, so it runs in one process; start it without torchrun."
            )
        if config.micro_batches > 1 and split is None:
            raise ConfigError(
                f"micro_batches is {config.micro_batches}, but this stage cannot split a batch; set it to 1."
            )
        self.model, self.batches, self.loss, self.config, self.split = model, batches, loss, config, split
        self.evaluate_model, self.sample_model = evaluate, sample
        self.unit, self.best_by = unit, best_by
        freeze(model, config.trainable)
        parallel.shard(model, choose_dtype(config.dtype, config.device)[0])
        self.beside = beside
        learns = model if beside is None else nn.ModuleDict({"model": model, "beside": beside})
        self.optimizer = build_optimizer(learns, config)
        model.train()
        self.counted = 0  # tokens, say
        self.drawn = 0  # batches
        self.skipped: set[int] = set()  # their numbers
        self.evaluation: dict[str, float] = {}

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model} | ({} if self.beside is None else {"beside": self.beside})

    def optimizers(self) -> dict[str, Optimizers]:
        return {"model": self.optimizer}

    def state(self) -> dict[str, Any]:
        return {
            "counted": self.counted,
            "drawn": self.drawn,
            "skipped": sorted(self.skipped),
            "batches": self.batches.state(),
        }

    def restore(self, state: dict[str, Any], rows: list[Row]) -> None:  # noqa: ARG002
        self.counted, self.drawn = int(state["counted"]), int(state["drawn"])
        self.skipped |= set(state["skipped"])
        self.batches.restore(state["batches"])

    def conclude(self) -> Row:
        """The loss of the batch that a further update would learn from."""
        outcome = mean_loss(self.model, self._pieces(), self.loss)
        return {"loss": outcome.loss, **outcome.extra}

    def evaluate(self) -> Row:
        if self.evaluate_model:
            self.model.eval()
            with torch.no_grad():
                self.evaluation = self.evaluate_model(self.model)
            self.model.train()
        return dict(self.evaluation)

    def worth(self, row: Row) -> tuple[float, float] | None:
        return None if self.best_by is None else (-float(row[self.best_by]), 0.0)

    def sample(self) -> str | None:
        if self.sample_model is None:
            return None
        self.model.eval()
        text = self.sample_model(self.model)
        self.model.train()
        return text

    def update(self, step: int) -> Row:
        started = time.perf_counter()
        self.optimizer.set_lr_factor(self.config.lr_factor(step))
        outcome: StepOutcome = optimizer_step(
            self.model,
            self.optimizer,
            self._pieces(),
            self.loss,
            grad_clip=self.config.grad_clip,
            step=step + 1,
        )
        step_s = time.perf_counter() - started
        self.counted += outcome.count
        return {
            "loss": outcome.loss,
            "lr_matrix": self.optimizer.lr_matrix,
            "lr_adam": self.optimizer.lr_adam,
            "grad_norm": outcome.grad_norm,
            self.unit: outcome.count,
            f"{self.unit}_per_s": round(outcome.count / step_s, 1),
            **outcome.extra,
        }

    def skip_batch(self) -> int:
        """Never learn from the batch drawn last, also after `restore`; returns how many are skipped."""
        self.skipped.add(self.drawn - 1)
        return len(self.skipped)

    def status(self, row: Row) -> list[str]:
        fields = ["loss —" if row["loss"] is None else f"loss {row['loss']:.4f}"]
        if "lr_adam" in row:
            fields.append(f"lr {row['lr_matrix']:.2g}/{row['lr_adam']:.2g}")
            fields.append(f"{human_count(row[f'{self.unit}_per_s'])} {self.unit}/s")
        return fields + [f"{name} {value:.4f}" for name, value in self.evaluation.items()]

    def _pieces(self) -> list[Any]:
        """The next batch that is not skipped, cut into micro-batches."""
        batch = self.batches.next()
        self.drawn += 1
        while self.drawn - 1 in self.skipped:
            batch = self.batches.next()
            self.drawn += 1
        if self.split is None:
            return [batch]
        if processes() > 1:
            batch = self._own(batch, self.split)
        return self.split(batch, self.config.micro_batches, self.config.microbatch_tokens)

    def _own(self, batch: Any, split: SplitFn) -> Any:
        """This process's share of the whole step's batch."""
        shares = split(batch, processes(), 0)
        if len(shares) != processes():
            raise ConfigError(
                f"a step's batch can be cut into {len(shares)} shares, and there are {processes()} processes; "
                "make the batch larger or start fewer processes."
            )
        return shares[rank()]
