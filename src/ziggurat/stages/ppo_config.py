"""Settings of stage 4, and all that is settled before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from ziggurat.console import human_count
from ziggurat.errors import ModelFolderError, RunError
from ziggurat.records import Document, Prompt
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import setup, stage
from ziggurat.stages.doctor import DoctorLimits, weak_reward_model
from ziggurat.stages.removed import REMOVED
from ziggurat.stages.setup import Derived
from ziggurat.training.config import LoopConfig, OptimizerConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ziggurat.dialogue.chat import Chat
    from ziggurat.model.transformer import Transformer
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate


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


class PPOConfig(setup.RecordsConfig):
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

    @field_validator("max_new_tokens")
    @classmethod
    def _some_tokens(cls, value: int) -> int:
        if value == 0:
            raise ValueError(
                "max_new_tokens is 0; give at least 1, or -1 to compute it from measured answers"
            )
        return value

    @model_validator(mode="after")
    def _loop_fits(self) -> PPOConfig:
        if self.train.log_every_steps != 1:
            raise ValueError(
                f"train.log_every_steps is {self.train.log_every_steps}, but the doctor needs every row; set it to 1"
            )
        if self.train.spike_factor:
            raise ValueError("train.spike_factor is not for PPO, which the doctor watches; set it to 0")
        return self


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[PPOConfig]):
    """Stage 4 before its first step; the parent is the policy's start."""

    reference_folder: Path
    reward_folder: Path
    template: ChatTemplate
    prompts: list[Prompt]
    prompt_ids: list[list[int]]
    ptx_rows: NDArray[np.int32] | None
    """(N, T+1)"""

    def chat(self, model: Transformer) -> Chat:
        """`model` as a policy that answers, greedily, as long as a rollout at most."""
        from ziggurat.dialogue.chat import Chat
        from ziggurat.engine.params import SamplingParams

        greedy = SamplingParams(temperature=0.0, max_tokens=self.config.max_new_tokens)
        return Chat(model, self.tokenizer, template=self.template, as_trained=True, defaults=greedy)


LARGE: dict[str, Any] = {
    "rollouts_per_step": 64,
    "policy": {"trainable": "last:2", "lr_adam": 5e-5},
    "critic": {"trainable": "head", "epochs": 8, "lr_adam": 1e-3},
}
"""Defaults for a policy of more than setup.LARGE_PARAMETERS, as models from elsewhere are: on a CPU a step of all four
networks takes minutes, and the rates of our small models move it too far. The last blocks learn, and the critic's body
does not."""


def ppo_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[PPOConfig]:
    """The configuration from its layers; dtype and threads are inherited from the policy's run, and a large policy has
    the defaults LARGE."""
    from ziggurat.model.accounting import total_parameters
    from ziggurat.model.hub import load_config
    from ziggurat.places import find_run, model_folder

    inherited = ("inherited", {"train": setup.inherited_loop(find_run(str(policy)))})
    count = total_parameters(load_config(model_folder(policy)))
    if count <= setup.LARGE_PARAMETERS:
        return resolve(PPOConfig, inherited, *layers)
    reason = f"{human_count(count)} parameters, above {human_count(setup.LARGE_PARAMETERS)}"
    return resolve(PPOConfig, (reason, LARGE), inherited, *layers)


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
    from ziggurat.model.hub import check_model, is_scalar
    from ziggurat.places import find_run, model_folder
    from ziggurat.stages.answer_length import longest_answer
    from ziggurat.stages.ppo_cost import ppo_cost, shared_microbatch
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
    folders = (folder, reference_folder, reward_folder)
    shapes = {one: check_model(one, tokenizer.vocab_size) for one in dict.fromkeys(folders)}
    if not config.allow_weak_reward_model:
        _refuse_weak(find_run(str(reward_model)), config.doctor)
    template = ChatTemplate(tokenizer)
    context = shapes[folder].context
    room = min(shape.context for shape in shapes.values())
    usable = setup.usable(template, prompts, longest=room - 1, skip=config.skip_bad_rows, what="prompt")
    ids = [one.ids for one in usable.flat]
    longest, longest_why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, longest_why = longest_answer(
            [reward_folder, folder], template, ids, context=room, seed=config.train.seed
        )
    budget = config.microbatch_tokens or shared_microbatch(list(shapes.values()))
    resolved = setup.freeze(resolved, {"max_new_tokens": longest, "microbatch_tokens": budget})
    config = resolved.config
    tight = sum(len(one) + longest > room for one in ids)
    rows = _ptx_rows(config, tokenizer, ptx_documents, context)
    passes = config.train.steps * config.rollouts_per_step / len(ids)
    updates = config.epochs * min(config.minibatches, config.rollouts_per_step)
    derived = [
        Derived("prompts", len(ids), f"{sum(map(len, ids)) / len(ids):.1f} tokens on average"),
        Derived("longest completion", longest, longest_why),
        *([Derived("prompts with less room than that", tight, f"the context is {room:,}")] if tight else []),
        Derived("passes over the prompts", f"{passes:.2f}", "rollouts / prompts"),
        Derived(
            "rollouts",
            config.train.steps * config.rollouts_per_step,
            f"{config.train.steps} × {config.rollouts_per_step}",
        ),
        Derived(
            "optimizer steps",
            config.train.steps * updates,
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
        parent=folder,
        reference_folder=reference_folder,
        reward_folder=reward_folder,
        tokenizer=tokenizer,
        template=template,
        prompts=usable.records,
        prompt_ids=ids,
        ptx_rows=rows,
        derived=derived,
        data=entries,
        cost=ppo_cost(config, [shapes[one] for one in folders], ids),
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
    wanted = config.train.steps * config.epochs * config.minibatches * config.ptx_rows * T
    characters = sum(len(one.text) for one in documents)
    stride = max(1, characters // max(1, 8 * wanted))  # at most 8 characters a token: enough is left
    ids = tokenizer.encode_batch([one.text for one in documents[::stride]])
    if sum(map(len, ids)) + len(ids) <= T:
        ids = tokenizer.encode_batch([one.text for one in documents])
    return pack_rows(ids, T, tokenizer.endoftext_id)
