"""A measure over the training of one run: its checkpoints, and its final model.

    curve("town/pretrain", lambda chat: {"exact": score(chat)})

A run keeps its last two checkpoints and the best one; `train.keep_checkpoints` keeps more of those that
`train.checkpoint_every_steps` saves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.model.transformer import Transformer
from ziggurat.places import find_run
from ziggurat.runs import Run

SAMPLES, SAMPLE_TOKENS = 16, 64
TEMPERATURE = 0.8
LEAST_SEEN = 2
"""A word of the dictionary occurs so often in the text."""
WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Point:
    """A model after so many steps."""

    step: int
    values: Mapping[str, float]
    sample: str = ""
    """What it writes."""


Measure = Callable[[Chat], Mapping[str, float]]


def curve(run: str | Path, measure: Measure, *, sample: Callable[[Chat], str] | None = None) -> list[Point]:
    """`measure` of every checkpoint of a run, oldest first. Raises RunError where there is no such run."""
    found = []
    for checkpoint in Run.open(find_run(str(run))).checkpoints():
        chat = Chat.load(checkpoint)
        step = int(checkpoint.name.removeprefix("step-"))
        found.append(Point(step, dict(measure(chat)), sample(chat) if sample else ""))
    return found


def word_curve(run: str | Path, texts: Iterable[str]) -> list[Point]:
    """The share of dictionary words in what a model writes, from its first weights on, with a sample of each."""
    words = dictionary(texts)

    def measure(chat: Chat) -> dict[str, float]:
        return {"dictionary words": dictionary_share(write(chat, SAMPLES), words)}

    first = untrained(run)
    start = Point(0, measure(first), write(first, 1)[0])
    return [start, *curve(run, measure, sample=lambda chat: write(chat, 1)[0])]


def untrained(run: str | Path) -> Chat:
    """The model as a run of stage 1 that began from nothing drew it."""
    begun = Run.open(find_run(str(run)))
    chat = Chat.load(begun.path)
    model = Transformer(chat.model.config, seed=None)
    model.init_weights(int(begun.config["train"]["seed"]), quiet=True)
    return Chat(model.eval(), chat.tokenizer, is_base=True)


def write(chat: Chat, count: int, seed: int = 0) -> list[str]:
    """So many texts from nothing, at TEMPERATURE."""
    tokens = min(SAMPLE_TOKENS, chat.context - 2)
    each = [SamplingParams(temperature=TEMPERATURE, seed=seed + i, max_tokens=tokens) for i in range(count)]
    return [one.text for one in chat.continue_many([""] * count, each)]


def dictionary(texts: Iterable[str]) -> frozenset[str]:
    """The words that occur at least LEAST_SEEN times, in lower case."""
    seen = Counter(word.lower() for text in texts for word in WORD.findall(text))
    return frozenset(word for word, count in seen.items() if count >= LEAST_SEEN)


def dictionary_share(texts: Sequence[str], words: Collection[str]) -> float:
    """Of the words in texts, those that are in the dictionary; the first and the last word of a text may be cut and do
    not count. 0 where there are none."""
    found = [word.lower() for text in texts for word in WORD.findall(text)[1:-1]]
    return sum(word in words for word in found) / len(found) if found else 0.0
