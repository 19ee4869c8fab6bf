"""The ladder on verse, tiny: every stage runs, the gold check sees collapse, and the report holds its figures."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.ladder import climb as climbing
from ziggurat.ladder.held_out import examine
from ziggurat.ladder.plan import Speeds, Work, costs, fit, reference_work
from ziggurat.ladder.report import write_report
from ziggurat.ladder.stages import climb_stages
from ziggurat.ladder.targets import summarize
from ziggurat.places import runs_home
from ziggurat.verse import finals
from ziggurat.verse import world as verse_world
from ziggurat.verse.demonstrations import title_task
from ziggurat.verse.exam import Sheaf, figures, good_share
from ziggurat.verse.prosody import FORMS
from ziggurat.verse.world import VerseWorld, load_recipe

SPEEDS = Speeds(train_step_s=0.1, train_token_s=1e-4, forward_token_s=3e-5, completion_s=2e-3)
GOOD = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"


def tiny_recipe() -> dict[str, object]:
    recipe = copy.deepcopy(load_recipe())
    recipe["model"] = {
        "layers": 2, "d_model": 64, "heads": 2, "kv_heads": 2, "d_head": 32, "d_ff": 128, "context": 256
    }  # fmt: skip
    recipe |= {"characters": 1500, "eight_line_poems": 20, "rhyme_feet": 20, "demonstrations": 200}
    recipe["held_out_documents"] = 8
    recipe["reward"]["scale_samples"] = 8
    recipe["ppo"] |= {"critic_warmup_steps": 1, "stop_when_fatal": False}
    return recipe


def test_a_plan_leaves_room_for_the_exam_and_the_recipe_is_sound() -> None:
    recipe = load_recipe()
    assert recipe["name"] == "poet"
    assert recipe["ppo"]["temperature"] == recipe["temperature"] == 0.8
    lengths, left_s = VerseWorld.lengths, 1500 - VerseWorld.reserved_s
    work = fit(reference_work(recipe, recipe["model"]["layers"]), SPEEDS, left_s, lengths=lengths)
    assert 1300 < sum(costs(work, SPEEDS, lengths).values()) <= left_s


def test_the_gold_check_is_not_fooled_by_one_safe_ending() -> None:
    """Eighty poems that all rhyme on the same two characters: 100 % rhyme, and nothing good among them."""
    sheaf = Sheaf([title_task(FORMS["五绝"], "登鹳雀楼")] * 80, [GOOD] * 80)
    found = figures(sheaf, frozenset())
    assert found.rhymed.value == 1.0
    assert found.groups == 1
    assert found.commonest.share == 0.25
    assert good_share(sheaf, frozenset()) == 0.0
    few = Sheaf(
        sheaf.tasks[:1], [GOOD]
    )  # one poem ends each of its lines otherwise, but a quarter is too much
    assert good_share(few, frozenset()) == 0.0


def test_copied_lines_are_counted_line_by_line() -> None:
    sheaf = Sheaf([title_task(FORMS["五绝"], "登鹳雀楼")] * 2, [GOOD] * 2)
    assert figures(sheaf, frozenset(["黄河入海流"])).verbatim.value == 0.25


def test_the_summary_names_what_was_not_met() -> None:
    sheaf = Sheaf([title_task(FORMS["五绝"], "登鹳雀楼")] * 80, [GOOD] * 80)
    found = figures(sheaf, frozenset())
    bits = {"base": 6.0, "sft": 6.0, "ppo": 6.6}
    targets = finals.verse_targets(found, found.rhymed, bits, 3000.0)
    failed = {target.name for target in targets if not target.passed}
    assert failed == {
        "rhyme groups among 200 poems",
        "most frequent ending",
        "bits per character against sft",
        "bits per character against base",
        "time in all",
    }
    assert "most frequent ending" in summarize(targets)


def test_the_ladder_climbs_all_four_stages_on_a_sample_and_resumes(
    poems_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too small to learn anything; what each stage leaves behind is what is tested."""
    folder = runs_home() / "poet"
    work = Work(
        pretrain_steps=20,
        sft_steps=8,
        rounds=2,
        prompts_to_rank=40,
        completions=4,
        ppo_steps=1,
        rollouts_per_step=8,
        step_tokens=512,
    )
    monkeypatch.setattr(climbing, "measure_speeds", lambda *_, **__: SPEEDS)
    monkeypatch.setattr(climbing, "fit", lambda *_, **__: work)
    monkeypatch.setattr(verse_world, "load_recipe", tiny_recipe)
    climb = climbing.begin(VerseWorld(poems_file), 60.0)
    climb_stages(climb)
    assert list(climb.runs) == ["pretrain", "sft", "reward-1", "ppo-1", "reward-2", "ppo-2"]
    weights = (folder / "ppo-2" / "model" / "model.safetensors").read_bytes()
    (folder / "ppo-2" / "report.json").unlink()
    again = climbing.begin(VerseWorld(poems_file), 60.0, resume=True)
    assert again.work == work
    climb_stages(again, resume=True)
    assert (folder / "ppo-2" / "model" / "model.safetensors").read_bytes() == weights
    write_report(climb, examine(climb))
    written = json.loads((folder / "exam" / "report.json").read_text(encoding="utf-8"))
    assert 0.6 < written["real_rhyme_rate"]["value"] < 0.95
    assert written["quatrains"]["ppo"]["formed"]["n"] == 400
    assert {"base", "sft", "ppo"} == set(written["bits_per_character"])
    assert not written["passed"]
    page = (folder / "exam" / "report.html").read_text(encoding="utf-8")
    assert "Asked at every stage" in page
    assert "<svg" in page


def test_dry_run_prints_the_plan_and_writes_nothing(
    poems_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["poet", "--data", str(poems_file), "--budget", "5m", "--dry-run"]) == 0
    assert "pretrain" in capsys.readouterr().err
    assert not (runs_home() / "poet").exists()


def test_verse_is_a_world_of_the_ladder_and_needs_its_poems(
    poems_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ladder", "--world", "verse", "--data", str(poems_file), "--dry-run"]) == 0
    assert run(["ladder", "--world", "verse", "--dry-run"]) == 2
    assert "needs --data FILE" in capsys.readouterr().err


def test_a_missing_file_and_nothing_to_resume_are_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["poet", "--data", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
    assert run(["poet", "--data", str(tmp_path / "none.jsonl"), "--resume"]) == 2
    assert "no climb to resume" in capsys.readouterr().err
