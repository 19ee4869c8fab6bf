"""A tiny model in a folder, as a run would leave it, and a candidate that says what a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.save import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer

TEXT = (
    "你好，运河边的面包师。The baker by the canal says good morning, A B C 1 2 3 and asks: what is it? " * 20
)


class Scripted:
    """A candidate whose answers are a function of the last message, or of the raw text."""

    def __init__(self, say: Callable[[str], str], *, chats: bool = True, name: str = "scripted") -> None:
        self.say, self.chats, self.name, self.sha256 = say, chats, name, "5" * 64
        self.asked: list[object] = []
        self.calls = 0

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        self.calls += 1
        self.asked += [[(m.role, m.content) for m in one] for one in conversations]
        return [[self.say(one[-1].content)] * ask.samples for one in conversations]

    def continuations(self, texts: Sequence[str], ask: Ask) -> list[list[str]]:
        self.calls += 1
        self.asked += list(texts)
        return [[self.say(text)] * ask.samples for text in texts]

    def likelihoods(
        self, questions: Sequence[tuple[str | Sequence[Message], Sequence[str]]]
    ) -> list[list[Likelihood]]:
        """A choice is the likelier, the shorter it is."""
        return [[Likelihood(-float(len(text)), 1, False) for text in texts] for _, texts in questions]

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        return [(-float(len(text)), len(text)) for text in texts]


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 2 with a random model: it chats."""
    tokenizer = Tokenizer.train([TEXT], 300)
    config = ModelConfig(
        layers=1,
        d_model=32,
        heads=2,
        kv_heads=1,
        d_head=16,
        d_ff=48,
        vocab_size=tokenizer.vocab_size,
        context=96,
    )
    model = Transformer(config)
    model.init_weights(0)
    with torch.no_grad():
        model.norm.weight.mul_(20)  # lively logits
    run = tmp_path_factory.mktemp("tiny")
    save_model(model, run / "model", tokenizer)
    (run / "manifest.json").write_text(json.dumps({"stage": "sft", "parent": None, "data": []}))
    return run / "model"


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """Writes a task's folder: the settings of task.yaml over good ones, and its rows."""

    def write(name: str = "mine", rows: Sequence[dict] | dict | None = None, **settings: object) -> Path:
        given = {
            "name": name,
            "title": {"en": "Mine"},
            "version": 1,
            "ability": "knowledge",
            "source": "a test",
            "licence": "none",
            "rows": "rows.jsonl",
            "form": "answer",
            "prompt": "{{ question }}",
            "answer": "{{ answer }}",
            "metric": {"name": "exact"},
            **settings,
        }
        if isinstance(rows, dict):
            given["rows"] = rows
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        kept = {key: value for key, value in given.items() if value is not None}
        (folder / "task.yaml").write_text(json.dumps(kept))  # JSON is YAML
        if isinstance(rows, dict):  # made by rule
            return folder
        if rows is None:
            rows = [{"question": f"What is {i}?", "answer": str(i)} for i in range(8)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write
