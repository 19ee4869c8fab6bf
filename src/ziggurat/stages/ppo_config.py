"""Settings of stage 4, and all that is settled before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ziggurat.errors import ModelFolderError, RunError
from ziggurat.records import Document, Prompt
from ziggurat.settings import Config, Resolved, resolve
from ziggurat.stages import setup
from ziggurat.stages.doctor import DoctorLimits, weak_reward_model
from ziggurat.stages.setup import Derived
from ziggurat.training.config import TrainConfig
from ziggurat.training.schedules import ScheduleKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate

INHERITED = ("dtype", "threads")


class NetConfig(Config):
    """How one of the two trained networks moves."""

    optimizer: Literal["muon", "adamw"] = "adamw"
    lr_matrix: float = Field(default=0.002, ge=0)
    """Peak rate of Muon's matrices; not read with adamw."""
    lr_adam: float = Field(default=1e-4, ge=0)
    """Peak rate of whatever AdamW updates."""

    def as_train_config(self) -> TrainConfig:
        return TrainConfig(
            optimizer=self.optimizer, lr_matrix=self.lr_matrix, lr_adam=self.lr_adam, betas=(0.9, 0.95)
        )


class PolicyConfig(NetConfig):
    unfrozen_blocks: int = Field(default=0, ge=0)
    """The last blocks, which learn (with the last norm) while everything else stays still: what is known is kept, and
    steps are cheaper. 0, or as many as there are: everything learns."""


class CriticConfig(NetConfig):
    body_learns: bool = True
    """False: only what reads the body learns; cheaper, and right where the reward model's body was still too."""
    epochs: int = Field(default=1, ge=1, le=64)
    """Passes of the critic over a step's rollouts, if more than the policy's; next to free where its body is still."""


class PPOConfig(Config):
    """Settings of stage 4. Rewards and values are in units of the stage-2 model's reward deviation, KL in nats."""

    steps: int = Field(default=60, ge=0)
    """PPO steps: each rolls out, assesses and updates. A time budget is turned into this number beforehand."""

    rollouts_per_step: int = Field(default=256, ge=1)
    """Prompts of a step, one completion each."""

    max_new_tokens: int = Field(default=64, ge=1)
    """Longest completion; one that does not end by then counts as truncated."""

    temperature: float = Field(default=1.0, gt=0)
    """Of rollouts, ratios and KL alike."""

    epochs: int = Field(default=1, ge=1, le=16)
    """Passes over a step's rollouts (the paper used 1)."""

    minibatches: int = Field(default=4, ge=1)
    """Optimizer steps of one pass."""

    microbatch_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at a time, padding included; bounds memory, changes nothing else. With `policy.unfrozen_blocks`
    the trunk's states of a whole step are kept beside it: rollouts x width x d_model."""

    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount of rewards per token."""

    lam: float = Field(default=0.95, ge=0, le=1)
    """GAE's lambda: 0 trusts the critic, 1 the sampled rewards."""

    clip: float = Field(default=0.2, gt=0)
    """Ratios are clipped to 1 ± this."""

    value_clip: float = Field(default=0.2, gt=0)
    """Values move at most this far from the old ones, in units of reward."""

    grad_clip: float = Field(default=1.0, ge=0)
    """Largest allowed norm of each network's gradient; 0: not clipped."""

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
    critic: CriticConfig = CriticConfig(lr_adam=3e-4)

    warmup_steps: int = Field(default=0, ge=0)
    """Of the policy's rates; the critic learns at its full rate from the first step."""
    schedule: ScheduleKind = "linear"
    final_lr_factor: float = Field(default=0.1, ge=0, le=1)

    ptx_weight: float = Field(default=0.3, ge=0)
    """PPO-ptx: mean next-token loss on documents times this is added to the policy's mean loss per token."""

    ptx_rows: int = Field(default=4, ge=1)
    """Rows of documents in each optimizer step."""

    ptx_row_tokens: int = Field(default=256, ge=2)
    """Tokens of such a row; the model's context at most."""

    check_every_steps: int = Field(default=10, ge=1)
    """Gold check (where there is one), checkpoint and choice of the best, every so many steps."""

    gold_tolerance: float = Field(default=0.0, ge=0)
    """A later checkpoint is preferred while its gold check is less than this below the best: about the check's standard
    error, so that noise does not send the policy back to where it had hardly moved."""

    doctor: DoctorLimits = DoctorLimits()

    stop_when_fatal: bool = True
    """A fatal diagnosis stops the run at its best checkpoint."""

    allow_weak_reward_model: bool = False
    """Go on although the reward model failed its report card."""

    seed: int = Field(default=0, ge=0)
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 leaves torch's choice. Part of what makes a resumed run equal byte for byte."""


@dataclass(frozen=True)
class Prepared:
    """All that is settled before the first step; `ziggurat ppo --dry-run` ends here."""

    resolved: Resolved[PPOConfig]
    policy_folder: Path
    reference_folder: Path
    reward_folder: Path
    tokenizer: Tokenizer
    template: ChatTemplate
    prompts: list[Prompt]
    prompt_ids: list[list[int]]
    ptx_rows: NDArray[np.int32] | None
    """(N, T+1)"""
    derived: list[Derived]
    data: list[dict[str, Any]]


def ppo_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[PPOConfig]:
    """The configuration from its layers; dtype and threads are inherited from the policy's run."""
    from ziggurat.places import find_run

    run = setup.parent_run(find_run(str(policy)))
    known: dict[str, Any] = run.config if run else {}
    nested = known.get("train")
    train = nested if isinstance(nested, dict) else known
    return resolve(PPOConfig, ("inherited", {key: train[key] for key in INHERITED if key in train}), *layers)


def prepare(
    resolved: Resolved[PPOConfig],
    policy: str | Path,
    reward_model: str | Path,
    prompts: Sequence[Prompt],
    *,
    reference: str | Path | None = None,
    ptx_documents: Sequence[Document] = (),
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check that the networks belong together, render the prompts, pack the documents; nothing is written."""
    from ziggurat.model.hub import check_model, is_scalar, load_config
    from ziggurat.places import find_run, model_folder
    from ziggurat.stages.rollouts import render_prompts
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate

    config = resolved.config
    setup.need(prompts, "prompts")
    folder, reward_folder = model_folder(policy), model_folder(reward_model)
    reference_folder = model_folder(reference) if reference is not None else folder
    tokenizer = Tokenizer.load(folder)
    if not is_scalar(reward_folder):
        raise ModelFolderError(
            f"{reward_folder} is a language model, not a reward model; name a run of stage 3."
        )
    for answering in (folder, reference_folder):
        if is_scalar(answering):
            raise ModelFolderError(
                f"{answering} is a reward model; name a run of stage 2 or 4 as the policy."
            )
    for other in {reward_folder, reference_folder} - {folder}:
        if Tokenizer.load(other).fingerprint != tokenizer.fingerprint:
            raise ModelFolderError(
                f"{other} has another tokenizer than {folder}; policy, reference and reward model must share one."
            )
    for one in {folder, reward_folder, reference_folder}:
        check_model(one, tokenizer.vocab_size)
    if not config.allow_weak_reward_model:
        _refuse_weak(find_run(str(reward_model)), config.doctor)
    template = ChatTemplate(tokenizer)
    context = load_config(folder).context
    ids = render_prompts([one.prompt for one in prompts], template, context, [one.tools for one in prompts])
    rows = _ptx_rows(config, tokenizer, ptx_documents, context)
    passes = config.steps * config.rollouts_per_step / len(ids)
    updates = config.epochs * min(config.minibatches, config.rollouts_per_step)
    derived = [
        Derived("prompts", len(ids), f"{sum(map(len, ids)) / len(ids):.1f} tokens on average"),
        Derived("passes over the prompts", f"{passes:.2f}", "rollouts / prompts"),
        Derived(
            "rollouts",
            config.steps * config.rollouts_per_step,
            f"{config.steps} × {config.rollouts_per_step}",
        ),
        Derived(
            "optimizer steps",
            config.steps * updates,
            f"{config.epochs} epochs × {config.minibatches} minibatches",
        ),
        Derived(
            "pre-training tokens a step",
            0 if rows is None else updates * config.ptx_rows * (rows.shape[1] - 1),
            "no documents were given"
            if rows is None
            else f"{len(rows):,} rows in all, weight {config.ptx_weight:g}",
        ),
    ]
    entries = list(data) if data else [setup.memory_entry("prompts", list(prompts))]
    if data is None and ptx_documents:
        entries.append(setup.memory_entry("text", list(ptx_documents)))
    return Prepared(
        resolved=resolved,
        policy_folder=folder,
        reference_folder=reference_folder,
        reward_folder=reward_folder,
        tokenizer=tokenizer,
        template=template,
        prompts=list(prompts),
        prompt_ids=ids,
        ptx_rows=rows,
        derived=derived,
        data=entries,
    )


def _refuse_weak(reward_run: Path, limits: DoctorLimits) -> None:
    """A reward model from our own stage 3 carries its report card; one from elsewhere has none to show."""
    run = setup.parent_run(reward_run)
    card = (run.report or {}).get("card") if run else None
    found = weak_reward_model(card, limits) if card else None
    if found:
        raise RunError(
            f"{reward_run}: {found.name}: {found.sentence} {found.cure} "
            "Or go on all the same with --set allow_weak_reward_model=true."
        )


def _ptx_rows(
    config: PPOConfig, tokenizer: Tokenizer, documents: Sequence[Document], context: int
) -> NDArray[np.int32] | None:
    """Rows for PPO-ptx: documents spread over the whole text, no more than the run can read."""
    from ziggurat.corpus.pack import pack_rows

    if not documents or not config.ptx_weight:
        return None
    T = min(config.ptx_row_tokens, context)
    wanted = config.steps * config.epochs * config.minibatches * config.ptx_rows * T
    characters = sum(len(one.text) for one in documents)
    stride = max(1, characters // max(1, 8 * wanted))  # at most 8 characters a token: enough is left
    ids = tokenizer.encode_batch([one.text for one in documents[::stride]])
    if sum(map(len, ids)) + len(ids) <= T:
        ids = tokenizer.encode_batch([one.text for one in documents])
    return pack_rows(ids, T, tokenizer.endoftext_id)
