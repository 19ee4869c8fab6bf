"""Controls: what else the time that PPO took might have bought, from the same stage-2 model.

    SFT, for PPO's time   more steps of stage 2 on the same demonstrations, as many as fit into the time of PPO's own
    SFT, best of four     the greedy answer and three samples, of which the reward model picks one; no training

The first asks whether more imitation would do, the second how much of the gain is the reward model's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.ladder.climb import Climb
from ziggurat.records import Prompt
from ziggurat.runs import Run
from ziggurat.stages import sft as stage2
from ziggurat.stages.comparison_batches import conversation
from ziggurat.stages.judge import Judge
from ziggurat.stages.sample import sample_from
from ziggurat.town.documents import write_documents
from ziggurat.town.exam import Item
from ziggurat.town.examiner import MAX_ANSWER_TOKENS, Answers
from ziggurat.town.grading import Grader
from ziggurat.town.people import Town

PICKED_FROM = 4
TEXT_DOCUMENTS = 10_000  # mixed in: more than is read


def train_on(climb: Climb, town: Town) -> Path:
    """The run of the stage-2 model trained on for as many steps as PPO's seconds pay for."""
    sft = _last_row(climb.runs["sft"])
    ppo_s = sum(_last_row(run)["elapsed_s"] for name, run in climb.runs.items() if name.startswith("ppo"))
    steps = max(1, round(ppo_s * sft["step"] / sft["elapsed_s"]))
    return stage2.sft(
        stage2.sft_config(climb.runs["sft"], climb.settings("sft", steps)),
        climb.runs["sft"],
        climb.world.demonstrations(climb),
        climb.folder / "control-sft-1",
        text=list(write_documents(town, TEXT_DOCUMENTS)),
        overwrite=True,
    )


def _last_row(run: Path) -> dict[str, Any]:
    return Run.open(run).read_metrics()[-1]


def best_of(climb: Climb, items: Sequence[Item], grader: Grader) -> Answers:
    """Of the stage-2 model's answers to each question, the one with the highest reward."""
    policy, judge = Chat.load(climb.runs["sft"]), Judge.load(climb.runs[f"reward-{climb.work.rounds}"])
    prompts = [Prompt(prompt=list(item.question.messages)) for item in items]
    params = SamplingParams(max_tokens=MAX_ANSWER_TOKENS, seed=climb.seed)
    sampled = sample_from(policy, prompts, PICKED_FROM, params)
    drawn = [one.distinct() for one in sampled]
    conversations = [
        conversation(prompt.prompt, text)
        for prompt, texts in zip(prompts, drawn, strict=True)
        for text in texts
    ]
    scores = iter(judge.score(judge.rows(conversations, "answer")))
    chosen = [max((next(scores), text) for text in texts)[1] for texts in drawn]
    grades = [grader.grade(item.question, text) for item, text in zip(items, chosen, strict=True)]
    return Answers("best_of", list(items), chosen, grades)
