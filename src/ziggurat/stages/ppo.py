"""Stage 4: a policy that earns the reward model's approval without forgetting where it came from.

A step, in this order, every day the same:

    roll out -> score, log-probabilities, values -> gold check? -> doctor? -> save? -> stop? -> update -> log

Row s of metrics.jsonl describes the policy after s updates (row 0 is the policy it started from), measured on that
step's rollouts before they are learned from; checkpoint step-s holds exactly that policy. The loop passes once more
after the last update, so the end is measured and saved too. The model of the run is the best checkpoint: by the gold
check where one is given (the latest within its tolerance), else by reward minus beta times KL (beta of the start).

What is left out, and why that is safe: entropy bonus (the KL reward keeps entropy up), value and policy in one
network (each keeps its own optimizer), top-p in rollouts (the ratio needs the full distribution), reward whitening
(the reward model already has a unit), several devices.
Sources: InstructGPT, arXiv:2203.02155, 3.5 and C.4; PPO, arXiv:1707.06347; GAE, arXiv:1506.02438.

    ziggurat ppo --policy town/sft --reward town/reward --data prompts.jsonl --text annals.jsonl
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ziggurat.console import ProgressLine, err, human_time
from ziggurat.corpus.pack import RowBatches
from ziggurat.engine.sampler import derive_key
from ziggurat.lineage import base_manifest, parent_entry
from ziggurat.records import Document, Prompt
from ziggurat.runs import Run
from ziggurat.settings import Resolved
from ziggurat.stages import setup
from ziggurat.stages.doctor import Diagnosis, diagnose
from ziggurat.stages.ppo_config import PPOConfig, Prepared, ppo_config, prepare
from ziggurat.stages.ppo_losses import steer_beta
from ziggurat.stages.ppo_metrics import describe_completions, describe_experience, describe_update
from ziggurat.stages.ppo_networks import load_networks
from ziggurat.stages.ppo_update import Experience, UpdateSettings, assess, update
from ziggurat.stages.rollouts import (
    Microbatch,
    PolicySampler,
    PromptOrder,
    Rollout,
    cut_minibatches,
    roll_out,
)
from ziggurat.training.checkpoints import load_training_state, save_training_state, seed_everything
from ziggurat.training.interrupt import Interrupt
from ziggurat.training.optimizers import build_optimizer
from ziggurat.training.schedules import lr_factor

__all__ = ["Gold", "PPOConfig", "ppo", "ppo_config", "prepare"]

Gold = Callable[[PolicySampler], float]
"""A check that the reward model has no part in: higher is better; it asks the sampler what it likes."""

SMOOTH_ROWS = 3
"""Rows averaged where checkpoints are compared by their (noisy) reward."""


def ppo(
    resolved: Resolved[PPOConfig],
    policy: str | Path,
    reward_model: str | Path,
    prompts: Sequence[Prompt],
    run_path: Path,
    *,
    reference: str | Path | None = None,
    ptx_documents: Sequence[Document] = (),
    gold: Gold | None = None,
    on_step: Callable[[dict[str, Any]], None] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run stage 4 and return the run's folder. KL is measured to `reference`, by default the policy's own start."""
    ready = prepare(
        resolved, policy, reward_model, prompts, reference=reference, ptx_documents=ptx_documents, data=data
    )
    if resume:
        setup.check_same_data(run_path, ready.data)
    manifest = base_manifest("ppo", parent=ready.policy_folder, data=ready.data, seed=resolved.config.seed)
    networks = {
        "reference": parent_entry(ready.reference_folder),
        "reward_model": parent_entry(ready.reward_folder),
    }
    with Run.create(
        run_path,
        stage="ppo",
        config_yaml=resolved.to_yaml(),
        manifest=manifest | {"tokenizer": ready.tokenizer.fingerprint} | networks,
        resume=resume,
        overwrite=overwrite,
    ) as run:
        setup.print_sources(resolved)
        setup.print_derived("ppo", ready.derived)
        stage = _PPO(run, ready, gold, on_step)
        stage.go(resume)
        stage.finish()
    return run_path


class _PPO:
    """The state of one run of stage 4."""

    def __init__(
        self, run: Run, ready: Prepared, gold: Gold | None, on_step: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.run, self.ready, self.gold, self.on_step = run, ready, gold, on_step
        self.config = config = ready.resolved.config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.nets = load_networks(ready)
        self.policy_optimizer = build_optimizer(self.nets.policy, config.policy.as_train_config())
        self.critic_optimizer = build_optimizer(self.nets.critic, config.critic.as_train_config())
        self.order = PromptOrder(len(ready.prompt_ids), config.rollouts_per_step, config.seed)
        self.ptx = (
            None if ready.ptx_rows is None else RowBatches(ready.ptx_rows, config.ptx_rows, config.seed)
        )
        self.step = 0  # updates done
        self.beta = config.beta
        self.best: tuple[int, float] | None = None  # (step chosen, the most that any was worth)
        self.elapsed_s = 0.0
        self.rows: list[dict[str, Any]] = []
        self.diagnoses: list[tuple[int, Diagnosis]] = []

    # --- the day -------------------------------------------------------------------------------------------------

    def go(self, resume: bool) -> None:
        config = self.config
        seed_everything(config.seed)
        self.restore(resume)
        with Interrupt() as interrupt, ProgressLine("ppo") as progress:
            while True:
                t0 = time.perf_counter()
                rollouts, minibatches = self.roll_out()
                t1 = time.perf_counter()
                experience = self.assess(rollouts, minibatches)
                t2 = time.perf_counter()
                row = self.describe(rollouts, experience)
                last = self.step >= config.steps
                due = last or self.step % config.check_every_steps == 0

                # a gold check?
                if self.gold and due:
                    row["gold"] = self.gold(self.sampler())

                # does the doctor see something?
                fatal = self.consult(row, progress)

                # save? An ill policy is never the best.
                if due or fatal or interrupt.asked:
                    self.save(row, may_be_best=due and not fatal)

                # stop?
                if last or fatal:
                    self.log(row)
                    progress.update(self.status(row), force=True)
                    return
                if interrupt.asked:
                    progress.note(f"stopped at step {self.step}; --resume continues from there")
                    raise KeyboardInterrupt

                t3 = time.perf_counter()
                row |= self.update(minibatches, experience)
                t4 = time.perf_counter()
                row |= {
                    "rollout_s": round(t1 - t0, 4),
                    "assess_s": round(t2 - t1, 4),
                    "update_s": round(t4 - t3, 4),
                }
                self.elapsed_s += (t2 - t0) + (t4 - t3)
                self.log(row)
                progress.update(self.status(row))
                self.step += 1

    def roll_out(self) -> tuple[list[Rollout], list[list[Microbatch]]]:
        """This step's completions by the live policy, and their cut into minibatches."""
        config, ready = self.config, self.ready
        rollouts = roll_out(
            self.nets.policy,
            [ready.prompt_ids[i] for i in self.order.at(self.step)],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            stop_ids=ready.template.stop_ids,
            seed=derive_key(config.seed, self.step),
        )
        device = self.nets.policy.embedding.weight.device
        name = f"{config.seed} step {self.step}"
        cut = cut_minibatches(
            rollouts, config.minibatches, config.microbatch_tokens, ready.tokenizer.pad_id, name, device
        )
        return rollouts, cut

    def assess(self, rollouts: Sequence[Rollout], minibatches: Sequence[Sequence[Microbatch]]) -> Experience:
        config = self.config
        return assess(
            self.nets,
            rollouts,
            minibatches,
            temperature=config.temperature,
            truncation_reward=config.truncation_reward,
            beta=self.beta,
            gamma=config.gamma,
            lam=config.lam,
        )

    def describe(self, rollouts: Sequence[Rollout], experience: Experience) -> dict[str, Any]:
        """What is known of this step's policy before it is updated."""
        return {
            "step": self.step,
            **describe_experience(experience, self.beta),
            "beta": self.beta,
            "kl_target": self.config.kl_target,
            **describe_completions(rollouts, self.ready.tokenizer),
            "tokens": sum(len(one.completion) for one in rollouts),
        }

    def update(self, minibatches: Sequence[Sequence[Microbatch]], experience: Experience) -> dict[str, Any]:
        """The optimizer steps of this step, then beta's."""
        config = self.config
        for optimizer, warmup in ((self.policy_optimizer, config.warmup_steps), (self.critic_optimizer, 0)):
            factor = lr_factor(self.step, config.steps, warmup, config.schedule, config.final_lr_factor)
            optimizer.set_lr_factor(factor)
        train_policy = self.step >= config.critic_warmup_steps
        settings = UpdateSettings(
            epochs=config.epochs,
            critic_epochs=config.critic.epochs,
            clip=config.clip,
            value_clip=config.value_clip,
            temperature=config.temperature,
            grad_clip=config.grad_clip,
            ptx_weight=config.ptx_weight,
            train_policy=train_policy,
            seed=f"{config.seed} step {self.step}",
            step=self.step,
        )
        stats = update(
            self.nets,
            self.policy_optimizer,
            self.critic_optimizer,
            minibatches,
            experience,
            settings,
            self.ptx_rows if self.ptx else None,
        )
        if train_policy:
            kl = float((experience.kl * experience.mask).sum(dim=1).mean())
            self.beta = steer_beta(
                self.beta,
                kl,
                config.kl_target,
                gain=config.kl_gain,
                beta_min=min(config.beta_min, config.beta),
                beta_max=config.beta_max,
            )
        return {
            **describe_update(stats),
            "lr_adam": self.policy_optimizer.lr_adam,
            "policy_trained": train_policy,
        }

    def ptx_rows(self) -> torch.Tensor:
        """The next rows of documents, (n, T+1)."""
        assert self.ptx is not None
        return torch.from_numpy(self.ptx.next()).long().to(self.nets.policy.embedding.weight.device)

    def sampler(self) -> PolicySampler:
        return PolicySampler(
            self.nets.policy, self.ready.tokenizer, self.ready.template, self.config.max_new_tokens
        )

    # --- rare duties ---------------------------------------------------------------------------------------------

    def consult(self, row: dict[str, Any], progress: ProgressLine) -> bool:
        """Ask the doctor; new diagnoses are told once. True if the run should stop."""
        found = diagnose([*self.rows, row], self.config.doctor)
        known = {diagnosis.name for _, diagnosis in self.diagnoses}
        for diagnosis in found:
            if diagnosis.name not in known:
                self.diagnoses.append((self.step, diagnosis))
                progress.note(f"doctor, step {self.step}: {diagnosis}")
        row["doctor"] = [diagnosis.name for diagnosis in found]
        return self.config.stop_when_fatal and any(diagnosis.fatal for diagnosis in found)

    def worth(self, row: dict[str, Any]) -> float:
        """What checkpoints are chosen by."""
        if self.gold:
            return float(row["gold"])
        recent = [*self.rows, row][-SMOOTH_ROWS:]
        return sum(float(r["reward"] - self.config.beta * r["kl"]) for r in recent) / len(recent)

    def save(self, row: dict[str, Any], *, may_be_best: bool) -> None:
        """A checkpoint of this step's policy, before its update."""
        before = self.best
        worth, tolerance = self.worth(row), self.config.gold_tolerance if self.gold else 0.0
        if may_be_best and (self.best is None or worth > self.best[1] - tolerance):
            self.best = (self.step, max(worth, before[1] if before else worth))
        extra = {
            "step": self.step,
            "beta": self.beta,
            "best": before,
            "elapsed_s": self.elapsed_s,
            "ptx": self.ptx.state() if self.ptx else None,
        }

        def write(folder: Path) -> None:
            save_training_state(
                folder,
                {"policy": self.nets.policy, "critic": self.nets.critic},
                {"policy": self.policy_optimizer, "critic": self.critic_optimizer},
                extra,
                tokenizer=self.ready.tokenizer,
            )

        self.run.save_checkpoint(self.step, write, best=self.best is not before)

    def restore(self, resume: bool) -> None:
        """Back to the newest checkpoint, if there is one; its step is rolled out, measured and logged again."""
        checkpoint = self.run.latest_checkpoint() if resume else None
        if checkpoint:
            extra = load_training_state(
                checkpoint,
                {"policy": self.nets.policy, "critic": self.nets.critic},
                {"policy": self.policy_optimizer, "critic": self.critic_optimizer},
            )
            self.step, self.beta, self.elapsed_s = extra["step"], extra["beta"], extra["elapsed_s"]
            self.best = None if extra["best"] is None else (int(extra["best"][0]), float(extra["best"][1]))
            if self.ptx and extra["ptx"]:
                self.ptx.restore(extra["ptx"])
            err.print(f"ppo: resuming {checkpoint.name} of {self.config.steps}")
        self.run.truncate_metrics(self.step - 1)
        self.rows = self.run.read_metrics()
        for end in range(1, len(self.rows) + 1):
            known = {diagnosis.name for _, diagnosis in self.diagnoses}
            found = diagnose(self.rows[:end], self.config.doctor)
            self.diagnoses += [(self.rows[end - 1]["step"], d) for d in found if d.name not in known]

    def log(self, row: dict[str, Any]) -> None:
        row["elapsed_s"] = round(self.elapsed_s, 4)
        self.rows.append(row)
        self.run.log_metrics(row)
        if self.on_step:
            self.on_step(row)

    def status(self, row: dict[str, Any]) -> str:
        """One line: fixed fields, and the time left."""
        left_s = (self.config.steps - self.step) * self.elapsed_s / (self.step + 1)
        fields = [
            f"step {self.step}/{self.config.steps}",
            f"reward {row['reward']:.3f}",
            f"KL {row['kl']:.2f}",
            f"beta {row['beta']:.3f}",
            f"entropy {row['entropy']:.2f}",
            f"length {row['length']:.1f}",
            f"ended {row['share_ended']:.0%}",
            *([f"gold {row['gold']:.3f}"] if "gold" in row else []),
            f"{human_time(left_s)} left",
        ]
        return " · ".join(fields)

    # --- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """The best checkpoint's policy becomes the run's model; the report says what was learned and at what price."""
        from ziggurat.stages.ppo_report import write_report

        best = self.run.best_checkpoint()
        if best is None:
            raise RuntimeError(f"{self.run.path} has no best checkpoint")
        self.run.save_model(lambda folder: _copy(best / "policy", folder))
        chosen = int(best.name.rpartition("-")[2])
        report = write_report(
            self.run, self.ready, self.rows, chosen, self.diagnoses, by_gold=self.gold is not None
        )
        err.print(report["summary"])
        self.run.finish(report)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
