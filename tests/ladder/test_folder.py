"""A person's own files as a world: `ziggurat ladder --world FOLDER`."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from ziggurat.cli.main import run
from ziggurat.ladder import sizes
from ziggurat.ladder.folder import HELD_OUT_SHARE, FolderWorld
from ziggurat.ladder.world import Options, left_out
from ziggurat.places import runs_home
from ziggurat.runs import Run

COLOURS = ("red", "green", "blue", "grey", "white", "black")
THINGS = ("door", "roof", "boat", "coat", "lamp", "wall", "gate", "cart")
FAST = ["--budget", "1s", "--no-serve"]


pytestmark = [pytest.mark.usefixtures("known_speeds"), pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of two narrow blocks, and few samples to scale rewards by."""
    plain = FolderWorld.recipe

    def recipe(world: FolderWorld, budget_s: float) -> dict[str, Any]:
        found = plain(world, budget_s)
        found["reward"] |= {"scale_samples": 4, "sample_tokens": 8}
        return found

    monkeypatch.setattr(sizes, "SHAPES", ((2, 64), (3, 64)))
    monkeypatch.setattr(FolderWorld, "recipe", recipe)


def facts() -> list[tuple[str, str]]:
    return [
        (f"{owner} {thing}", COLOURS[(i + j) % 6])
        for i, owner in enumerate("ABCDEFGH")
        for j, thing in enumerate(THINGS)
    ]


def ask(what: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What colour is {what}?"}]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Every kind of file, about colours."""
    folder = tmp_path / "my files"
    (folder / "documents").mkdir(parents=True)
    for owner in "ABCDEFGH":
        told = [f"The {what} is {colour}." for what, colour in facts() if what.startswith(owner)]
        (folder / "documents" / f"{owner}.txt").write_text(" ".join(told * 12), encoding="utf-8")
    answers = {what: f"It is {colour}." for what, colour in facts()}
    shown = [{"messages": [*ask(w), {"role": "assistant", "content": a}]} for w, a in answers.items()]
    write(folder / "demonstrations.jsonl", shown)
    draw = random.Random(0)
    ranked = [
        {
            "id": w,
            "prompt": ask(w),
            "completions": [a, f"It is {draw.choice(COLOURS)}, or not."],
            "ranks": [1, 2],
        }
        for w, a in answers.items()
    ]
    write(folder / "comparisons.jsonl", ranked)
    write(folder / "prompts.jsonl", [{"prompt": ask(w)} for w in answers])
    return folder


def report(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (runs_home() / name / "exam" / "report.json").read_text(encoding="utf-8")
    )
    return found


def test_own_files_climb_all_stages_and_the_report_shows_what_was_held_out(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then the same folder is resumed after PPO was lost, and refused once a file has changed."""
    (own / "notes.md").write_text("not data")
    assert run(["ladder", "--world", str(own), "--name", "own", *FAST]) == 0
    told = capsys.readouterr()
    assert "notes.md is not used" in told.err.replace("\n", " ")
    found = report("own")
    assert found["format_version"] == 2
    assert list(found["runs"]) == ["pretrain", "sft", "reward-1", "ppo-1"]
    assert found["left_out"] == {"sample": "the rankings are given"}
    assert set(found["held_out"]) == {"stage 1", "stage 2", "stage 4"}
    for figure in ("bits_per_byte", "loss", "token_accuracy", "exact_match", "reward"):
        x = found["held_out"]["stage 4"][figure]
        assert x["low"] <= x["value"] <= x["high"]
    assert found["reward_card"]["pairs"]["n"] > 0
    assert {t["stage"] for t in found["targets"]} == {"sft", "reward", "ppo"}
    assert "On held-out data" in told.out
    answers = (runs_home() / "own" / "exam" / "answers.jsonl").read_text().splitlines()
    assert {json.loads(row)["model"] for row in answers} == {"stage 2", "stage 4"}
    entries = Run.open(runs_home() / "own" / "sft-1").manifest["data"]
    assert {(Path(e["path"]).name, e["role"]) for e in entries} >= {
        ("demonstrations.jsonl", "data"),
        ("A.txt", "text"),
    }

    weights = runs_home() / "own" / "ppo-1" / "model" / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(runs_home() / "own" / "ppo-1")
    assert run(["ladder", "--resume", "--name", "own", "--no-serve"]) == 0
    assert weights.read_bytes() == before
    write(own / "prompts.jsonl", [{"prompt": ask("the moon")}])
    assert run(["ladder", "--resume", "--name", "own", "--no-serve"]) == 2
    assert "other data" in capsys.readouterr().err


def test_without_documents_the_climb_starts_from_the_base_and_without_prompts_ppo_takes_those_of_the_rankings(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            [
                "pretrain",
                "--data",
                str(own / "documents"),
                "--out",
                str(tmp_path / "base"),
                "--set",
                "model=tiny",
                "--set",
                "train.steps=2",
            ]
        )
        == 0
    )
    for name in ("documents/A.txt", "prompts.jsonl"):
        (own / name).unlink()
    shutil.rmtree(own / "documents")
    assert run(["ladder", "--world", str(own), *FAST]) == 2
    assert "has no documents" in capsys.readouterr().err.replace("\n", " ")
    assert run(["ladder", "--world", str(own), "--base", str(tmp_path / "base"), "--name", "own", *FAST]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "left out: there are no documents; the climb starts from" in told
    assert "PPO takes the prompts of the comparisons" in told
    found = report("own")
    assert list(found["runs"]) == ["sft", "reward-1", "ppo-1"]
    assert set(found["held_out"]) == {"base", "stage 2", "stage 4"}
    assert "bits_per_byte" not in found["held_out"]["base"]


def test_without_rankings_the_climb_stops_after_sft_and_says_so(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "comparisons.jsonl").unlink()
    assert run(["ladder", "--world", str(own), "--name", "own", *FAST]) == 0
    assert " ".join(capsys.readouterr().err.split()).count("left out: there are no rankings") == 3
    assert list(report("own")["runs"]) == ["pretrain", "sft"]
    assert report("own")["reward_card"] == {}


def test_a_held_out_question_is_in_no_file_that_is_learned_from(own: Path) -> None:
    """One hash of the first question decides for demonstrations, comparisons and prompts alike."""
    world = FolderWorld(Options(str(own)))
    world.check()
    data = world.data
    held = {d.messages[0].content for d in data.held_demonstrations}
    assert held == {c.prompt[0].content for c in data.held_comparisons}
    assert 0 < len(held) < 4 * HELD_OUT_SHARE * len(facts())
    for learned in (
        [d.messages for d in data.demonstrations],
        [c.prompt for c in data.comparisons],
        [p.prompt for p in data.prompts],
    ):
        assert held.isdisjoint(messages[0].content for messages in learned)


def test_held_out_files_are_recognised_by_what_they_hold(own: Path) -> None:
    (own / "held-out").mkdir()
    (own / "held-out" / "text.txt").write_text("The Z door is red.")
    write(
        own / "held-out" / "ranked.jsonl",
        [{"id": "z", "prompt": ask("Z door"), "completions": ["red", "blue"], "ranks": [1, 2]}],
    )
    world = FolderWorld(Options(str(own)))
    world.check()
    assert [d.text for d in world.data.held_documents] == ["The Z door is red."]
    assert [c.id for c in world.data.held_comparisons] == ["z"]
    assert len(world.data.comparisons) == len(facts())


def test_amounts_follow_the_data_and_never_pass_sensible_epochs(own: Path) -> None:
    """However long the budget is: 4 epochs of documents, 3 of demonstrations, 8 passes of prompts."""
    world = FolderWorld(Options(str(own)))
    world.check()
    recipe = world.recipe(36_000.0)
    data = world.data
    text_bytes = sum(len(d.text) for d in data.documents)
    assert recipe["work"]["pretrain_steps"] == -(-4 * text_bytes // 3 // 2048)
    assert recipe["work"]["ppo_steps"] * recipe["work"]["rollouts_per_step"] <= 8 * len(data.prompts) + 32
    assert recipe["work"]["prompts_to_rank"] == len(data.comparisons)
    assert recipe["model"]["layers"] == 2, "so little text feeds the smallest shape only"
    assert recipe["ppo"]["max_new_tokens"] == 16


def test_a_folder_with_other_names_is_refused_with_the_names_that_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stuff.txt").write_text("x")
    assert run(["ladder", "--world", str(tmp_path)]) == 2
    assert "documents.*, demonstrations.*" in " ".join(capsys.readouterr().err.split())


def test_a_world_without_a_model_that_answers_stops_before_the_rankings(own: Path) -> None:
    (own / "demonstrations.jsonl").unlink()
    world = FolderWorld(Options(str(own)))
    world.check()
    assert set(left_out(world)) == {"sft", "sample", "reward", "ppo"}
