"""A world of somebody else: an object that subclasses `World`, found by name through an entry point."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ziggurat.cli.main import run
from ziggurat.dialogue.chat import Chat
from ziggurat.ladder.climb import Climb, begin
from ziggurat.ladder.held_out import examine
from ziggurat.ladder.plan import Work
from ziggurat.ladder.rankings import Rankings, Truth
from ziggurat.ladder.report import write_report
from ziggurat.ladder.stages import climb_stages
from ziggurat.ladder.world import Options, World, open_world
from ziggurat.model.config import ModelConfig
from ziggurat.places import runs_home
from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt
from ziggurat.stages.sample import sample_from
from ziggurat.tokenizer.bpe import Tokenizer

LETTERS = "abcdefgh"
ONE_STEP = Work(
    pretrain_steps=2, sft_steps=2, rounds=1, prompts_to_rank=8, completions=3, ppo_steps=1, rollouts_per_step=4
)  # fmt: skip
AMOUNTS = (
    "pretrain_steps", "sft_steps", "rounds", "prompts_to_rank", "completions", "ppo_steps", "rollouts_per_step"
)  # fmt: skip


def question(i: int) -> list[Message]:
    return [Message(role="user", content=f"{LETTERS[i % 8]}{i}?")]


class Harbour(World):
    """Questions are answered by their letter, and the labellers like short answers."""

    name = "harbour"
    smallest = ONE_STEP
    most = 0.0

    def __init__(self, options: Options) -> None:
        self.options = options

    def recipe(self, budget_s: float) -> dict[str, Any]:
        shape = {
            "layers": 1,
            "d_model": 32,
            "heads": 1,
            "kv_heads": 1,
            "d_head": 32,
            "d_ff": 64,
            "context": 64,
        }
        return {
            "model": shape,
            "work": {key: value for key, value in vars(ONE_STEP).items() if key in AMOUNTS},
            "pretrain": {"context": 64, "batch_tokens": 256},
            "sft": {"batch_tokens": 256},
            "reward": {"scale_samples": 4, "sample_tokens": 8, "batch_comparisons": 2},
            "ppo": {"max_new_tokens": 6, "allow_weak_reward_model": True, "stop_when_fatal": False},
        }  # fmt: skip

    def model_config(self, recipe: Mapping[str, Any]) -> ModelConfig:
        return ModelConfig(**recipe["model"], vocab_size=300)

    def tokenizer(self, climb: Climb, documents: Sequence[Document]) -> Tokenizer:
        return Tokenizer.characters(LETTERS + "0123456789?!")

    def documents(self, climb: Climb) -> list[Document]:
        return [Document(text=f"{LETTERS[i % 8]}{i}! " * 20) for i in range(40)]

    def held_out_documents(self, climb: Climb) -> list[Document]:
        return [Document(text="a1! b2! c3!")]

    def demonstrations(self, climb: Climb) -> list[Demonstration]:
        answer = [Message(role="assistant", content=f"{LETTERS[i % 8]}!") for i in range(40)]
        return [Demonstration(messages=[*question(i), answer[i]]) for i in range(40)]

    def rank(self, climb: Climb, number: int, policy: Chat | None) -> Rankings:
        assert policy is not None
        prompts = [Prompt(prompt=question(i)) for i in range(climb.work.prompts_to_rank)]
        sampled = sample_from(policy, prompts, climb.work.completions)
        comparisons = []
        for i, one in enumerate(sampled):
            texts = list(dict.fromkeys([*one.distinct(), f"{LETTERS[i % 8]}!"]))[:9]
            ranks = [1 + sum(len(other) < len(text) for other in texts) for text in texts]
            if len(texts) > 1:
                comparisons.append(Comparison(id=str(i), prompt=question(i), completions=texts, ranks=ranks))
        truth = Truth(
            taste=lambda c: [-float(len(str(text))) for text in c.completions],
            kind_of_pair=lambda *_: "shorter/longer",
            right_order=lambda gap, labeller: 1.0,
        )
        return Rankings(comparisons, [i % 3 == 0 for i in range(len(comparisons))], truth)

    def prompts(self, climb: Climb, number: int) -> list[Prompt]:
        return [Prompt(prompt=question(i)) for i in range(16)]

    def gold(self, climb: Climb) -> Any:
        def short(policy: Chat) -> float:
            return -float(len(policy.complete_many([question(1)])[0]))

        return short


@pytest.mark.usefixtures("known_speeds")
def test_a_plain_object_climbs_and_is_examined_on_held_out_data() -> None:
    climb = begin(Harbour(Options("harbour")), 1.0)
    climb_stages(climb)
    report = write_report(climb, examine(climb))
    assert list(climb.runs) == ["pretrain", "sft", "reward-1", "ppo-1"]
    assert climb.card["labelling_ceiling"] == 1.0
    assert set(climb.true_kinds) == {"shorter/longer"}
    assert set(report["held_out"]) == {"stage 1", "stage 2", "stage 4"}
    assert (climb.folder / "data" / "comparisons-1.jsonl").is_file()


@pytest.mark.usefixtures("known_speeds")
def test_a_world_of_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An installed distribution, as pip leaves it: metadata with entry points, and a module."""
    info = tmp_path / "harbour-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: harbour\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ziggurat.worlds]\nharbour = harbour_world:open_world\n")
    (tmp_path / "harbour_world.py").write_text("import harbour_code\nopen_world = harbour_code.Harbour\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "harbour_code", sys.modules[__name__])
    assert isinstance(open_world(Options("harbour"), {}), Harbour)
    assert run(["ladder", "--world", "harbour", "--budget", "1s", "--dry-run"]) == 0
    assert "2 steps" in capsys.readouterr().err
    assert run(["ladder", "--world", "harbour", "--budget", "1s", "--no-serve", "--controls"]) == 2
    assert "has no controls" in " ".join(capsys.readouterr().err.split())
    assert not (runs_home() / "harbour").exists()
