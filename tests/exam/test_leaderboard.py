"""The leaderboard over files on disk, the published tables, and advice."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ziggurat.exam import leaderboard, reference, suitable
from ziggurat.exam.leaderboard import Board, board
from ziggurat.exam.productivity import Work, compare, gain


def sat(home: Path, model: str, task: str, score: float, **more: Any) -> None:
    """A finished exam."""
    shots, sha = more.pop("shots", 0), more.pop("sha", "a")
    folder = home / "exams" / f"{model.replace('/', '+')}--{sha * 12}" / f"{task}@1--{shots:012d}"
    folder.mkdir(parents=True)
    settings = {"model": model, "sha256": sha * 64, "task": task, "switches": {"shots": shots}}
    figure = {
        "task": task, "title": {"en": task.title()}, "ability": "knowledge", "version": 1, "n": 100,
        "score": score, "low": score - 0.05, "high": score + 0.05, "chance": 0.25, "majority": 0.3,
        "metrics": {}, "strata": {},
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "figure.json").write_text(json.dumps(figure | more))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    return tmp_path


def entries(found: Board) -> dict[str, leaderboard.Entry]:
    return {one.model: one for one in found.models}


def test_figures_ratings_and_costs_meet_in_one_row(home: Path) -> None:
    sat(home, "town/ppo", "facts", 0.8)
    sat(home, "town/ppo", "mt-bench", 0.7, metrics={"grade": {"score": 7.0}, "win_rate": {"score": 0.5}})
    sat(home, "small", "facts", 0.5)
    found = board(
        {"town/ppo": (1100.0, 1050.0, 1150.0), "voted": (900.0, None, None)}, {"small": {"tokens": 20.0}}
    )
    rows = entries(found)
    assert [one.model for one in found.models] == ["town/ppo", "small", "voted"]
    ppo = rows["town/ppo"]
    assert (ppo.mean, ppo.grade, ppo.win_rate, ppo.rating) == (0.8, 7.0, 0.5, 1100.0)
    assert rows["small"].tokens_each == 20.0
    assert (rows["small"].grade, rows["small"].rating, rows["small"].parameters) == (None, None, None)
    assert (rows["voted"].figures, rows["voted"].mean, rows["voted"].rating) == ({}, None, 900.0)


def test_only_the_newest_weights_of_a_name_have_its_rating_and_cost(home: Path) -> None:
    for when, sha in enumerate("bac"):  # c is the newest
        sat(home, "one", "facts", 0.5, sha=sha)
        (path,) = (home / "exams").glob(f"one--{sha * 12}/*/figure.json")
        os.utime(path, (1_000 + when, 1_000 + when))
    rows = {
        row.sha256[0]: row for row in board({"one": (1000.0, None, None)}, {"one": {"tokens": 9.0}}).models
    }
    assert {sha: (row.rating, row.tokens_each) for sha, row in rows.items()} == {
        "a": (None, None), "b": (None, None), "c": (1000.0, 9.0),
    }  # fmt: skip


def test_a_column_has_one_choice_of_settings_that_of_most_models(home: Path) -> None:
    for name in ("one", "two"):
        sat(home, name, "facts", 0.5)
    sat(home, "two", "facts", 0.9, shots=5)
    sat(home, "three", "facts", 0.95, shots=5, version=0)
    rows = entries(board())
    assert rows["two"].figures["facts"].score == 0.5
    assert rows["three"].figures == {}
    assert [one.models for one in board().columns] == [2]


def test_a_base_model_sits_the_raw_text_in_the_same_column(home: Path) -> None:
    for name, chat in (("base", False), ("sft", True)):
        sat(home, name, "facts", 0.5)
        path = next((home / "exams").glob(f"{name}--*/*/settings.json"))
        settings = json.loads(path.read_text())
        path.write_text(json.dumps(settings | {"switches": {"shots": 0, "chat": chat}}))
    assert [one.models for one in board().columns] == [2]


def test_bits_per_byte_are_no_part_of_the_mean(home: Path) -> None:
    sat(home, "one", "facts", 0.5)
    sat(home, "one", "passages", 2.5, better="lower", unit="bits per byte")
    (row,) = board().models
    assert row.mean == 0.5
    assert row.figures["passages"].score == 2.5


def test_percentiles_are_lower_bounds_among_the_other_models(home: Path) -> None:
    """Of 0.2, 0.5, 0.5, 0.9: an 0.5 is above one of three others; with lower scores better, above one (0.9)."""
    for name, score in (("a", 0.2), ("b", 0.5), ("c", 0.5), ("d", 0.9)):
        sat(home, name, "facts", score)
        sat(home, name, "loss", score, better="lower")
    found = {one.model: one.figures for one in board().models}
    assert [found[name]["facts"].percentile for name in "abcd"] == pytest.approx([0, 1 / 3, 1 / 3, 1])
    assert [found[name]["loss"].percentile for name in "abcd"] == pytest.approx([1, 1 / 3, 1 / 3, 0])


def test_others_see_the_models_that_are_offered_to_them_and_no_address(home: Path) -> None:
    sat(home, "offered", "facts", 0.5)
    sat(home, "secret", "hidden-task", 0.9)
    for path in (home / "exams").glob("*/*/settings.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"judge": "big@http://10.0.0.7:8000/v1"}))
    found = board()
    assert [one.settings["judge"] for one in found.columns] == ["big", "big"]
    kept = leaderboard._only(found, {"offered"})
    assert [one.model for one in kept.models] == ["offered"]
    assert [one.task for one in kept.columns] == ["facts"]


def test_a_folder_that_is_being_written_is_left_out(home: Path) -> None:
    sat(home, "one", "facts", 0.5)
    broken = home / "exams" / "two--bbb" / "facts@1--000"
    broken.mkdir(parents=True)
    (broken / "figure.json").write_text('{"task": "fa')
    assert list(entries(board())) == ["one"]


def test_the_published_chatbots_have_21_rows_and_their_blanks() -> None:
    rows = {row["model"]: row for row in reference.read("chatbots")["rows"]}
    assert len(rows) == 21
    gpt = rows["GPT-4"]
    assert (gpt["elo"], gpt["mt_bench"], gpt["win_rate"], gpt["mmlu"]) == (1227, 8.99, 69.4, 86.4)
    blanks = {(name, column) for name, row in rows.items() for column in row if row[column] is None}
    assert blanks == {("GPT-3.5-turbo", "win_rate"), ("PaLM-Chat-Bison-001", "mmlu"), ("Vicuna-33B", "elo")}
    assert rows["LLaMA-13B"]["win_rate"] == 1.9


def test_the_average_of_c_eval_is_not_the_mean_of_its_groups() -> None:
    """GPT-4: (67.1 + 77.6 + 64.5 + 67.8) / 4 = 69.25, the average over subjects is 68.7."""
    rows = {row["model"]: row for row in reference.read("c_eval")["rows"]}
    assert len(rows) == 21
    gpt = rows["GPT-4"]
    groups = [gpt[name] for name in ("stem", "social_science", "humanities", "other")]
    assert (sum(groups) / 4, gpt["average"]) == (pytest.approx(69.25), 68.7)
    assert gpt["tested_by"] == "C-Eval"
    assert (rows["Chinese LLaMA-13B"]["average"], rows["ChatGLM2"]["average"]) == (33.3, 71.1)


# --- suitable -------------------------------------------------------------------------------------------------------


def test_there_are_two_lists_of_eight() -> None:
    sides = [one.suitable for one in suitable.entries()]
    assert (sides.count(True), sides.count(False)) == (8, 8)
    assert all(set(one.title) == set(one.why) == {"en", "zh"} for one in suitable.entries())
    assert all(one.instead for one in suitable.entries() if not one.suitable)


@pytest.mark.parametrize(
    ("task", "verdict", "entry"),
    [
        ("Write a story for children", "suitable", "creative"),
        ("Summarise and translate our minutes", "suitable", "near_language_modelling"),
        ("Classify tickets by sentiment", "unsuitable", "plain_understanding"),
        ("Forecast the sales of next month", "unsuitable", "not_language"),
        ("answer questions about our internal documents in a conversation", "mixed", "unlikely_knowledge"),
        ("把会议记录翻译成英文", "suitable", "near_language_modelling"),
        ("根据时间序列预测销量", "unsuitable", "not_language"),
        ("xyzzy", "unknown", ""),
    ],
)
def test_a_description_is_mapped_to_the_lists_with_its_words(task: str, verdict: str, entry: str) -> None:
    found = suitable.advise(task)
    assert found.verdict == verdict
    assert not entry or entry in [one.id for one in found.reasons]
    assert all(word in task.lower() for one in found.reasons for word in one.words)


def test_facts_and_logic_ask_for_care() -> None:
    assert [one.id for one in suitable.advise("prove this theorem").careful] == ["logic"]
    assert [one.id for one in suitable.advise("answer legal questions").careful] == ["facts"]
    assert suitable.advise("fix the syntax; it renews itself").careful == []


def test_a_models_own_exam_says_what_it_is_suitable_for(home: Path) -> None:
    """facts: 0.5 ± 0.05 above chance 0.25 and majority 0.3; guess: 0.32 ± 0.05 is not surely above 0.3."""
    sat(home, "m", "facts", 0.5)
    sat(home, "m", "guess", 0.32, ability="code")
    found = board()
    lines = {one.id: one for one in suitable.table(found.columns, found.models[0].figures)}
    assert lines["knowledge"].verdict == "yes"
    assert lines["emergent"].verdict == "no"
    assert lines["creative"].verdict == "not measured"


# --- productivity ---------------------------------------------------------------------------------------------------


def test_the_published_gain_is_58_8_percent() -> None:
    found = gain(27, 17)
    assert found is not None
    assert round(found, 3) == 0.588


def test_a_comparison_needs_five_of_each() -> None:
    """Without: mean 27 minutes, grade 3.8 of 7; with: 17 minutes, 4.5."""
    alone = [Work(False, 60 * minutes, 3.8, f"p{minutes % 3}") for minutes in (25, 26, 27, 28, 29)]
    helped = [Work(True, 60 * minutes, 4.5, f"p{minutes % 3}") for minutes in (15, 16, 17, 18, 19)]
    found = compare("p", "labelling", alone + helped)
    assert found.gain == pytest.approx(27 / 17 - 1)
    assert (found.alone.quality, found.helped.quality) == (pytest.approx(3.8), pytest.approx(4.5))
    assert compare("p", "labelling", alone + helped[:4]).gain is None
    of_one = compare("p", "labelling", [replace(one, person="p0") for one in alone + helped])
    assert (of_one.alone.n, of_one.alone.seconds, of_one.alone.quality, of_one.gain) == (5, None, None, None)
