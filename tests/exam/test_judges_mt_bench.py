"""Two-turn questions: conversation of the second turn, grades and win rate by hand, files, resuming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.exam.judging import Planted, Saying

from ziggurat.errors import DataError, UsageError
from ziggurat.exam.candidate import Ask
from ziggurat.exam.judges import bias, sitting
from ziggurat.exam.judges.judge import Case, Pair, both_orders
from ziggurat.exam.judges.mt_bench import answer, judge_all, read_questions, shipped
from ziggurat.exam.judges.sitting import Sitting, pairs_of_result, sit
from ziggurat.records import Message


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A folder as MT-Bench is published."""
    folder = tmp_path / "mt_bench"
    (folder / "reference_answer").mkdir(parents=True)
    rows = [
        {"question_id": 81 + n, "category": ("writing", "math")[n % 2], "turns": [f"ask {n}", f"again {n}"]}
        for n in range(4)
    ]
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = {"question_id": 82, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["six", "seven"]}]}
    (folder / "reference_answer" / "gpt-4.jsonl").write_text(json.dumps(known) + "\n")
    return folder


def echo(name: str) -> Saying:
    """Says its name and the number of messages that it has read."""
    return Saying(name, lambda messages: f"{name} after {len(messages)}: {messages[-1].content}")


def referee() -> Planted:
    """Grades 8 a first turn and 6 a second; of "good" and another it prefers "good", in the first turn only."""

    def choice(pair: Pair) -> Any:
        if "again" in pair.messages[0].content:
            return "first"
        return "first" if pair.a.startswith("good") else "second"

    def grade(case: Case) -> float:
        return 8.0 if len(case.messages) == 1 else 6.0

    return Planted(choice, grade)


def test_our_questions_have_two_turns_in_eight_categories_and_two_languages() -> None:
    found = read_questions(shipped())
    assert len(found) == 16
    assert {one.category for one in found} == {
        *("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
    }
    chinese = [one for one in found if any("\u4e00" <= c <= "\u9fff" for c in one.turns[0])]
    assert len(chinese) == 8
    assert all(len(one.reference) == 2 for one in found if one.category in ("math", "reasoning", "coding"))


def test_a_published_folder_is_read_with_its_references(bench: Path) -> None:
    found = read_questions(bench)
    assert [one.id for one in found] == ["81", "82", "83", "84"]
    assert [one.reference for one in found[:2]] == [(), ("six", "seven")]


def test_broken_questions_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "question.jsonl"
    path.write_text('{"question_id": 1, "turns": ["one only"]}\n')
    with pytest.raises(DataError, match="line 1, field turns"):
        read_questions(tmp_path)
    with pytest.raises(UsageError, match="question.jsonl"):
        read_questions(tmp_path / "nowhere")


def test_the_second_turn_follows_the_first_answer(bench: Path) -> None:
    (one, *_) = answer(echo("m"), read_questions(bench), Ask())
    assert one.turns == ("m after 1: ask 0", "m after 3: again 0")
    assert [message.role for message in one.before(1)] == ["user", "assistant", "user"]


def test_grades_and_win_rate_by_hand(bench: Path) -> None:
    """Grades 8 and 6: 7 of 10. Against the baseline: first turns win in both orders, second turns always name the
    first place, which is a tie: 4 wins and 4 ties of 8, so 0.5 wins, 0.75 with half ties, half is the same."""
    questions = read_questions(bench)
    one = Sitting(questions=questions, candidate=echo("good"), judge=referee(), baseline=echo("bad"))
    figure = sit(one)
    values = {name: found["score"] for name, found in figure["metrics"].items()}
    assert values == {
        "grade": 7.0, "grade_turn_1": 8.0, "grade_turn_2": 6.0, "win_rate": 0.5, "half_rate": 0.75, "same": 0.5,
    }  # fmt: skip
    assert (figure["score"], figure["n"], figure["unread"]) == (0.7, 4, 0)
    assert figure["strata"]["math"]["n"] == 2


def test_a_grade_that_is_not_read_is_counted_and_left_out(bench: Path) -> None:
    judge = Planted(lambda pair: "tie", lambda case: None if len(case.messages) == 1 else 4.0)
    one = Sitting(questions=read_questions(bench), candidate=echo("m"), judge=judge)
    figure = sit(one)
    assert (figure["metrics"]["grade"]["score"], figure["unread"]) == (4.0, 4)
    assert "win_rate" not in figure["metrics"]


def test_references_reach_the_judge(bench: Path) -> None:
    seen: list[Any] = []
    judge = Planted(lambda pair: "tie", lambda case: float(bool(seen.append(case.row.get("reference"))) or 5))
    judge_all(judge, answer(echo("m"), read_questions(bench), Ask()))
    assert seen == [None, None, "six", "seven", None, None, None, None]


def test_a_killed_sitting_ends_with_the_same_bytes(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "BATCH", 2)
    questions = read_questions(bench)

    def fresh(candidate: Saying) -> Sitting:
        return Sitting(questions=questions, candidate=candidate, judge=referee(), baseline=echo("bad"))

    whole = fresh(echo("good"))
    sit(whole)
    kept = {path.name: path.read_bytes() for path in whole.folder.glob("*.json*")}
    (whole.folder / "figure.json").unlink()
    rows = (whole.folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (whole.folder / "rows.jsonl").write_bytes(b"".join(rows[:2]) + rows[2][:30])
    again = echo("good")
    sit(fresh(again))
    assert again.asked == 4
    assert {path.name: path.read_bytes() for path in whole.folder.glob("*.json*")} == kept
    third = echo("good")
    sit(fresh(third))
    assert third.asked == 0


def test_a_result_gives_pairs_whose_models_are_known(bench: Path) -> None:
    """The judge `good` prefers its own answers; another judge sees no difference: 1 - 0.5."""
    one = Sitting(
        questions=read_questions(bench), candidate=echo("good"), judge=referee(), baseline=echo("bad")
    )
    sit(one)
    pairs = pairs_of_result(one.folder)
    assert [pair.models for pair in pairs] == [("good", "bad")] * 8
    assert (pairs[0].a, pairs[0].b) == ("good after 1: ask 0", "bad after 1: ask 0")
    own = Planted(lambda pair: "first" if pair.models[0] == "good" else "second", model="good")
    figure = bias.self_preference("good", both_orders(own, pairs), dict.fromkeys((p.id for p in pairs), 0.5))
    assert (figure.interval.value, figure.interval.clusters) == (0.5, 4)
    alone = Sitting(questions=read_questions(bench), candidate=echo("good"), judge=referee())
    with pytest.raises(UsageError, match="--baseline"):
        pairs_of_result(alone.folder)


def test_another_judge_is_another_result(bench: Path) -> None:
    questions = read_questions(bench)
    one = Sitting(questions=questions, candidate=echo("m"), judge=referee())
    other = Sitting(
        questions=questions, candidate=echo("m"), judge=Planted(lambda pair: "tie", sha256="other")
    )
    assert one.folder.parent == other.folder.parent
    assert one.folder != other.folder


def test_the_pair_of_a_second_turn_shows_each_models_first_turn(bench: Path) -> None:
    pairs: list[Pair] = []
    judge = Planted(lambda pair: pairs.append(pair) or "tie")  # type: ignore[func-returns-value]
    questions: Sequence[Any] = read_questions(bench)[:1]
    judge_all(judge, answer(echo("x"), questions, Ask()), answer(echo("y"), questions, Ask()))
    second = pairs[2]
    assert second.messages == (Message(role="user", content="1. ask 0\n\n2. again 0"),)
    assert second.a == "1. x after 1: ask 0\n\n2. x after 3: again 0"
