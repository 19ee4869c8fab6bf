"""All that stage 4 settles before its first step: four networks that belong together, prompts, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziggurat.corpus.pack import pack_rows
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ModelFolderError, RunError
from ziggurat.messages import Reasoning
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import check_model, is_scalar
from ziggurat.model.transformer import Transformer
from ziggurat.places import find_run, model_folder
from ziggurat.records import Document, Prompt
from ziggurat.settings import Resolved
from ziggurat.stages import setup, stage
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.doctor import DoctorLimits, weak_reward_model
from ziggurat.stages.ppo_config import PPOConfig
from ziggurat.stages.ppo_cost import ppo_cost, shared_microbatch
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import Parent, open_parent
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate


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

        greedy = SamplingParams(temperature=0.0, max_tokens=self.config.max_new_tokens)
        return Chat(model, self.tokenizer, template=self.template, as_trained=True, defaults=greedy)


@dataclass(frozen=True)
class Networks:
    """The model folders of stage 4; the critic starts from the reward model."""

    policy: Parent
    reference: Path
    reward: Path
    shapes: list[ModelConfig]
    """Of policy, reference and reward model."""


def open_networks(
    policy: str | Path,
    reward_model: str | Path,
    reference: str | Path | None = None,
    *,
    reasoning: Reasoning = "trained",
) -> Networks:
    """Check that they belong together; ModelFolderError if they do not. Without a reference it is the policy."""

    folder, reward_folder = model_folder(policy), model_folder(reward_model)
    reference_folder = model_folder(reference) if reference is not None else folder
    if not is_scalar(reward_folder):
        raise ModelFolderError(
            f"{reward_folder} is a language model, not a reward model; name a run of stage 3."
        )
    for answering in (folder, reference_folder):
        if is_scalar(answering):
            raise ModelFolderError(
                f"{answering} is a reward model; name a run of stage 2 or 4 as the policy."
            )
    parent = open_parent(folder, reasoning=reasoning)
    for other in {reward_folder, reference_folder} - {folder}:
        if Tokenizer.load(other).fingerprint != parent.tokenizer.fingerprint:
            raise ModelFolderError(
                f"{other} has another tokenizer than {folder}; policy, reference and reward model must share one."
            )
    size = parent.tokenizer.vocab_size
    compared = parent.shape if reference_folder == folder else check_model(reference_folder, size)
    shapes = [parent.shape, compared, check_model(reward_folder, size)]
    return Networks(parent, reference_folder, reward_folder, shapes)


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

    config = resolved.config
    setup.need(prompts, "prompts")
    networks = open_networks(policy, reward_model, reference, reasoning=resolved.config.reasoning)
    parent, template = networks.policy, networks.policy.template
    if not config.allow_weak_reward_model:
        refuse_weak(find_run(str(reward_model)), config.doctor)
    room = min(shape.context for shape in networks.shapes)
    usable = setup.usable(template, prompts, longest=room - 1, skip=config.skip_bad_rows, what="prompt")
    ids = [one.ids for one in usable.flat]
    longest, longest_why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, longest_why = longest_answer(
            [networks.reward, parent.folder], template, ids, context=room, seed=config.train.seed
        )
    budget = config.microbatch_tokens or shared_microbatch(networks.shapes, config.train.device)
    settled = setup.freeze(resolved, {"max_new_tokens": longest, "microbatch_tokens": budget})
    rows = _ptx_rows(config, parent.tokenizer, ptx_documents, parent.shape.context)
    tight = sum(len(one) + longest > room for one in ids)
    derived = [
        Derived("prompts", len(ids), f"{sum(map(len, ids)) / len(ids):.1f} tokens on average"),
        Derived("longest completion", longest, longest_why),
        *([Derived("prompts with less room than that", tight, f"the context is {room:,}")] if tight else []),
        *_derived_steps(config, len(ids), rows),
    ]
    return Prepared(
        resolved=settled,
        parent=parent.folder,
        reference_folder=networks.reference,
        reward_folder=networks.reward,
        tokenizer=parent.tokenizer,
        template=template,
        prompts=usable.records,
        prompt_ids=ids,
        ptx_rows=rows,
        derived=derived,
        data=setup.entries(data, prompts=prompts, text=ptx_documents),
        cost=ppo_cost(settled.config, networks.shapes, ids),
    )


def _derived_steps(config: PPOConfig, prompts: int, rows: NDArray[np.int32] | None) -> list[Derived]:
    """What the steps come to."""
    steps, per_step = config.train.steps, config.rollouts_per_step
    updates = config.epochs * min(config.minibatches, per_step)
    text, text_why = 0, "no documents were given"
    if rows is not None:
        text = updates * config.ptx_rows * (rows.shape[1] - 1)
        text_why = f"{len(rows):,} rows in all, weight {config.ptx_weight:g}"
    return [
        Derived("passes over the prompts", f"{steps * per_step / prompts:.2f}", "rollouts / prompts"),
        Derived("rollouts", steps * per_step, f"{steps} × {per_step}"),
        Derived(
            "optimizer steps", steps * updates, f"{config.epochs} epochs × {config.minibatches} minibatches"
        ),
        Derived("pre-training tokens a step", text, text_why),
    ]


def refuse_weak(reward_run: Path, limits: DoctorLimits) -> None:
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

    if not documents or not config.ptx_weight:
        return None
    T = min(config.ptx_row_tokens, context)
    wanted = config.train.steps * config.epochs * config.minibatches * config.ptx_rows * T
    characters = sum(len(one.text) for one in documents)
    stride = max(1, characters // max(1, 8 * wanted))  # at most 8 characters a token: enough is left
    ids = tokenizer.encode_documents([one.text for one in documents[::stride]])
    if sum(map(len, ids)) + len(ids) <= T:
        ids = tokenizer.encode_documents([one.text for one in documents])
    return pack_rows(ids, T, tokenizer.endoftext_id)
