"""The zero and the unit of rewards, and a reward model as a gold check.

Every reward model's raw scores have their own zero and spread. `calibrate` fixes both, so that PPO's beta, its
truncation reward and the critic's clip mean the same thing for each of them; the two numbers are saved in the
model's config and applied by every reader. Left out: re-scaling during PPO.
Source: "Learning to summarize", arXiv:2009.01325, 3.4 (references score 0 on average).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ziggurat.console import err
from ziggurat.dialogue.chat import Chat
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.records import Demonstration, Message, Prompt
from ziggurat.stages import setup
from ziggurat.stages.comparison_batches import conversation
from ziggurat.stages.judge import Judge
from ziggurat.stages.report_card import score_rows
from ziggurat.stages.rollouts import roll_out
from ziggurat.tokenizer.rendering import render_all
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.device import device_of
from ziggurat.training.precision import choose_dtype

SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class ScaleSettings:
    samples: int
    """Completions sampled from the stage-2 model."""
    sample_tokens: int
    dtype: str
    seed: int


@torch.no_grad()
def calibrate(
    model: RewardModel,
    template: ChatTemplate,
    sft_folder: Path,
    prompts: Sequence[list[int]],
    demonstrations: Sequence[list[int]],
    settings: ScaleSettings,
    *,
    policy: Transformer | None = None,
) -> tuple[float, float]:
    """Set shift and scale: demonstrations score 0 on average, samples of the stage-2 model have deviation 1.

    `prompts`: ids of distinct prompts. `demonstrations`: ids up to the end of the answer, where the reward is read.
    `policy`: the stage-2 model, where it is loaded already.
    """
    model.calibrate(reward_shift=0.0, reward_scale=1.0)
    device = device_of(model)
    dtype = choose_dtype(settings.dtype, device)[0]
    policy = policy or load_model(sft_folder, dtype=dtype).to(device)
    set_compute_dtype(policy, dtype)
    sampled = _scores_of_samples(model, template, policy, prompts, settings)
    if demonstrations:
        shift = statistics.fmean(score_rows(model, demonstrations, template.tokenizer.pad_id))
    else:
        err.print(
            "no demonstrations were given: rewards are shifted so that the stage-2 model's samples average 0."
        )
        shift = statistics.fmean(sampled)
    deviation = statistics.pstdev(sampled)
    if deviation < SMALLEST_DEVIATION:
        err.print("the stage-2 model's samples all score alike: rewards are left unscaled.")
    scale = 1.0 / deviation if deviation >= SMALLEST_DEVIATION else 1.0
    model.calibrate(reward_shift=shift, reward_scale=scale)
    return shift, scale


def _scores_of_samples(
    model: RewardModel,
    template: ChatTemplate,
    policy: Transformer,
    prompts: Sequence[list[int]],
    settings: ScaleSettings,
) -> list[float]:
    """Raw scores of what the stage-2 model samples for `prompts` (again and again if they are few); completions that
    were cut off are left out."""
    spread = prompts[:: max(1, len(prompts) // settings.samples)]
    made = roll_out(
        policy,
        [spread[i % len(spread)] for i in range(settings.samples)],
        max_new_tokens=settings.sample_tokens,
        temperature=1.0,
        stop_ids=template.stop_ids,
        seed=settings.seed,
    )
    rows = [one.prompt + one.completion for one in [m for m in made if m.ended] or made]
    return score_rows(model, rows, template.tokenizer.pad_id)


def gold_from_reward_model(
    reward_model: str | Path, prompts: Sequence[Sequence[Message]]
) -> Callable[[Chat], float]:
    """A gold check for PPO when nothing better is at hand: another reward model, best from other labellers.

    The callable takes a policy and returns the mean reward of its answers. Prompts and answers that are too long for
    the reward model are left out.
    """
    judge = Judge.load(reward_model, torch.float32)
    given = [Prompt(prompt=list(messages)) for messages in prompts]
    usable = setup.usable(judge.template, given, longest=judge.context - 1, skip=True, what="gold prompt")
    asked = [one.prompt for one in usable.records]

    def gold(policy: Chat) -> float:
        answers = policy.complete_many(asked)
        talks = [
            Demonstration(messages=conversation(prompt, text))
            for prompt, text in zip(asked, answers, strict=True)
        ]
        scored = render_all(judge.template, talks, longest=judge.context, skip=True, to_answer_end=True)
        return statistics.fmean(judge.score([one.ids for one in scored.flat]))

    return gold
