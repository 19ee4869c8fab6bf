"""AI feedback: both orders of A and B, rankings of K, and a judge that sees places instead of answers."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from pathlib import Path

import pytest

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import ConfigError, DataError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Comparison, Message, Prompt, read_records
from ziggurat.runs import Run
from ziggurat.settings import resolve
from ziggurat.stages.ai_labeller import AILabeller, both_orders, ranks_of
from ziggurat.stages.align import AlignConfig
from ziggurat.stages.rlaif import rlaif, rlaif_config
from ziggurat.tokenizer.bpe import Tokenizer

POLITE = ("The answer says please.",)
ASKED = [Message(role="user", content="Where is the harbour?")]


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that can read any English text."""
    folder = tmp_path_factory.mktemp("speaker")
    words = Tokenizer.characters(string.printable)
    shape = ModelConfig(
        layers=1,
        d_model=16,
        heads=1,
        kv_heads=1,
        d_head=16,
        d_ff=32,
        vocab_size=words.vocab_size,
        context=1024,
    )
    save_model(Transformer(shape), folder, words)
    return folder


class RuleJudge(AILabeller):
    """Reads the two answers out of the question: likes "please", and whatever is A, by `bias` logits."""

    bias = 0.0
    taste = 2.0

    def probabilities(self, questions: Sequence[list[Message]]) -> list[float | None]:
        found: list[float | None] = []
        for (message,) in questions:
            a, b = message.content.split("Answer A:\n")[1].split("\n\nReply")[0].split("\n\nAnswer B:\n")
            gap = self.taste * (a.count("please") - b.count("please")) + self.bias
            found.append(1 / (1 + math.exp(-gap)))
        return found


def test_both_orders_are_averaged_and_a_preference_for_a_place_is_a_tie() -> None:
    assert both_orders(0.9, 0.3) == pytest.approx(0.8)
    assert both_orders(0.1, 0.7) == pytest.approx(0.2)
    assert both_orders(0.9, 0.8) == 0.5
    assert both_orders(0.2, 0.4) == 0.5


def test_ranks_follow_the_sums_over_pairs() -> None:
    assert ranks_of(3, {(0, 1): 0.8, (0, 2): 0.5, (1, 2): 0.4}) == [1, 3, 2]
    assert ranks_of(2, {(0, 1): 0.5}) == [1, 1]


def test_a_judge_with_a_slight_bias_ranks_by_the_principle(speaker: Path) -> None:
    judge = RuleJudge(Chat.load(speaker), POLITE)
    judge.bias = 1.0
    ranked = judge.rank(ASKED, ["South.", "South, please.", "please please south"])
    assert ranked is not None
    assert ranked.ranks == [3, 2, 1]
    numbers = judge.counts.numbers()
    assert (numbers["judged_pairs"], numbers["consistent_share"]) == (3, 1.0)
    assert numbers["mean_probability_of_a"] > 0.5


def test_a_judge_that_always_says_a_ranks_nothing(speaker: Path) -> None:
    judge = RuleJudge(Chat.load(speaker), POLITE)
    judge.taste, judge.bias = 0.1, 3.0
    assert judge.rank(ASKED, ["South.", "South, please.", "please please south"]) is None
    assert judge.counts.numbers()["consistent_share"] == 0.0


def test_the_question_holds_rules_conversation_and_both_answers(speaker: Path) -> None:
    (message,) = AILabeller(Chat.load(speaker), ["Be brief.", "Be kind."]).question(ASKED, "one", "two")
    for part in (
        "1. Be brief.\n2. Be kind.",
        "user: Where is the harbour?",
        "Answer A:\none",
        "Answer B:\ntwo",
    ):
        assert part in message.content


def test_the_probabilities_are_those_of_the_next_token(speaker: Path) -> None:
    """Against the logits of the whole prompt, read alone; a question beyond the context is left out."""
    import torch

    judge = AILabeller(Chat.load(speaker), POLITE)
    questions = [judge.question(ASKED, "South.", "North, " * n) for n in (1, 20, 400)]
    found = judge.probabilities(questions)
    assert found[2] is None
    for question, value in zip(questions[:2], found, strict=False):
        with torch.no_grad():
            logits = judge.chat.model(torch.tensor([judge.chat.prompt_ids(question)]))[0, -1]
        a, b = (logits[judge.chat.tokenizer.encode(letter)[0]] for letter in "AB")
        assert value == pytest.approx(float(torch.sigmoid(a - b)), abs=1e-4)


def test_the_stage_writes_comparisons(speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ziggurat.stages.rlaif.AILabeller", LengthJudge)
    settings = {"principles": ["Be brief."], "k": 3, "max_new_tokens": 8}
    prompts = [Prompt(prompt=[Message(role="user", content=f"Who lives in house {i}?")]) for i in range(5)]
    run = Run.open(
        rlaif(rlaif_config(speaker, ("test", settings)), speaker, speaker, prompts, tmp_path / "rlaif-1")
    )
    made = list(read_records(run.path / "ranked.jsonl", Comparison))
    assert made
    for one in made:
        assert len(str(one.completions[one.ranks.index(1)])) <= len(
            str(one.completions[one.ranks.index(max(one.ranks))])
        )
    numbers = (run.report or {})["numbers"]
    assert numbers["judged_pairs"] > 0
    assert 0 < numbers["consistent_share"] <= 1


class LengthJudge(AILabeller):
    """Prefers the shorter answer."""

    def probabilities(self, questions: Sequence[list[Message]]) -> list[float | None]:
        found: list[float | None] = []
        for (message,) in questions:
            a, b = message.content.split("Answer A:\n")[1].split("\n\nReply")[0].split("\n\nAnswer B:\n")
            found.append(1 / (1 + math.exp(min(50, max(-50, len(a) - len(b))))))
        return found


def test_principles_are_needed(speaker: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no principles"):
        rlaif(rlaif_config(speaker), speaker, speaker, [Prompt(prompt=ASKED)], tmp_path / "rlaif-1")
    with pytest.raises(ConfigError, match="judge is set, but principles is not"):
        resolve(AlignConfig, ("--set", {"judge": "own/sft"}))


def test_a_run_that_was_stopped_and_resumed_writes_the_same_bytes(
    speaker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept of a run that ended early: it samples and asks again, by the same draws."""
    settings = {"principles": ["Be brief."], "k": 3, "max_new_tokens": 8}
    prompts = [Prompt(prompt=[Message(role="user", content=f"Who lives in house {i}?")]) for i in range(5)]

    def run_it(name: str, *, resume: bool = False) -> bytes:
        config = rlaif_config(speaker, ("test", settings))
        return (
            rlaif(config, speaker, speaker, prompts, tmp_path / name, resume=resume) / "ranked.jsonl"
        ).read_bytes()

    monkeypatch.setattr("ziggurat.stages.rlaif.AILabeller", LengthJudge)
    whole, asked = run_it("rlaif-1"), []

    def stopped(judge: LengthJudge, questions: Sequence[list[Message]]) -> list[float | None]:
        asked.append(1)
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(LengthJudge, "probabilities", stopped)
        run_it("rlaif-2")
    assert asked
    assert not (tmp_path / "rlaif-2" / "ranked.jsonl").exists()
    assert run_it("rlaif-2", resume=True) == whole
