"""Settings of `raft` (`RAFTConfig`), and all that is settled before it samples."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ziggurat.errors import UsageError
from ziggurat.lineage import parent_entry
from ziggurat.model.hub import check_model
from ziggurat.records import Prompt
from ziggurat.settings import Resolved
from ziggurat.stages import method, setup
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.dpo_config import FOREIGN_TRAIN
from ziggurat.stages.scorer import RewardFunction, load_function, reward_folder_of
from ziggurat.stages.setup import Derived
from ziggurat.stages.start import settle_epochs
from ziggurat.training.config import SHORT, TrainConfig


class RAFTConfig(setup.RecordsConfig):
    """Settings of `raft`. 0 means "computed" where a field says so; what came out is in config.yaml."""

    short = SHORT

    n: int = Field(default=8, ge=2, le=256)
    """Completions of each prompt."""

    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion; one that does not end by then is never chosen. -1: computed from measured answers."""

    reward_function: str = ""
    """`module:function` or `file.py:function`: (prompt, completion, row) -> float (stages/scorer.py)."""

    function_weight: float = 1.0
    model_weight: float = 1.0

    vote: str = ""
    """What completions vote on: `last_number`, `whole` (the text), or `module:function` from text to str (None: no
    vote). A completion scores the share of its prompt's completions with the same value, added to its reward."""

    min_score: float | None = None
    """A prompt whose best completion scores less is left out; null: none is."""

    batch_answers: int = Field(default=16, ge=1)
    """Chosen completions in one optimizer step."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over as many completions as there are prompts; only read to compute train.steps where that is 0."""

    allow_weak_reward_model: bool = False
    """Go on although the reward model failed its report card."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.001, lr_adam=0.00015)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[RAFTConfig]):
    """`raft` before its first step."""

    reward_folder: Path | None
    function: RewardFunction | None
    ballot: Callable[[str], str | None] | None
    """The value that a completion votes for."""

    @property
    def max_new_tokens(self) -> int:
        return self.config.max_new_tokens

    @property
    def manifest(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        if self.reward_folder is not None:
            found["reward_model"] = parent_entry(self.reward_folder)
        if self.function is not None:
            found["reward_function"] = {"name": self.function.name, "sha256": self.function.sha256}
        return found


def raft_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[RAFTConfig]:
    """The configuration from its layers, with the training settings of the policy's run inherited."""
    return setup.inheriting(
        RAFTConfig, policy, layers, stage="raft", foreign=FOREIGN_TRAIN, large=setup.LARGE
    )


def prepare(
    resolved: Resolved[RAFTConfig],
    policy: str | Path,
    prompts: Sequence[Prompt],
    *,
    reward_model: str | Path | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check models and function, render the prompts, derive every number; nothing is written."""
    config = resolved.config
    setup.need(prompts, "prompts")
    start = method.open_policy(policy, reasoning=resolved.config.reasoning)
    function = RewardFunction.load(config.reward_function) if config.reward_function else None
    folder = reward_folder_of(
        start.tokenizer, start.folder, reward_model, allow_weak=config.allow_weak_reward_model
    )
    ballot = ballot_of(config.vote) if config.vote else None
    if function is None and folder is None and ballot is None:
        raise UsageError(
            "raft needs a reward: --set reward_function=module:function, --reward RUN of a reward model, or "
            "--set vote=last_number."
        )
    room = start.shape.context
    if folder is not None:
        room = min(room, check_model(folder, start.tokenizer.vocab_size).context)
    usable = setup.usable(start.template, prompts, longest=room - 1, skip=config.skip_bad_rows, what="prompt")
    ids = [one.ids for one in usable.flat]
    longest, why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, why = longest_answer(
            [start.folder], start.template, ids, context=room, seed=config.train.seed
        )
    settled, loop = settle_epochs(
        resolved, math.ceil(len(ids) / config.batch_answers), start.shape, max_new_tokens=longest
    )
    derived = [
        Derived("prompts", len(ids), f"{config.n} completions each"),
        Derived("longest completion", longest, why),
        *loop,
    ]
    return Prepared(
        resolved=settled,
        parent=start.folder,
        reference_folder=start.folder,
        reward_folder=folder,
        function=function,
        ballot=ballot,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=usable.records,
        prompt_ids=ids,
        derived=derived,
        data=setup.entries(data, prompts=prompts),
        cost=method.rows_cost(
            start.shape, settled.config.train, [len(one) + longest for one in ids], config.batch_answers
        ),
    )


def ballot_of(name: str) -> Callable[[str], str | None]:
    """The function that a setting `vote` names. Raises ConfigError."""
    if name == "whole":
        return lambda text: text.strip()
    if name == "last_number":
        return lambda text: number if (number := _last_number(text)) else None
    return load_function(name, "vote")


def _last_number(text: str) -> str:
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return found[-1].replace(",", "").rstrip(".") if found else ""
