"""A corner of the town, learned in seconds: English questions of fact, half of them about facts that no text states.

The stage-2 model answers in whole sentences and makes values up: it is too small to know any. The labellers (noise and
all) give 1 point to a right answer, 0 to an honest pass and -1 to a wrong one; gold is their taste without noise. So
gold rises from about -0.7 where a method learns to pass. The town's own climb takes minutes before a model says
anything; this is for tests of methods.
"""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Comparison, Demonstration, Message, Prompt
from ziggurat.stages.sample import sample_from
from ziggurat.stages.sft import sft, sft_config
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.town.chance import Chance
from ziggurat.town.grading import Grader
from ziggurat.town.labellers import Labeller, points
from ziggurat.town.people import Town, build_town
from ziggurat.town.questions import Question, admit_ignorance, ask_fact, assistant, tell

ANSWER_TOKENS = 24
GREEDY = SamplingParams(temperature=0.0, max_tokens=ANSWER_TOKENS)


@cache
def town() -> Town:
    return build_town(1)


@cache
def grader() -> Grader:
    return Grader(town())


def questions(count: int, stream: str) -> list[Question]:
    """As many about withheld facts as about known ones."""
    kinds = [town().facts("A", known=known) for known in (True, False)]
    asked = []
    for i in range(count):
        chance = Chance(1, stream, i)
        asked.append(ask_fact(chance, chance.choice(kinds[i % 2]), "en"))
    return asked


def demonstrations(count: int) -> list[Demonstration]:
    """Nine answers in ten say a value, of withheld facts too; one passes."""
    made = []
    for i, question in enumerate(questions(count, "shown")):
        assert question.fact is not None
        passes = i % 10 == 0
        text = admit_ignorance(Chance(1, "pass", i), question) if passes else tell(question.fact, "en")
        made.append(Demonstration(messages=[*question.messages, assistant(text)]))
    return made


def worth(question: Question, text: str) -> float:
    return points(question, grader().grade(question, text))


def gold(policy: Chat) -> float:
    """Mean points of greedy answers to questions that nothing is learned from."""
    asked = questions(100, "gold")
    texts = policy.complete_many([one.messages for one in asked], GREEDY)
    return statistics.fmean(worth(one, text) for one, text in zip(asked, texts, strict=True))


def prompts(count: int = 200) -> list[Prompt]:
    return [Prompt(prompt=list(one.messages)) for one in questions(count, "prompts")]


def score(prompt: list[Message], completion: str, row: dict[str, object]) -> float:
    """The labellers' points, as a reward function."""
    return worth(by_prompt()[prompt[-1].content], completion)


@cache
def by_prompt() -> dict[str, Question]:
    return {one.messages[-1].content: one for one in questions(200, "prompts")}


def comparisons(policy: Chat, count: int = 150) -> list[Comparison]:
    """Three completions of the policy and an honest pass, ranked by a labeller with noise."""
    asked = questions(count, "prompts")
    sampled = sample_from(
        policy,
        [Prompt(prompt=list(one.messages)) for one in asked],
        3,
        SamplingParams(max_tokens=ANSWER_TOKENS, seed=5),
    )
    made = []
    for i, (question, one) in enumerate(zip(asked, sampled, strict=True)):
        chance = Chance(1, "rank", i)
        texts = list(dict.fromkeys([*one.distinct(), admit_ignorance(chance, question)]))
        if len(texts) > 1:
            ranks = Labeller("Ines").rank(chance, [worth(question, text) for text in texts])
            made.append(
                Comparison(
                    id=str(i),
                    prompt=list(question.messages),
                    completions=list[str | list[Message]](texts),
                    ranks=ranks,
                    labeller="Ines",
                )
            )
    return made


def make_start(folder: Path) -> Path:
    """Train the stage-2 model, from nothing; returns its run."""
    shown = demonstrations(1600)
    texts = [message.content for one in shown for message in one.messages]
    tokenizer = Tokenizer.train(texts, 600)
    shape = ModelConfig(
        layers=2,
        d_model=64,
        heads=2,
        kv_heads=2,
        d_head=32,
        d_ff=128,
        vocab_size=tokenizer.vocab_size,
        context=96,
    )
    save_model(Transformer(shape), folder / "nothing", tokenizer)
    settings = {
        "batch_tokens": 1024,
        "train": {"optimizer": "adamw", "lr_adam": 4e-3, "steps": 150, "dtype": "fp32", "threads": 1},
    }
    config = sft_config(folder / "nothing", ("test", settings))
    return sft(config, folder / "nothing", shown, folder / "sft-1", held_out=[])
