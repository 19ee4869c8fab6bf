"""What PPO and GRPO have in common: a policy that is rolled out, watched by the doctor, checked against gold.

A class that inherits it measures a step's rollouts and updates the policy. Rows must have `reward` and `kl`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ziggurat.dialogue.chat import Chat
from ziggurat.model.transformer import Transformer
from ziggurat.places import SHARDED_MODULE
from ziggurat.processes import writes
from ziggurat.runs import Run
from ziggurat.stages.doctor import Diagnosis, diagnose
from ziggurat.stages.ppo_report import write_report
from ziggurat.training import Learner, run_loop
from ziggurat.training.learner import Row
from ziggurat.training.sharded_checkpoints import gather_module

Gold = Callable[[Chat], float]
"""A check in which the reward has no part: higher is better. Its `Chat` is the policy, greedy by default."""

SMOOTH_ROWS = 3
"""Rows averaged where checkpoints are compared by their (noisy) reward."""


class PolicyLearner(Learner):
    """The doctor, the choice of the best checkpoint, and what people see."""

    update_is_atomic = False  # the optimizer steps of one update are

    def __init__(
        self, ready: Any, gold: Gold | None = None, on_step: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """`ready`: Prepared of the stage, with `chat`, `prompts`, and a config that has `beta`, `doctor`,
        `stop_when_fatal` and `gold_tolerance`."""
        self.ready, self.gold, self.on_step = ready, gold, on_step
        self.config = ready.config
        self.rows: list[Row] = []
        self.diagnoses: list[tuple[int, Diagnosis]] = []

    @property
    def live(self) -> Transformer:
        """The policy as it is now."""
        raise NotImplementedError

    def examine_again(self, rows: list[Row]) -> None:
        """Take up the rows of the steps before a checkpoint."""
        self.rows, self.diagnoses = [], []
        for row in rows:
            self.rows.append(row)
            self.examine(self.rows)

    def evaluate(self) -> Row:
        return {} if self.gold is None else {"gold": self.gold(self.chat())}

    def is_fatal(self, row: Row, note: Callable[[str], None]) -> bool:
        """Examine the rows so far; a new diagnosis is printed once."""
        known = len(self.diagnoses)
        found = self.examine([*self.rows, row])
        for step, diagnosis in self.diagnoses[known:]:
            note(f"doctor, step {step}: {diagnosis}")
        row["doctor"] = [diagnosis.name for diagnosis in found]
        return bool(self.config.stop_when_fatal) and any(diagnosis.fatal for diagnosis in found)

    def examine(self, rows: Sequence[Row]) -> list[Diagnosis]:
        """The doctor's diagnoses of the last row; those that are new are remembered with its step."""
        found = diagnose(rows, self.config.doctor)
        known = {diagnosis.name for _, diagnosis in self.diagnoses}
        self.diagnoses += [(rows[-1]["step"], one) for one in found if one.name not in known]
        return found

    def worth(self, row: Row) -> tuple[float, float]:
        if self.gold:
            return float(row["gold"]), self.config.gold_tolerance
        recent = [*self.rows, row][-SMOOTH_ROWS:]
        return sum(r["reward"] - self.config.beta * self.drift(r) for r in recent) / len(recent), 0.0

    def drift(self, row: Row) -> float:
        """The KL of a row in the unit in which beta weighs it: nats a completion."""
        return float(row["kl"])

    def logged(self, row: Row) -> None:
        self.rows.append(row)
        if self.on_step:
            self.on_step(row)

    def chat(self) -> Chat:
        """The live policy, as the gold check and people meet it."""
        found: Chat = self.ready.chat(self.live)
        return found

    def sample(self) -> str:
        first = self.ready.prompts[0]
        said = self.chat().complete_many([first.prompt], tools=[first.tools])[0]
        return f"{first.prompt[-1].content!r} -> {said!r}"

    def status(self, row: Row) -> list[str]:
        return [
            f"reward {row['reward']:.3f}",
            f"KL {row['kl']:.2f}",
            f"beta {row['beta']:.3f}",
            f"entropy {row['entropy']:.2f}",
            f"length {row['length']:.1f}",
            f"ended {row['share_ended']:.0%}",
            *([f"gold {row['gold']:.3f}"] if "gold" in row else []),
        ]


def learn_and_report(run: Run, learner: PolicyLearner, *, label: str, resume: bool) -> None:
    """All steps; then the best checkpoint's policy becomes the run's model, and the report is written."""
    ready = learner.ready
    run_loop(run, learner, ready.config.train, resume=resume, label=label, tokenizer=ready.tokenizer)
    best = run.best_checkpoint()
    if best is None:
        raise RuntimeError(f"{run.path} has no best checkpoint")
    run.save_model(lambda folder: copy_model(best / "policy", folder))
    by_gold = learner.gold is not None
    write_report(run, ready, learner.rows, best, learner.diagnoses, by_gold=by_gold)


def copy_model(source: Path, target: Path) -> None:
    """Into a folder that is there; gathered, where the checkpoint holds shards."""
    if not writes():
        return
    if (source / SHARDED_MODULE).is_file():
        gather_module(source.parent, source.name, target)
    else:
        shutil.copytree(source, target, dirs_exist_ok=True)
