"""Rows made by rule: the same for the same seed, and true."""

from __future__ import annotations

import random
import re

import pytest

from ziggurat.errors import UsageError
from ziggurat.exam.generators import (
    GENERATORS,
    arithmetic,
    both_languages,
    format,
    games,
    grammar_pairs,
    mapping,
    name_lists,
    perturbed,
    pressure,
    small_orders,
    talks,
    unknowns,
)
from ziggurat.exam.metrics.game24 import value
from ziggurat.exam.rules import RULES

MAKERS = [
    arithmetic.sums, arithmetic.problems, format.rows, games.unseen, games.twenty_four, grammar_pairs.rows,
    mapping.rows, mapping.episodes, name_lists.rows, pressure.rows, small_orders.rows, talks.followups,
    talks.new_words, unknowns.mixed, unknowns.people,
]  # fmt: skip


@pytest.mark.parametrize(
    "make", MAKERS, ids=lambda make: f"{make.__module__.rpartition('.')[2]}.{make.__name__}"
)
def test_rows_depend_on_the_seed_alone(make):
    first = make(16, 3)
    assert len(first) == 16
    assert first == make(16, 3)
    assert len({row["id"] for row in first}) == 16
    assert first != make(16, 4)


def test_languages_come_in_turn():
    rows = both_languages(7, 0, generate="unknowns.people")
    assert [row["language"] for row in rows] == ["en", "zh", "en", "zh", "en", "zh", "en"]
    assert len({row["id"] for row in rows}) == 7
    assert "both_languages" in GENERATORS


def test_the_steps_of_a_problem_are_true_and_lead_to_its_answer():
    """Every "a op b = c" of the steps holds, and the last c is the answer; computed here by another way: eval."""
    rows = [*arithmetic.sums(60, 1), *arithmetic.problems(60, 1), *arithmetic.problems(60, 1, language="zh")]
    for row in rows:
        steps = re.findall(r"([\d\s+\-*/]+)=\s*(\d+)", row["steps"])
        assert steps
        for left, right in steps:
            assert eval(left) == int(right), row
        assert int(steps[-1][1]) == row["answer"] >= 0
    for row in arithmetic.sums(60, 2):
        assert eval(row["question"].removeprefix("What is ").rstrip("?")) == row["answer"]


def test_the_game_of_24_can_be_won():
    for row in games.twenty_four(20, 5):
        assert value(row["solution"]) == 24
        assert sorted(map(int, re.findall(r"\d+", row["solution"]))) == row["numbers"]
    assert games.solve((1, 1, 1, 1)) is None
    assert value(games.solve((3, 3, 8, 8)) or "") == 24  # 8 / (3 - 8 / 3), the one way


def test_made_up_tasks_by_hand():
    rows = {row["kind"]: row for row in games.unseen(8, 0)}
    vowels, others = map(
        int,
        re.findall(r"worth (\d) points and every other letter (\d)", rows["value_of_word"]["question"])[0],
    )
    word = re.findall(r'"(\w+)"', rows["value_of_word"]["question"])[0]
    assert int(rows["value_of_word"]["answer"]) == sum(vowels if c in "aeiou" else others for c in word)
    asked = rows["operation"]["question"]
    times, one = int(re.findall(r"number by (\d)", asked)[0]), re.findall(r"(\d+) @ (\d+)\?", asked)[0]
    assert int(rows["operation"]["answer"]) == int(one[0]) * times + int(one[1])
    beats = dict(re.findall(r"(\w+) beats (\w+)", rows["beats"]["question"]))
    winner = rows["beats"]["answer"]
    assert beats[winner] in rows["beats"]["question"].rpartition(". ")[2].casefold() or winner in beats
    assert games.unseen(8, 0, language="zh")[1]["answer"] == rows["operation"]["answer"]


def test_examples_of_a_mapping_agree_with_its_answer():
    """With the rule `pairs` the asked word is among the examples with its label, and is never the last of several."""
    rows = mapping.rows(80, 0)
    assert {row["shots"] for row in rows} == {"0", "1", "4", "8"}
    for row in rows:
        lines = [line.split(" -> ") for line in row["prompt"].splitlines()[1:-1]]
        asked = row["prompt"].splitlines()[-1].removesuffix(" ->")
        assert len(lines) == int(row["shots"])
        labels = dict(lines)
        if row["rule"] == "pairs" and lines:
            assert labels[asked] == row["choices"][row["answer"]]
            assert len(lines) == 1 or lines[-1][0] != asked
        if row["rule"] == "category":
            assert asked not in labels
    assert 0.3 < sum(row["answer"] for row in rows) / len(rows) < 0.7


def test_an_episode_has_places_early_and_late():
    rows = mapping.episodes(32, 0)
    assert [row["half"] for row in rows] == (["early"] * 8 + ["late"] * 8) * 2
    assert [len(row["prompt"].splitlines()) - 2 for row in rows[:16]] == list(range(16))


def test_pairs_of_sentences_differ_and_cover_their_phenomena():
    for language, phenomena in (("en", 12), ("zh", 6)):
        rows = grammar_pairs.rows(72, 0, language=language)
        assert len({row["phenomenon"] for row in rows}) == phenomena
        assert all(row["choices"][0] != row["choices"][1] for row in rows)
        assert 0.3 < sum(row["answer"] for row in rows) / len(rows) < 0.7
    articles = [row for row in grammar_pairs.rows(72, 0) if row["phenomenon"] == "article"]
    for row in articles:
        right = row["choices"][row["answer"]]
        assert re.search(r"\ban [aeiou]|\ba [^aeiou]", right)


def test_names_of_the_examples_are_never_asked():
    for row in name_lists.rows(32, 0):
        examples, _, asked = row["prompt"].rpartition("Sentence: ")
        assert all(name in asked and name not in examples for name in row["answer"])
        assert examples.count("Names:") == {"zero": 0, "one": 1, "few": 4, "examples": 4}[row["mode"]]


def test_invented_names_are_asked_and_known_things_have_answers():
    rows = unknowns.mixed(40, 0)
    assert sum(row["answerable"] for row in rows) == 20
    assert all(bool(row["answer"]) == row["answerable"] for row in rows)
    note = next(row for row in rows if row["kind"] == "note says")
    assert note["answer"][0] in note["question"].split("Question:")[0]


def test_format_prompts_have_twenty_kinds_and_150_prompts():
    rows = [*format.rows(124, 0), *format.rows(78, 0, language="zh")]
    kinds = {rule["kind"] for row in rows for rule in row["rules"]}
    assert len(rows) >= 150
    assert len(kinds) >= 20
    assert kinds <= RULES.keys()
    for row in rows:  # a rule that decides the whole answer comes alone
        whole = [rule for rule in row["rules"] if rule["kind"] in ("json", "separated")]
        assert not whole or len(row["rules"]) == 1
        assert len({rule["kind"] for rule in row["rules"]}) == len(row["rules"])


def test_small_orders_are_kept_by_the_answer_that_was_meant():
    """The right answer is worked out here from the instruction, not taken from the row's rules."""
    from ziggurat.exam.rules import kept

    done = set()
    for row in small_orders.rows(54, 0):
        said = row["prompt"]
        if row["kind"] == "repeat":
            word, times = re.findall(r'word "(\w+)" (\d) times', said)[0]
            good = " ".join([word] * int(times))
        elif row["kind"] == "copy":
            good = said.split("exactly: ")[1]
        elif row["kind"] == "sort":
            good = ", ".join(sorted(re.findall(r": (.*)\. Give", said)[0].split(", ")))
        elif row["kind"] == "upper":
            good = re.findall(r'"(\w+)"', said)[0].upper()
        elif row["kind"] == "yes_no":
            word, listed = re.findall(r'word "(\w+)" in this list: (.*)\?', said)[0]
            good = "Yes." if word in listed.split(", ") else "No."
        else:
            continue
        done.add(row["kind"])
        assert all(kept(good, rule) for rule in row["rules"]), row
        assert not all(kept("something else", rule) for rule in row["rules"]), row
    assert len(done) == 5


@pytest.mark.parametrize("text", ["What is the capital of France?", "法国的首都是哪座城市？"])
def test_careless_wordings_keep_their_letters(text):
    draw = random.Random(0)
    letters = sorted(re.sub(r"\W", "", text))
    assert sorted(re.sub(r"\W", "", perturbed.shuffled(text, draw))) == letters
    assert sorted(re.sub(r"\W", "", perturbed.backwards(text, draw))) == letters
    assert perturbed.shuffled(text, draw) != text
    assert perturbed.shuffled(text, draw)[-1] == text[-1]
    for _ in range(20):
        assert abs(len(perturbed.typo(text, draw)) - len(text)) <= 2
    assert perturbed.backwards("one two?", draw) == "two one?"
    assert perturbed.beside("q") == "w"
    assert perturbed.beside("s") == "ad"


def test_a_kind_that_there_is_not_is_named():
    with pytest.raises(UsageError, match="shufled"):
        perturbed.rows(1, 0, task="easy-questions", kinds=["shufled"])
    with pytest.raises(UsageError, match="no-such"):
        perturbed.rows(1, 0, task="no-such")
