"""Whole turns by thumbs (KTO), by demonstrations (SFT) and by rankings (reward model and PPO): each ends with a
candidate, and thumbs alone end in a decided gate. Phases and criteria run in this process;
`test_turn_of_the_wheel.py` has the processes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import alphabet
import pytest
from tests.flywheel.conftest import write

from ziggurat.files import read_json
from ziggurat.flywheel.gate import gates, judging
from ziggurat.flywheel.gate import job as gate_job
from ziggurat.flywheel.release import channel, signing
from ziggurat.flywheel.turn import job as turn_job
from ziggurat.flywheel.turn import phase, turns
from ziggurat.flywheel.work.worker import Worker
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store

FAST: dict[str, Any] = {"train.dtype": "fp32", "train.threads": 1, "train.optimizer": "adamw"}
PPO: dict[str, Any] = {
    "train.dtype": "fp32",
    "train.threads": 1,
    "rollouts_per_step": 32,
    "max_new_tokens": 6,
    "minibatches": 2,
}


@pytest.fixture
def served(
    quick_store: Store, ana: Principal, letters: Path, ziggurat_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """The model of four letters serves; what jobs start runs here."""

    def here(run: Callable[[Path], Any]) -> Callable[..., None]:
        return lambda work, arguments, **_: run(Path(arguments[-1]))

    monkeypatch.setattr(turn_job, "run_child", here(phase.run))
    monkeypatch.setattr(gate_job, "run_child", here(judging.judge))
    first = signing.first(quick_store, ana, str(letters / "model"))
    channel.promote(quick_store, ana, first.name)
    return quick_store


def turned(store: Store, ana: Principal, **given: Any) -> turns.Turn:
    made = turns.start(store, ana, trainable="all", canaries=2, **given)
    assert Worker(store).once()
    made = turns.get(store, ana.workspace_id, made.id)
    assert made.state == "candidate", made.error
    return made


@pytest.mark.slow
def test_thumbs_alone_make_a_turn_and_a_decided_gate(served: Store, ana: Principal, tmp_path: Path) -> None:
    """The gate was undecided for ever where nobody had compared two answers."""
    learn = write(tmp_path / "thumbs.jsonl", alphabet.ratings(60))
    thumbs = [
        one.model_copy(update={"labeller": f"person {number % 6}"})
        for number, one in enumerate(alphabet.ratings(30, seed=77)[:100])
    ]
    held = write(tmp_path / "held.jsonl", thumbs)
    turn = turned(
        served,
        ana,
        files={"ratings": [learn]},
        held_out={"ratings": [held]},
        settings={"kto": {**FAST, "train.lr_adam": 2e-3, "epochs": 2.0}},
    )
    assert turn.recipe["method"] == "kto"
    gate = gates.start(served, ana, turn=turn.name, policy={"max_tokens": 8, "canary_alternatives": 63})
    assert Worker(served).once()
    gate = gates.get(served, ana.workspace_id, gate.id)
    found = {one.name: one for one in gate.criteria}
    won = found["win_rate"]
    assert won.detail["by"] == "people's held-out thumbs"
    assert won.verdict == "passed", won.sentence
    assert won.detail["persons"] == 6
    assert (won.low or 0) > max(0.5, won.detail["serving_alone"])
    assert gate.verdict in ("passed", "refused"), gate.sentence


@pytest.mark.slow
def test_demonstrations_alone_make_a_turn(served: Store, ana: Principal, tmp_path: Path) -> None:
    learn = write(tmp_path / "shown.jsonl", alphabet.demonstrations(64))
    turn = turned(
        served, ana, files={"demonstrations": [learn]}, settings={"sft": {**FAST, "train.steps": 2}}
    )
    assert [one["stage"] for one in turn.recipe["phases"]] == ["sft"]


@pytest.mark.slow
def test_rankings_train_a_reward_model_and_a_policy(
    served: Store, ana: Principal, letters: Path, tmp_path: Path
) -> None:
    prompts = write(tmp_path / "prompts.jsonl", alphabet.prompts())
    turn = turned(
        served,
        ana,
        method="rlhf",
        files={"comparisons": [letters / "learn.jsonl"], "prompts": [prompts]},
        settings={
            "reward": {**FAST, "train.lr_adam": 5e-3, "train.steps": 20},
            "ppo": {**PPO, "train.steps": 1, "allow_weak_reward_model": True},
        },
    )
    assert [one["stage"] for one in turn.recipe["phases"]] == ["reward", "ppo"]
    phases = [read_json(turn.folder / f"phase-{n}.json", 1) for n in (1, 2)]
    assert phases[1]["models"]["reward_model"] == phases[0]["out"]
