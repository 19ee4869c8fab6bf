"""A world of four letters, small enough to climb stages 3 and 4 in seconds.

The stage-2 model answers any question with 1 to 4 random letters of "abcd"; the labellers like the letter b.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from ziggurat.corpus.formats.common import ratings_of
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt, Rating
from ziggurat.stages.losses import next_token_loss
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training import supervised

LETTERS = "abcd"
QUESTIONS = [f"{x}{y}?" for x in "xyz" for y in "0123456789"]


def tokenizer() -> Tokenizer:
    return Tokenizer.characters("abcdxyz0123456789?", byte_fallback=False)


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def answer(chance: random.Random) -> str:
    return "".join(chance.choice(LETTERS) for _ in range(chance.randint(1, 4)))


def demonstrations(count: int, seed: int = 0) -> list[Demonstration]:
    chance = random.Random(seed)
    return [
        Demonstration(
            messages=[*user(chance.choice(QUESTIONS)), Message(role="assistant", content=answer(chance))]
        )
        for _ in range(count)
    ]


def likes(text: str) -> float:
    """The labellers' taste: the share of b."""
    return text.count("b") / max(1, len(text))


def reward(prompt: list[Message], completion: str, row: dict[str, object]) -> float:
    """The taste as a reward function."""
    return likes(completion)


def comparisons(count: int, seed: int = 1) -> list[Comparison]:
    chance = random.Random(seed)
    made = []
    for number in range(count):
        completions = [answer(chance) for _ in range(4)]
        worth = [-likes(one) for one in completions]
        ranks = [1 + sum(other < mine for other in worth) for mine in worth]
        made.append(
            Comparison(
                id=str(number),
                prompt=user(chance.choice(QUESTIONS)),
                completions=list(completions),
                ranks=ranks,
            )
        )
    return made


def ratings(count: int, seed: int = 1) -> list[Rating]:
    """Thumbs from so many rankings."""
    return [thumb for one in comparisons(count, seed) for thumb in ratings_of(one)]


def prompts() -> list[Prompt]:
    return [Prompt(prompt=user(text)) for text in QUESTIONS]


def documents() -> list[Document]:
    chance = random.Random(5)
    return [Document(text="".join(chance.choice("xyz0123456789") for _ in range(40))) for _ in range(20)]


def make_policy(folder: Path, *, steps: int = 80, seed: int = 0) -> Path:
    """Train the stage-2 model and save it as a Hugging Face folder."""
    words = tokenizer()
    config = ModelConfig(
        layers=2, d_model=32, heads=2, kv_heads=2, d_head=16, d_ff=64, vocab_size=words.vocab_size, context=32
    )
    model = Transformer(config)
    model.init_weights(seed)
    rendered = ChatTemplate(words).render_many([one.messages for one in demonstrations(steps * 32, seed)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        batch = rendered[step * 32 : step * 32 + 32]
        T = max(len(one.ids) for one in batch)
        ids = torch.tensor([one.ids + [words.pad_id] * (T - len(one.ids)) for one in batch])
        weight = torch.tensor([list(map(float, one.mask)) + [0.0] * (T - len(one.mask)) for one in batch])
        loss, count = next_token_loss(model, ids[:, :-1], ids[:, 1:], weight[:, 1:])
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    save_model(model, folder, words)
    return folder


def make_student(folder: Path) -> Path:
    """An untrained model with half of the policy's width and blocks."""
    words = tokenizer()
    shape = ModelConfig(
        layers=1, d_model=16, heads=1, kv_heads=1, d_head=16, d_ff=32, vocab_size=words.vocab_size, context=32
    )
    save_model(Transformer(shape), folder, words)
    return folder


def kind(comparison: Comparison, better: int, worse: int) -> str:
    """Pairs with a clear winner, and close ones."""
    texts = [comparison.completions[better], comparison.completions[worse]]
    assert isinstance(texts[0], str)
    assert isinstance(texts[1], str)
    return "clear" if likes(texts[0]) - likes(texts[1]) > 0.3 else "close"


@contextmanager
def stopped_at_update(number: int) -> Iterator[None]:
    """What is run inside must train, and is stopped by an exception at its update of this number."""
    plain, seen = supervised.optimizer_step, 0

    def until(*args: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == number:
            raise RuntimeError("stopped")
        return plain(*args, **named)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(supervised, "optimizer_step", until)
        yield
