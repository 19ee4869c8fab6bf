"""One loop for every stage. It runs a learner: something that measures and updates its models.

    snapshot -> measure -> (save, at the end) -> evaluate? -> stop or save? -> update -> log

Row s of metrics.jsonl describes the models after s updates: row 0 the start, the last row the end, which has no update.
What an update logs (loss, gradient norm, learning rate) is in the row of the models that it began with: the loss in
row s is that of the batch that the models, after s updates, are about to learn from. Checkpoint step-s holds these
models with the data position and random states from before row s was measured, so a resumed run measures row s again.

`elapsed_s` counts measuring and updating; evaluating, sampling and saving are not in it.

Several processes (`training.parallel`) go through it in step: process 0 writes, all save and restore together.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ziggurat.console import ProgressLine, err, human_time
from ziggurat.errors import TrainingError
from ziggurat.memory import keep_freed_memory
from ziggurat.model.compiled import compile_blocks, compiles
from ziggurat.model.cpu import accelerate
from ziggurat.model.experts import mixtures_of
from ziggurat.model.recompute import recompute_blocks
from ziggurat.model.transformer import set_compute_dtype
from ziggurat.runs import Run
from ziggurat.training import former, parallel
from ziggurat.training.checkpoints import (
    load_training_state,
    random_states,
    save_training_state,
    seed_everything,
)
from ziggurat.training.config import LoopConfig
from ziggurat.training.device import choose_device
from ziggurat.training.interrupt import Interrupt
from ziggurat.training.learner import Learner, Row
from ziggurat.training.precision import SHORT_NAMES, choose_dtype, precision_of
from ziggurat.training.schedules import describe_schedule

SPIKE_ROWS, SPIKE_ROWS_LEAST = 32, 8
"""A spike is measured against the median of so many rows; of fewer than the second number nothing is said."""
SPIKE_FIELDS = ("loss", "grad_norm")
MOST_SPIKES = 100
"""After so many skipped batches the fault is in the settings, not in a batch."""


def run_loop(
    run: Run, learner: Learner, config: LoopConfig, *, resume: bool, label: str, tokenizer: Any = None
) -> Row:
    """Take `config.steps` updates (fewer if a row is fatal) and return the last row.

    Metrics and checkpoints are written to `run`; `tokenizer` is saved beside the weights of each checkpoint.
    Raises TrainingError for an update that is not finite, KeyboardInterrupt after an interruption that was saved.
    """
    return _Loop(run, learner, config, label, tokenizer).go(resume)


class _Loop:
    """The state of one call of `run_loop`."""

    def __init__(self, run: Run, learner: Learner, config: LoopConfig, label: str, tokenizer: Any) -> None:
        keep_freed_memory()
        self.run, self.learner, self.config = run, learner, config
        self.label, self.tokenizer = label, tokenizer
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device, self.device_reason = choose_device(config.device)
        self.dtype, self.dtype_reason = choose_dtype(config.dtype, self.device)
        self.fused = compiles(config.compile, self.device)
        for name, module in learner.modules().items():
            if {p.device for p in module.parameters()} != {self.device}:
                raise RuntimeError(
                    f"{name} is not on {self.device}; the stage must place it before it is trained"
                )
            set_compute_dtype(accelerate(module), self.dtype)
            if self.fused:
                compile_blocks(module)
            if config.recompute:
                recompute_blocks(module)
        self.step = 0  # updates done
        self.elapsed_s = 0.0
        self.best: float | None = None
        self.recent: list[list[float]] = []  # SPIKE_FIELDS of the last rows
        self.saved_step = -1
        self.before: dict[str, Any] = {}

    def go(self, resume: bool) -> Row:
        config, learner = self.config, self.learner
        seed_everything(config.seed)
        checkpoint = self.run.latest_checkpoint() if resume else None
        if checkpoint:
            self.restore(checkpoint)
        else:
            self.run.truncate_metrics(-1)
        self.announce(checkpoint)
        started_step, started_mark = self.step, time.perf_counter()
        with Interrupt() as interrupt, ProgressLine(self.label) as progress:
            while True:
                self.before = self.snapshot()
                last = self.step >= config.steps
                if not last and parallel.most(interrupt.asked):
                    self.save()
                    progress.note(f"stopped after step {self.step:,}; --resume continues from there")
                    raise KeyboardInterrupt

                # measure
                mark = time.perf_counter()
                row: Row = {"step": self.step, **learner.measure(self.step)}
                if last:
                    row |= learner.conclude()
                self.elapsed_s += time.perf_counter() - mark

                # evaluate? The trained models are saved first, so that a fault in the evaluation keeps them.
                evaluated = last or self.due(config.eval_every_steps)
                if last:
                    self.save()
                if evaluated:
                    row |= self.evaluate(last)
                fatal = learner.is_fatal(row, lambda text: self.remark(progress, "doctor", text))
                if self.run.quotes and (last or self.due(config.sample_every_steps)):
                    example = learner.sample()
                    if example is not None:
                        progress.note(f"step {self.step:,} writes: {example}")
                        self.run.note(self.step, "sample", example)

                # save? A fatal row is never the best.
                best = evaluated and not fatal and self.improves(row)
                first = bool(config.spike_factor) and self.step == 0
                due = self.step > 0 and self.due(config.checkpoint_every_steps)
                if last or fatal or best or due or first:
                    self.save(best=best)

                # stop?
                if last or fatal:
                    self.log(row, progress, None)
                    return row

                # update
                if self.update(row, progress.note):
                    done = self.step - started_step + 1
                    left_s = (time.perf_counter() - started_mark) / max(1, done) * (config.steps - self.step)
                    self.log(row, progress, left_s)
                    self.step += 1

    def remark(self, progress: ProgressLine, kind: str, text: str) -> None:
        """A line for the screen, and for whoever watches the run."""
        progress.note(text)
        self.run.note(self.step, kind, text)

    def evaluate(self, last: bool) -> Row:
        try:
            return parallel.gathered(self.learner.evaluate())[0]  # all decide by the same numbers
        except Exception:
            if last:
                err.print(
                    f"{self.label}: the evaluation after the last step failed. The trained models are in "
                    f"{self.run.latest_checkpoint()}; --resume repeats the evaluation."
                )
            raise

    def due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def update(self, row: Row, note: Callable[[str], None]) -> bool:
        """Add the update's fields to `row`. False if it was a spike: then the loop is back at a checkpoint."""
        mark = time.perf_counter()
        try:
            row |= self.learner.update(self.step)
        except TrainingError as error:
            if self.config.spike_factor:
                return self.go_back(str(error), note)
            if self.step and self.learner.update_is_atomic:
                self.save()  # the models as they were before
            raise
        self.elapsed_s += time.perf_counter() - mark
        if self.config.spike_factor:
            seen = [float(row[name] or 0.0) for name in SPIKE_FIELDS]
            found = self.spike(seen)
            if found:
                return self.go_back(f"step {self.step + 1}: {found}.", note)
            self.recent = [*self.recent, seen][-SPIKE_ROWS:]
        return True

    def spike(self, seen: list[float]) -> str | None:
        """What is wrong with an update of these SPIKE_FIELDS, if it is one."""
        if len(self.recent) < SPIKE_ROWS_LEAST:
            return None
        for name, value, known in zip(SPIKE_FIELDS, seen, zip(*self.recent, strict=True), strict=True):
            median = statistics.median(known)
            if value > self.config.spike_factor * median:
                return (
                    f"{name} is {value:.4g}, above {self.config.spike_factor:g} times its median {median:.4g}"
                )
        return None

    def go_back(self, reason: str, note: Callable[[str], None]) -> bool:
        """Restore the last checkpoint and have the learner skip the batch of this update."""
        skipped = self.learner.skip_batch()
        checkpoint = self.run.latest_checkpoint()
        if checkpoint is None or skipped > MOST_SPIKES:
            raise TrainingError(f"{reason} {skipped} batches have been skipped; lower the learning rate.")
        self.restore(checkpoint)
        note(f"{reason} Back to step {self.step:,}; this batch is skipped.")
        return False

    def improves(self, row: Row) -> bool:
        found = self.learner.worth(row)
        if found is None:
            return False
        worth, tolerance = found
        if self.best is not None and worth <= self.best - tolerance:
            return False
        self.best = worth if self.best is None else max(self.best, worth)
        return True

    def log(self, row: Row, progress: ProgressLine, left_s: float | None) -> None:
        """Write the row, and the progress line. `left_s` None: it is the last row."""
        row["elapsed_s"] = round(self.elapsed_s, 4)
        last = left_s is None
        if last or self.due(self.config.log_every_steps):
            self.run.log_metrics(row)
        self.learner.logged(row)
        fields = [f"step {self.step:,}/{self.config.steps:,}", *self.learner.status(row)]
        progress.update(" · ".join([*fields, f"{human_time(left_s or 0.0)} left"]), force=last)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All that a checkpoint of this step holds beside models and optimizers, before the row is measured."""
        extra = {
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "recent": self.recent,
            "learner": self.learner.state(),
        }
        return {"extra": extra, "random": random_states()}

    def save(self, *, best: bool = False) -> None:
        """A checkpoint of this step's models, with the snapshot from before its row was measured."""
        if self.saved_step == self.step:
            if best:
                self.run.mark_best()
            return

        def write(folder: Path) -> None:
            self.run.together()  # the folder is there
            save_training_state(
                folder,
                self.learner.modules(),
                self.learner.optimizers(),
                self.before["extra"],
                randomness=self.before["random"],
                tokenizer=self.tokenizer,
            )
            self.run.together()  # every process has written its part

        self.run.save_checkpoint(self.step, write, keep_last=self.config.keep_checkpoints, best=best)
        self.saved_step = self.step

    def restore(self, checkpoint: Path) -> None:
        """Back to a checkpoint; the rows from its step on are measured and logged again."""
        extra = load_training_state(checkpoint, self.learner.modules(), self.learner.optimizers())
        if former.is_former(extra):
            extra = former.translate(extra, self.run)
        self.step = self.saved_step = int(extra["step"])
        self.elapsed_s, self.best, self.recent = float(extra["elapsed_s"]), extra["best"], extra["recent"]
        self.run.truncate_metrics(self.step - 1)
        self.learner.restore(extra["learner"], self.run.read_metrics())

    # --- the screen ----------------------------------------------------------------------------------------------

    def announce(self, checkpoint: Path | None) -> None:
        """Everything derived, before the first step."""
        c = self.config
        where = f"resuming {checkpoint.name} of " if checkpoint else ""
        clip = f"gradient clipped at {c.grad_clip:g}" if c.grad_clip else "gradient not clipped"
        schedule = describe_schedule(c.steps, c.warmup_steps, c.schedule, c.final_lr_factor)
        dtype = SHORT_NAMES[self.dtype]
        err.print(f"{self.label}: {where}{c.steps:,} steps, seed {c.seed}, {torch.get_num_threads()} threads")
        for name, optimizer in self.learner.optimizers().items():
            err.print(f"  {name}: {optimizer.describe()}; {clip}")
        err.print(f"  learning rates: {schedule}")
        kind = "blocks compiled" if self.fused else "blocks not compiled"
        if self.fused and any(mixtures_of(module) for module in self.learner.modules().values()):
            kind += ", but for those with experts, whose shapes follow the routing"
        err.print(f"  on {self.device} because {self.device_reason}; {kind}")
        err.print(f"  compute in {dtype} because {self.dtype_reason}; {precision_of(self.learner.modules())}")
