"""Self-Instruct: ROUGE-L by hand, what is dropped and why, and tasks that a small model writes."""

from __future__ import annotations

import string
from pathlib import Path
from types import SimpleNamespace as Made
from typing import Any

import pytest

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import DataError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Demonstration, Message, read_records
from ziggurat.runs import Run
from ziggurat.stages.selfinstruct import prepare, refusal, rouge_l, selfinstruct, selfinstruct_config
from ziggurat.tokenizer.bpe import Tokenizer


def seeds(count: int = 12) -> list[Demonstration]:
    names = (
        *("baker", "sailor", "weaver", "potter", "doctor", "miller"),
        *("tailor", "cook", "smith", "clerk", "guide", "nurse"),
    )
    return [
        Demonstration(
            messages=[
                Message(role="user", content=f"Where does the {name} live?"),
                Message(role="assistant", content="By the canal."),
            ]
        )
        for name in names[:count]
    ]


def test_rouge_l_is_the_hand_worked_number() -> None:
    assert rouge_l("the cat sat", "the cat ran away") == pytest.approx(4 / 7)
    assert rouge_l("The cat.", "the CAT") == 1.0
    assert rouge_l("a b c d", "d c b a") == pytest.approx(2 / 8)
    assert rouge_l("运河在哪里", "运河在那里") == pytest.approx(8 / 10)
    assert rouge_l("", "a") == 0.0


def test_a_task_is_dropped_with_its_reason() -> None:
    pool = ["Where does the baker live?"]
    assert refusal("", "stop", pool, 0.7) == "an empty task"
    assert refusal("Sort these", "length", pool, 0.7) == "a task that did not end"
    assert refusal("Where does the cook live?", "stop", pool, 0.7) == "like another task"
    assert refusal("Sort 3, 1 and 2.", "stop", pool, 0.7) == ""


def test_what_is_written_is_kept_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model whose words are known: of four tasks one is like a seed, one repeats, one has no answer."""
    words = Tokenizer.characters(string.printable)
    shape = ModelConfig(
        layers=1,
        d_model=16,
        heads=1,
        kv_heads=1,
        d_head=16,
        d_ff=32,
        vocab_size=words.vocab_size,
        context=512,
    )
    save_model(Transformer(shape), tmp_path, words)
    wrote = [" Sort 3, 1 and 2.", " Where does the cook live?", "Sort 3, 1 and 2.", " Name two colours."]
    shown: list[str] = []

    class Known:
        def continue_many(self, texts: list[str], params: object, stop: list[str]) -> list[Made]:
            shown.extend(texts)
            return [Made(text=wrote[i % 4], finish="stop") for i in range(4)]

        def answer_many(self, prompts: list[list[Message]], params: object) -> list[Made]:
            said = {"Sort 3, 1 and 2.": "1, 2, 3"}
            return [Made(text=said.get(p[0].content, ""), finish="stop") for p in prompts]

    monkeypatch.setattr("ziggurat.stages.selfinstruct.Chat.load", lambda *_, **__: Known())
    config = selfinstruct_config(tmp_path, ("test", {"most_rounds": 1}))
    run = Run.open(selfinstruct(config, tmp_path, seeds(), tmp_path / "own-1"))
    made = list(read_records(run.path / "tasks.jsonl", Demonstration))
    assert [(m.messages[0].content, m.messages[1].content) for m in made] == [("Sort 3, 1 and 2.", "1, 2, 3")]
    numbers = (run.report or {})["numbers"]
    assert numbers == {"tasks": 1, "seeds": 12, "like another task": 2, "an empty answer": 1}
    assert shown[0].count("Task: ") == 8
    assert shown[0].endswith("\nTask:")


def test_a_run_that_was_stopped_and_resumed_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of letters writes for itself; the first run ends before its second look at what is new."""
    words = Tokenizer.characters(string.printable)
    sizes = {"layers": 1, "d_model": 16, "heads": 1, "kv_heads": 1, "d_head": 16, "d_ff": 32, "context": 512}
    save_model(Transformer(ModelConfig(**sizes, vocab_size=words.vocab_size)), tmp_path / "base", words)  # type: ignore[arg-type]
    settings = {"most_rounds": 2, "count": 300, "task_tokens": 12, "answer_tokens": 4, "similarity": 1.0}
    finish_all = {"finish": "stop"}

    class Ended(Chat):
        """Its texts count as ended: a random model seldom ends one."""

        rounds = 0

        def continue_many(self, *given: Any, **named: Any) -> Any:
            Ended.rounds += 1
            if Ended.rounds == stop_at:
                raise RuntimeError("stopped")
            return [Made(text=one.text, **finish_all) for one in super().continue_many(*given, **named)]

        def answer_many(self, *given: Any, **named: Any) -> Any:
            return [Made(text=one.text, **finish_all) for one in super().answer_many(*given, **named)]

    monkeypatch.setattr("ziggurat.stages.selfinstruct.Chat", Ended)

    def run_it(name: str, *, resume: bool = False) -> bytes:
        Ended.rounds = 0
        config = selfinstruct_config(tmp_path / "base", ("test", settings))
        made = selfinstruct(config, tmp_path / "base", seeds(), tmp_path / name, resume=resume)
        return (made / "tasks.jsonl").read_bytes()

    stop_at = 0
    whole = run_it("own-1")
    stop_at = 2
    with pytest.raises(RuntimeError, match="stopped"):
        run_it("own-2")
    assert not (tmp_path / "own-2" / "tasks.jsonl").exists()
    stop_at = 0
    assert run_it("own-2", resume=True) == whole
    assert whole.count(b"\n") > 20


def test_seeds_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no seed tasks"):
        prepare(selfinstruct_config(tmp_path), tmp_path, [])
