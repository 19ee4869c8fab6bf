"""Settings of stage 4 (`PPOConfig`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ziggurat.console import human_count
from ziggurat.model.accounting import total_parameters
from ziggurat.model.hub import load_config
from ziggurat.places import find_run, model_folder
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import setup
from ziggurat.stages.doctor import DoctorLimits
from ziggurat.stages.removed import REMOVED
from ziggurat.stages.watched import WatchedConfig
from ziggurat.training.config import LoopConfig, OptimizerConfig


class PolicyConfig(OptimizerConfig):
    """The policy's optimizer. With `trainable=last:k` knowledge is kept and a step is cheaper."""

    removed = REMOVED["PolicyConfig"]

    optimizer: Literal["muon", "adamw"] = "adamw"
    lr_matrix: float = Field(default=0.002, ge=0)
    lr_adam: float = Field(default=1e-4, ge=0)


class CriticConfig(OptimizerConfig):
    """The critic's optimizer. `trainable=head` is cheaper, and right where the reward model's body was frozen too."""

    removed = REMOVED["CriticConfig"]

    optimizer: Literal["muon", "adamw"] = "adamw"
    lr_matrix: float = Field(default=0.002, ge=0)
    lr_adam: float = Field(default=3e-4, ge=0)

    epochs: int = Field(default=1, ge=1, le=64)
    """Passes of the critic over a step's rollouts, if more than the policy's; nearly free with `trainable=head`."""


def _of_critic(trainable: Any) -> Any:
    """What `trainable` of the stage means for the critic: beside an adapted policy its body is the frozen base."""
    return "head" if trainable == "lora" else trainable


class PPOConfig(WatchedConfig):
    """Settings of stage 4. Rewards and values are in units of the stage-2 model's reward deviation, KL in nats."""

    removed = REMOVED["PPOConfig"]
    short = {
        "trainable": lambda value: {
            "policy": {"trainable": value},
            "critic": {"trainable": _of_critic(value)},
        },
        "lora": lambda value: {"policy": {"lora": value}},
        "recompute": lambda value: {"train": {"recompute": value}},
    }

    train: LoopConfig = LoopConfig(
        steps=60, final_lr_factor=0.1, eval_every_steps=10, checkpoint_every_steps=10
    )
    """The loop: a step rolls out, assesses and updates; an evaluation is the gold check (where there is one) and the
    choice of the best checkpoint."""

    rollouts_per_step: int = Field(default=256, ge=1)
    """Prompts of a step, one completion each."""

    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion; one that does not end by then counts as truncated. A prompt that leaves less room in the
    context has less. -1: computed from measured answers (stages/answer_length.py)."""

    temperature: float = Field(default=1.0, gt=0)
    """Of rollouts, ratios and KL alike."""

    epochs: int = Field(default=1, ge=1, le=16)
    """Passes over a step's rollouts (the paper used 1)."""

    minibatches: int = Field(default=4, ge=1)
    """Optimizer steps of one pass."""

    microbatch_tokens: int = Field(default=0, ge=0)
    """Tokens computed at a time, padding included; bounds memory, changes nothing else. 0: computed from the shapes of
    the models (`training.cost`). With `policy.trainable`
    of last:k the trunk's states of a whole step are kept beside it: rollouts x width x d_model."""

    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount of rewards per token."""

    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE's lambda: 0 trusts the critic, 1 the sampled rewards."""

    clip: float = Field(default=0.2, gt=0)
    """Ratios are clipped to 1 ± this."""

    value_clip: float = Field(default=0.2, gt=0)
    """Values move at most this far from the old ones, in units of reward."""

    beta: float = Field(default=0.05, ge=0)
    """KL coefficient at the start (the paper's fixed value is 0.02)."""

    kl_target: float = Field(default=6.0, ge=0)
    """Exact KL to the reference, in nats a completion, that beta is steered to; 0: beta stays as it is."""

    kl_gain: float = Field(default=0.5, ge=0)
    """How fast beta follows: at most a fifth of this per step."""

    beta_min: float = Field(default=0.02, ge=0)
    """Beta never falls below; it is not lowered to make the policy spend its target."""

    beta_max: float = Field(default=2.0, gt=0)

    truncation_reward: float = Field(default=-3.0)
    """Score of a completion that never ended, in place of the reward model's."""

    critic_warmup_steps: int = Field(default=4, ge=0)
    """First steps in which only the critic learns."""

    policy: PolicyConfig = PolicyConfig()
    critic: CriticConfig = CriticConfig()

    ptx_weight: float = Field(default=0.3, ge=0)
    """PPO-ptx: mean next-token loss on documents times this is added to the policy's mean loss per token."""

    ptx_rows: int = Field(default=4, ge=1)
    """Rows of documents in each optimizer step."""

    ptx_row_tokens: int = Field(default=256, ge=2)
    """Tokens of such a row; the model's context at most."""

    gold_tolerance: float = Field(default=0.0, ge=0)
    """A later checkpoint is preferred while its gold check is less than this below the best: about the check's standard
    error, so that noise does not send the policy back to where it had hardly moved."""

    doctor: DoctorLimits = DoctorLimits()

    stop_when_fatal: bool = True
    """A fatal diagnosis stops the run at its best checkpoint."""

    allow_weak_reward_model: bool = False
    """Go on although the reward model failed its report card."""


LARGE: dict[str, Any] = {
    "rollouts_per_step": 64,
    "policy": {"trainable": "last:2", "lr_adam": 5e-5, "lora": {"lr_factor": 30.0}},
    "critic": {"trainable": "head", "epochs": 8, "lr_adam": 1e-3},
}
"""Defaults for a policy of more than setup.LARGE_PARAMETERS, as models from elsewhere are: on a CPU a step of all four
networks takes minutes, and the rates of our small models move it too far. The last blocks learn, and the critic's body
does not. An adapter, where one is asked for, learns at 30 times that rate: GRPO on SmolLM2-135M with verifiable rules
was at 1.0 nats a completion after 34 steps with 10 times, and at 4.1 after 18 with 30 times (docs/real.md)."""


def ppo_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[PPOConfig]:
    """The configuration from its layers; dtype and threads are inherited from the policy's run, and a large policy has
    the defaults LARGE."""

    folder = find_run(str(policy))
    layer = {"train": setup.inherited_loop(folder), **setup.inherited_records(folder)}
    inherited = ("inherited", layer)
    count = total_parameters(load_config(model_folder(policy)))
    if count <= setup.LARGE_PARAMETERS:
        return resolve(PPOConfig, inherited, *layers)
    reason = f"{human_count(count)} parameters, above {human_count(setup.LARGE_PARAMETERS)}"
    return resolve(PPOConfig, (reason, LARGE), inherited, *layers)
