"""Benchmark `constraints`: every checker right and wrong, the reward, and held-out prompts apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import constraint_data
import measures
import pytest
import rules
import torch

from ziggurat.corpus.load import load_prompts
from ziggurat.records import Message, Prompt
from ziggurat.stages.scorer import RewardFunction

REAL = Path(rules.__file__).parent
FISH = "Fry the fish in hot oil. Turn it once."
CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {"kind": "bullets", "n": 2},
        ["- one\n- two", "Here:\n* one\n• two\nDone."],
        ["- one", "- one\n- two\n- three", "1. one\n2. two", "-one\n-two", "a - b\nc - d"],
    ),
    (
        {"kind": "numbered", "n": 2},
        ["1. one\n2. two", "So:\n1) one\n2) two"],
        ["1. one", "1. one\n3. two", "2. one\n1. two", "1. one\n2. two\n3. three", "- one\n- two"],
    ),
    (
        {"kind": "json", "keys": ["a", "b"]},
        ['{"a": "x", "b": ["y"]}', ' {"b": "y",\n "a": 1} ', '```json\n{"a": "x", "b": "y"}\n```'],
        ['{"a": "x"}', '{"a": "x", "b": "y", "c": "z"}', 'So: {"a": "x", "b": "y"}', '["a"]', '{"a": "", "b": 1}'],
    ),
    ({"kind": "title"}, ["[Fish]\n" + FISH], ["[Fish]", FISH, "[]\n" + FISH, "[Fish] " + FISH, "Fish\n[x]"]),
    ({"kind": "quoted"}, [f'"{FISH}"', f"“{FISH}”"], [FISH, f'"{FISH}', f'{FISH}"', '""', '"']),
    ({"kind": "starts", "text": "In short,"}, ["In short, fry."], ["in short, fry.", "No. In short, no", "In short,"]),
    ({"kind": "ends", "text": "Good luck!"}, [f"{FISH} Good luck!"], [FISH, "Good luck! Bye.", "Good luck!"]),
    ({"kind": "contains", "word": "water"}, ["Use Water."], ["Use watercress.", ""]),
    ({"kind": "avoid", "word": "the"}, ["Use water, then stir."], [FISH, "The end.", ""]),
    ({"kind": "lower"}, ["fry it, 2 times."], ["Fry it.", "fry IT", "123", ""]),
    ({"kind": "no_comma"}, [FISH], ["fry, turn", ""]),
    ({"kind": "max_words", "n": 4}, ["One two three four.", "one - two - three"], ["one two three four five", "", "-"]),
    (
        {"kind": "language", "code": "es"},
        ["El pan es muy bueno y la sopa también, pero no lo comas frío."],
        [FISH, "Pan.", "Le pain est bon et la soupe aussi, mais ne le mange pas froid."],
    ),
    (
        {"kind": "language", "code": "de"},
        ["Das Brot ist gut und die Suppe auch, aber nicht kalt."],
        ["The bread is good and the soup too.", ""],
    ),
    ({"kind": "language", "code": "fr"}, ["Le pain est bon et la soupe est dans le four."], ["Pain, soupe, four."]),
    ({"kind": "upper"}, ["FRY IT, 2 TIMES."], ["FRY it.", "12", ""]),
    ({"kind": "sentences", "n": 2}, [FISH, "Is it? Yes!!", "e.g. fish at 3.5 °C. Good."], ["One.", "A. B. C.", ""]),
    ({"kind": "question"}, ["Fry it. Why not?"], ["Why? Because.", ""]),
    ({"kind": "twice", "word": "need"}, ["Need I? I need."], ["I need needles.", ""]),
    ({"kind": "parts", "n": 2}, ["one\n***\ntwo", "one\n ***\ntwo"], ["a *** b", "***\ntwo", "a\n***\nb\n***\nc"]),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "right", "wrong"), CASES, ids=lambda one: str(one)[:40])
def test_a_checker_accepts_what_is_right_and_nothing_else(
    constraint: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    assert [text for text in right if not rules.is_met(constraint, text)] == []
    assert [text for text in wrong if rules.is_met(constraint, text)] == []


def test_every_kind_has_cases_and_is_demanded_somewhere() -> None:
    tried = {one["kind"] for one, _, _ in CASES}
    demanded = {kind.name for kind in (*constraint_data.SEEN, *constraint_data.UNSEEN)}
    assert tried == demanded == set(rules.CHECKS)


def test_sentences_end_at_marks_and_lines_and_not_inside_numbers() -> None:
    assert rules.sentences("First. Second!\nThird without a mark\n1. Fourth, e.g. 3.5 of it.") == [
        "First.",
        "Second!",
        "Third without a mark",
        "Fourth, eg 3.5 of it.",
    ]
    assert rules.sentences('She said "stop." Then she left.') == ['She said "stop.', "Then she left."]
    assert rules.sentences(" \n... 12") == []


def test_the_reward_is_half_for_each_and_half_for_all() -> None:
    """One of two met: 0.5 · 1/2; both: 1; a degenerate answer is below any other."""
    row = {"constraints": [{"kind": "lower"}, {"kind": "max_words", "n": 5}]}
    assert rules.score([], "fry it in oil", row) == 1.0
    assert rules.score([], "Fry it in oil", row) == 0.25
    assert rules.score([], "Fry it in oil for an hour", row) == 0.0
    assert rules.score([], "oil", row) == rules.DEGENERATE
    assert rules.score([], "oil " * 5, row) == rules.DEGENERATE


def test_the_reward_is_read_from_its_file_with_the_fields_of_the_row(tmp_path: Path) -> None:
    """By the door that users have: a file of prompts, and the function by its name."""
    function = RewardFunction.load(f"{REAL / 'rules.py'}:score")
    prompts = load_prompts(constraint_data.write(tmp_path)).records
    assert len(prompts) == constraint_data.TRAIN
    lower = next(one for one in prompts if one.meta and one.meta["constraints"] == [{"kind": "lower"}])
    assert function(lower, "all of it is small") == 1.0
    assert (
        function(Prompt(prompt=[Message(role="user", content="x")], meta=lower.meta), "All is small") == 0.0
    )


def test_prompts_are_the_same_every_time_and_another_seed_makes_others() -> None:
    first = constraint_data.splits()
    assert first == constraint_data.splits()
    other = constraint_data.splits(1)
    assert other["train"] != first["train"]
    assert other["seen"] == first["seen"]


def test_what_is_judged_was_never_trained_on() -> None:
    rows = constraint_data.splits()
    assert [len(rows[side]) for side in ("train", "seen", "unseen")] == [600, 150, 60]

    def of(side: str, name: str) -> set[str]:
        return {json.dumps(row[name]) for row in rows[side]}

    def kinds(side: str) -> set[str]:
        return {one["kind"] for row in rows[side] for one in row["constraints"]}

    for side in ("seen", "unseen"):
        for name in ("prompt", "question", "subject"):
            assert of("train", name) & of(side, name) == set()
    assert kinds("train") == kinds("seen")
    assert kinds("train") & kinds("unseen") == set()
    assert len(of("train", "subject") | of("seen", "subject")) >= 200
    for kind in constraint_data.SEEN:
        assert set(kind.trained) & set(kind.held_out) == set()


def test_no_prompt_demands_what_cannot_be_met_together() -> None:
    """Also an answer that meets both must exist: a title and a closing phrase do, JSON and a closing phrase do not."""
    for side, some in constraint_data.splits().items():
        named = {kind.name: kind for kind in (*constraint_data.SEEN, *constraint_data.UNSEEN)}
        for row in some:
            chosen = [named[one["kind"]] for one in row["constraints"]]
            assert len(chosen) < 3, side
            assert len(chosen) < 2 or constraint_data.go_together(*chosen), row
    by_name = {kind.name: kind for kind in constraint_data.SEEN}
    assert not constraint_data.go_together(by_name["ends"], by_name["json"])
    assert constraint_data.go_together(by_name["ends"], by_name["title"])


def test_shares_below_are_the_hand_worked_numbers() -> None:
    """Rows are answers. The first is likest to its own question and ties with the third; the second shares its subject
    with the third, which is no rival."""
    likeness = torch.tensor([[3.0, 1.0, 3.0], [5.0, 4.0, 9.0], [0.0, 0.0, 1.0]])
    assert measures.shares_below(likeness, ["a", "b", "b"]) == [0.75, 0.0, 1.0]
