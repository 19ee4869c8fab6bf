"""Metrics on answers marked by hand; BLEU against sacrebleu."""

from __future__ import annotations

from typing import Any

import pytest
import sacrebleu

from ziggurat.exam.item import Found, Item
from ziggurat.exam.metrics import bleu, metric
from ziggurat.exam.metrics.letters import letter_in, letters_in
from ziggurat.exam.metrics.number import number_in


def score(name: str, answer: str, target: Any, **settings: Any) -> float:
    return metric(name)([answer], Item(id="1", target=target), settings).scores["score"]


@pytest.mark.parametrize(
    ("name", "answer", "target", "settings", "wanted"),
    [
        ("exact", " paris. ", "Paris", {}, 1),
        ("exact", "In Paris", "Paris", {}, 0),
        ("exact", "paris", "Paris", {"case": True}, 0),
        ("exact", "The cat!", "cat", {"articles": False}, 1),
        ("exact", "Ｐａｒｉｓ", ["Rome", "Paris"], {}, 1),
        ("exact", "Paris\nor Rome", "Paris", {"first_line": True}, 1),
        ("exact", "a-b", "a b", {"punctuation": True}, 0),
        ("contains", "a category", "cat", {}, 0),
        ("contains", "A CAT, of course", "cat", {}, 1),
        ("contains", "密码是4817。", "4817", {}, 1),
        ("contains", "密码是48170。", "4817", {}, 0),
        ("contains", "他住在北京市", "北京", {}, 1),
        ("contains", "red and blue", ["red", "green"], {"all": True}, 0),
        ("contains", "It is Paris, not Rome", "Paris", {"not": ["Rome"]}, 0),
        ("number", "3 + 4 = 7", "7", {}, 1),
        ("number", "9 in all\n#### 1,234", "1234", {}, 1),
        ("number", "It costs $18.50.", 18.5, {}, 1),
        ("number", "10-3=7, so 7.", "-3", {}, 0),
        ("number", "答案是-3", "-3", {}, 1),
        ("number", "about 99", "100", {"tolerance": 0.02}, 1),
        ("number", "first 5 then 6", "5", {"first": True}, 1),
        ("number", "no idea", "5", {}, 0),
        ("regex", "Call 555-1234 now", r"\d{3}-\d{4}", {}, 1),
        ("regex", "Call 555-1234 now", r"\d{3}-\d{4}", {"whole": True}, 0),
        ("regex", "key: v7", "v7", {"pattern": r"key: (\w+)", "group": 1, "equals": True}, 1),
        ("choice_set", "A、C", "AC", {}, 1),
        ("choice_set", "答案：ACD", "AC", {}, 0),
    ],
)
def test_marks(name: str, answer: str, target: Any, settings: dict[str, Any], wanted: float) -> None:
    assert score(name, answer, target, **settings) == wanted


def test_numbers() -> None:
    wanted = {
        "1/4 of it": 0.25,
        "50%": 0.5,
        ".5": 0.5,
        "v1.2.3": None,
        "1,000,000 people": 1e6,
        "5-3": 3,
        "": None,
    }
    found = {text: number_in(text) for text in wanted if text != "v1.2.3"}
    assert found == {text: value for text, value in wanted.items() if text != "v1.2.3"}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("B", 1),
        ("(C) because", 2),
        ("The answer is D.", 3),
        ("The correct answer is: **B**", 1),
        ("A cat sleeps.", None),
        ("I think A or B", None),
        ("答案是C。", 2),
        ("选B，因为A不对", 1),
        ("B. blue", 1),
        ("It is blue.", 1),
        ("red or blue", None),
        ("E", None),
        ("", None),
    ],
)
def test_letters(answer: str, wanted: int | None) -> None:
    assert letter_in(answer, ("red", "blue", "green", "black")) == wanted


def test_sets_of_letters_and_half_points() -> None:
    assert letters_in("A, C and D") == {0, 2, 3}
    assert letters_in("答案：AC") == {0, 2}
    part = metric("choice_set")(["A"], Item(id="1", target="AC"), {})
    assert part.scores == {"score": 0.0, "part": 0.5}


def test_several_answers_are_averaged() -> None:
    found = metric("exact")(["a", "b", "a", "a"], Item(id="1", target="a"), {})
    assert found.scores == {"score": 0.75, "best": 1.0}


HAND = [
    # the textbook's: "the" counts at most twice, 2 of 7 words (Papineni et al., section 2.1)
    ("the the the the the the the", ["The cat is on the mat.", "There is a cat on the mat."]),
    ("It costs 1,234.50 dollars, not 3-4.", ["It costs 1,234.50 dollars."]),
    ("short", ["short answer here now"]),  # brevity: e^(1-4)
    ("The cat sat on the mat.", ["The cat is on the mat."]),
    ("nothing alike", ["The cat"]),
]


def test_bleu_is_sacrebleus() -> None:
    found = []
    for answer, references in HAND:
        mark = bleu.mark([answer], Item(id="1", target=references), {})
        assert mark.scores["score"] == pytest.approx(sacrebleu.sentence_bleu(answer, references).score / 100)
        found.append(Found("1", "", "", "", (answer,), mark))
    texts, references = [h for h, _ in HAND], [r[0] for _, r in HAND]
    one_each = [bleu.mark([h], Item(id="1", target=r), {}) for h, r in zip(texts, references, strict=True)]
    corpus = bleu.summary([Found("1", "", "", "", (), mark) for mark in one_each], {})["corpus"]
    assert corpus == pytest.approx(sacrebleu.corpus_bleu(texts, [references]).score / 100)


def test_bleu_clips_and_punishes_brevity() -> None:
    counts = bleu.statistics(["the"] * 3, [["the", "cat", "the"]])
    assert counts == [3, 3, 2, 0, 0, 0, 3, 2, 1, 0]  # two of three, no pair, no triple
    assert bleu.mark(["short"], Item(id="1", target="short answer here now"), {}).scores[
        "score"
    ] == pytest.approx(2.718281828459045 ** (1 - 4))
