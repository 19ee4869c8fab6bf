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
from ziggurat.engine.params import SamplingParams
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model
from ziggurat.model.transformer import set_compute_dtype
from ziggurat.records import Demonstration, Message
from ziggurat.stages.comparison_batches import conversation, render_scored
from ziggurat.stages.judge import Judge
from ziggurat.stages.report_card import score_rows
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.precision import choose_dtype

SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class ScaleSettings:
    samples: int
    """Completions sampled from the stage-2 model."""
    sample_tokens: int
    demonstrations: int
    """Demonstrations averaged, at most."""
    dtype: str
    seed: int


@torch.no_grad()
def calibrate(
    model: RewardModel,
    template: ChatTemplate,
    sft_folder: Path,
    prompts: Sequence[Sequence[Message]],
    demonstrations: Sequence[Demonstration],
    settings: ScaleSettings,
) -> tuple[float, float]:
    """Set shift and scale: demonstrations score 0 on average, samples of the stage-2 model have deviation 1."""
    model.calibrate(reward_shift=0.0, reward_scale=1.0)
    sampled = _scores_of_samples(model, template, sft_folder, prompts, settings)
    shown = [d.messages for d in demonstrations[: settings.demonstrations]]
    if shown:
        rows = render_scored(shown, template, model.body.config.context, "demonstration")
        shift = statistics.fmean(score_rows(model, rows, template.tokenizer.pad_id))
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
    sft_folder: Path,
    prompts: Sequence[Sequence[Message]],
    settings: ScaleSettings,
) -> list[float]:
    """Raw scores of what the stage-2 model samples for distinct prompts (again and again if they are few); completions
    that were cut off are left out."""
    policy = load_model(sft_folder)
    set_compute_dtype(policy, choose_dtype(settings.dtype)[0])
    distinct = list({repr(prompt): prompt for prompt in prompts}.values())
    spread = distinct[:: max(1, len(distinct) // settings.samples)]
    chosen = [spread[i % len(spread)] for i in range(settings.samples)]
    made = Chat(policy, template.tokenizer, template=template, as_trained=True).answer_many(
        chosen, SamplingParams(max_tokens=settings.sample_tokens, seed=settings.seed)
    )
    rows = [one.prompt + one.ids for one in [m for m in made if m.finish == "stop"] or made]
    return score_rows(model, rows, template.tokenizer.pad_id)


def gold_from_reward_model(
    reward_model: str | Path, prompts: Sequence[Sequence[Message]]
) -> Callable[[Chat], float]:
    """A gold check for PPO when nothing better is at hand: another reward model, best from other labellers.

    The callable takes a policy and returns the mean reward of its answers.
    """
    judge = Judge.load(reward_model, torch.float32)
    asked = list(prompts)

    def gold(policy: Chat) -> float:
        answers = policy.complete_many(asked)
        talks = [conversation(prompt, text) for prompt, text in zip(asked, answers, strict=True)]
        return statistics.fmean(judge.score(judge.rows(talks, "completion")))

    return gold
