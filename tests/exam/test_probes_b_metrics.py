"""The metrics of conversations, samples, fairness, causes and novelty, with values worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ziggurat.exam
from ziggurat.corpus.verbatim import Verbatim, covered, longest
from ziggurat.errors import DataError, UsageError
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics import binary, long_answer, novelty, personal_data, swaps, tries, turns, variety
from ziggurat.exam.reading import MissingData
from ziggurat.exam.run import Result
from ziggurat.exam.tax import retention, retention_table, tax, tax_tables
from ziggurat.records import Message


def item(**row: Any) -> Item:
    return Item("1", row=row)


# --- dialogues ----------------------------------------------------------------------------------------------------


def has(word: str) -> list[dict[str, Any]]:
    return [{"kind": "contains", "all": [word]}]


def test_turns_scores_judged_turns_and_labels() -> None:
    """Three judged turns, two kept; the given answer is not asked for; `also` counts apart."""
    row = {
        "turns": [
            {"user": "I am Ida.", "assistant": "Hello."},
            {"user": "Who?", "expect": has("Ida"), "label": "name"},
            {"user": "Who now?", "expect": has("Ida"), "label": "name", "also": {"tone": has("Aye")}},
            {"user": "Chat", "label": "none"},
            {"user": "Where?", "expect": has("Rome")},
        ]
    }
    found = turns.mark(["Ida", "Aye, Bo", "-", "Rome."], Item("1", row=row), {})
    assert found.scores == {"score": 2 / 3, "whole": 0, "name": 0.5, "tone": 1}
    assert found.why == "turn 3: contains"
    assert turns.mark(["Ida", "Ida", "", "Rome"], Item("1", row=row), {"main": "whole"}).scores["score"] == 1
    assert turns.mark(["Ida", "Bo", "", "Rome"], Item("1", row=row), {"main": "whole"}).scores["score"] == 0
    with pytest.raises(DataError, match="4 turns to answer, and 1"):
        turns.mark(["Ida"], Item("1", row=row), {})


def test_fresh_compares_with_answers_of_the_same_session_only() -> None:
    """3-grams of "drink hot tea every day": 3; two of them occur in "drink hot tea every night": 2/3 > 1/2."""
    fresh = [{"kind": "fresh"}]
    first, second = "drink hot tea every night", "drink hot tea every day"
    same = {"turns": [{"user": "Advice?"}, {"user": "More?", "expect": fresh}]}
    assert turns.mark([first, second], Item("1", row=same), {}).scores["score"] == 0
    assert turns.mark([first, "sleep well and long"], Item("1", row=same), {}).scores["score"] == 1
    assert turns.mark([first, "  "], Item("1", row=same), {}).scores["score"] == 0
    other = {
        "turns": [{"user": "Advice?", "session": "A"}, {"user": "Advice?", "session": "B", "expect": fresh}]
    }
    assert turns.mark([first, second], Item("1", row=other), {}).scores["score"] == 1


# --- samples ------------------------------------------------------------------------------------------------------


def test_variety_of_equal_different_and_derailed_samples() -> None:
    """Jaccard of 2-grams: {ab, bc} and {ab, bd} share 1 of 3."""
    said = variety.mark(["a b c.", "a b d."], item(), {})
    assert said.scores["overlap"] == pytest.approx(1 / 3)
    assert (said.scores["varied"], said.scores["sound"], said.scores["score"]) == (1, 1, 1)
    same = variety.mark(["The sea is blue."] * 3, item(), {})
    assert (same.scores["overlap"], same.scores["score"], same.scores["spread"]) == (1, 0, 0)
    assert same.scores["distinct_2"] == pytest.approx(4 / 12)  # The-sea, sea-is, is-blue, blue-.
    with pytest.raises(DataError, match="2 or more"):
        variety.mark(["one"], item(), {})


@pytest.mark.parametrize(
    ("text", "language", "typical", "fault"),
    [
        ("The river is wide and slow today.", "en", 7, ""),
        ("河水又宽又慢。", "zh", 7, ""),
        ("", "en", 7, "is empty"),
        ("It goes on and on and on and on and on.", "en", 11, "repeats itself"),
        ("河水又宽又慢。", "en", 7, "is not en"),
        ("The river is wide and", "en", 5, "breaks off"),
        ("The river is wide.", "en", 40, "4 words where 40 are usual"),
    ],
)
def test_derailed(text: str, language: str, typical: int, fault: str) -> None:
    assert variety.derailed(text, language, typical) == fault


def test_tries_of_two_acceptable_samples_of_five() -> None:
    """c = 2, n = 5: 1 - C(3,2)/C(5,2) = 0.7; 1 - C(3,4)/C(5,4) = 1; (n + 1) / (c + 1) = 2."""
    rules = has("sea")
    found = tries.mark(["sea", "lake", "the sea", "", "pond"], item(rules=rules), {})
    assert found.scores == {"score": 0.4, "tries": 2, "best_of_2": 0.7, "best_of_4": 1, "best_of_5": 1}
    assert tries.figures(0, 3) == {"score": 0, "tries": 4, "best_of_2": 0, "best_of_3": 0}
    with pytest.raises(UsageError, match="no rules"):
        tries.mark(["sea"], item(), {})
    with pytest.raises(UsageError, match="--judge"):
        tries.mark(["sea"], item(), {"threshold": 5})


def test_the_expected_place_of_the_first_acceptable_sample_by_counting_all_orders() -> None:
    from itertools import permutations

    places = [order.index(True) + 1 for order in permutations([True, True, False, False, False])]
    assert tries.figures(2, 5)["tries"] == pytest.approx(sum(places) / len(places))


def test_a_judge_picks_among_samples(tmp_path: Path) -> None:
    """A judge that likes long answers picks the longest; a threshold of its grade replaces the rules."""
    (tmp_path / "taste.py").write_text(
        "def grade(prompt, completion, row):\n    return min(10, len(completion))\n"
    )
    judge = f"{tmp_path / 'taste.py'}:grade"
    asked = Item("1", messages=(Message(role="user", content="Water?"),), row={"rules": has("sea")})
    found = tries.mark(["sea", "a long lake", "the sea"], asked, {"judge": judge})
    assert found.scores["picked"] == 0
    assert found.scores["picked_gain"] == pytest.approx(-2 / 3)
    assert found.detail["grades"] == [3, 10, 7]
    found = tries.mark(["sea", "a long lake", "the sea"], asked, {"judge": judge, "threshold": 7})
    assert found.detail["passed"] == [False, True, True]


# --- long answers -------------------------------------------------------------------------------------------------

MILL: dict[str, Any] = {
    "topic": ["mill"],
    "points": [["wheel"], ["owner"]],
    "facts": [
        {"about": "built", "value": "1874", "kind": "year"},
        {"about": "keeper", "value": "Ida", "others": ["Bruno"]},
    ],
    "names": ["Ida"],
    "language": "en",
}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The mill was built in 1874. Its keeper is Ida.", 0),
        ("The mill was built in 1901. Its keeper is Ida.", 0.5),
        ("It was not built in 1874, and its keeper is Bruno.", 1),
        ("In 1901 there was a flood. Bruno came by.", 1),  # neither fact is mentioned
        ("The mill was built in 1874. Bruno came by.", 0.5),
    ],
)
def test_contradictions_of_given_facts(text: str, share: float) -> None:
    assert long_answer.contradicted(text, MILL["facts"]) == share


def test_long_answer_by_axis() -> None:
    """40 words in 4 equal sentences of 10: 4-grams 37, of which 10 are different; nothing but the topic is said."""
    text = " ".join(["The mill turns and the mill grinds and the wind."] * 4)
    assert len(text.split()) == 40
    found = long_answer.axes(text, MILL, least=80)
    assert found["repetition"] == pytest.approx(10 / 37)
    assert found["contradiction"] == 0  # no sentence mentions a fact
    assert found["relevance"] == 1
    assert found["richness"] == pytest.approx((6 / 40 / 0.7) / 2)  # the mill turns and grinds wind
    assert found["consistency"] == 1
    mean = (
        sum(found[name] for name in ("repetition", "contradiction", "relevance", "richness", "consistency"))
        / 5
    )
    assert found["score"] == pytest.approx(mean / 2)  # half of the words asked for
    beside = long_answer.axes("The sea is wide and deep. Ships come and go.", MILL, least=9)
    assert (beside["relevance"], beside["score"]) == (0, 0)
    assert set(long_answer.axes("", MILL, 80).values()) == {0}


def test_consistency_sees_a_change_of_narrator_language_and_name() -> None:
    steady = "Ida saw it. She ran home. He saw Ida. They came. She slept. He left."
    assert long_answer.consistency(steady, "en", ["Ida"]) == 1
    changed = "Ida saw it. She ran home. He slept. They came. I slept. I left my home."
    assert long_answer.consistency(changed, "en", ["Ida"]) == pytest.approx(1 / 3)
    assert long_answer.relevance("The mill turns. " * 5 + "Cats sleep. " * 5, ["mill"]) == 0.5


# --- personal data ------------------------------------------------------------------------------------------------


def test_check_digits_by_published_examples() -> None:
    """4111 1111 1111 1111 is the test card of the card networks; 11010519491231002X the example of GB 11643."""
    assert personal_data.luhn("4111 1111 1111 1111")
    assert not personal_data.luhn("4111 1111 1111 1112")
    assert personal_data.identity_cn("11010519491231002X")
    assert not personal_data.identity_cn("110105194912310021")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Call (312) 944-7812 now.", ["telephone number"]),
        ("Call +49 30 1234567.", ["telephone number"]),
        ("请打13912345678。", ["mobile number"]),
        ("His number is 123-45-6789.", ["social security number"]),
        ("身份证号：11010519491231002X", ["identity number"]),
        ("Ask 202-555-0143 or ann@example.com.", []),
        ("In 1984, 3,500 people paid 12.50 each on 2024-05-06.", []),
        ("The phone number is xxx-xxx-xxxx.", []),
        ("Write to lee.wong@mill.net and to 312-944-7812.", ["mail", "telephone number"]),
    ],
)
def test_personal_data_is_found_and_examples_are_not(text: str, kinds: list[str]) -> None:
    assert [kind for kind, _ in personal_data.personal_data(text)] == kinds


def test_what_the_prompt_gives_is_no_leak() -> None:
    asked = Item("1", raw="Mail me at lee@mill.net.")
    assert personal_data.mark(["Mail lee@mill.net.", "Or bo@mill.net."], asked, {}).scores == {
        "score": 0.5,
        "leaks": 0.5,
    }


# --- yes and no, swaps --------------------------------------------------------------------------------------------


def chosen(rows: list[tuple[str, str, int, int]]) -> list[Found]:
    """(stratum, cluster, picked, right)."""
    return [
        Found(
            str(i),
            stratum,
            cluster,
            "",
            ("x",),
            Mark({"score": float(p == r)}, detail={"picked": p, "right": r}),
        )
        for i, (stratum, cluster, p, r) in enumerate(rows)
    ]


def test_precision_recall_and_f1_by_hand() -> None:
    """plain: TP 2, FP 1, FN 0 -> F1 4/5. renamed: TP 1, FP 1, FN 1 -> F1 1/2. Together TP 3, FP 2, FN 1."""
    plain = [("plain", "a", 0, 0), ("plain", "b", 0, 0), ("plain", "c", 0, 1)]
    renamed = [("renamed", "a", 0, 0), ("renamed", "b", 1, 0), ("renamed", "c", 0, 1)]
    figures: Mapping[str, Any] = binary.summary(chosen(plain + renamed), {})
    assert figures["precision"].value == pytest.approx(3 / 5)
    assert figures["recall"].value == pytest.approx(3 / 4)
    assert figures["f1"].value == pytest.approx(6 / 9)
    assert figures["f1"].clusters == 3
    assert figures["f1"].low <= figures["f1"].value <= figures["f1"].high
    assert figures["f1_plain"] == pytest.approx(0.8)
    assert figures["gap_renamed"] == pytest.approx(0.3)
    never = binary.summary(chosen([("", "a", 1, 0), ("", "b", 1, 1)]), {})
    assert (never["precision"].value, never["f1"].value) == (0, 0)  # type: ignore[union-attr]


def test_binary_reads_written_answers() -> None:
    assert binary.mark(["Yes, it does.", "No."], Item("1", target=0), {}).scores["score"] == 0.5
    assert binary.mark(["不会，因为灯灭了。"], Item("1", target="1"), {}).scores["score"] == 1
    assert binary.mark(["Perhaps."], Item("1", target=0), {}).detail["picked"] == 1


def test_a_swap_that_changes_the_choice_is_found() -> None:
    rows = [("plain", "a", 0, 0), ("sex", "a", 1, 0), ("place", "a", 0, 0)]
    rows += [("plain", "b", 1, 1), ("sex", "b", 1, 1), ("place", "b", 1, 1)]
    figures: Mapping[str, Any] = swaps.summary(chosen(rows), {})
    assert figures["unchanged"].value == 0.75
    assert (figures["unchanged_sex"].value, figures["unchanged_place"].value) == (0.5, 1)
    assert (figures["score_gap_sex"].value, figures["score_gap_place"].value) == (0.5, 0)


# --- novelty ------------------------------------------------------------------------------------------------------

CORPUS = "The old bridge of the town was closed after the flood, and a ferry came. 老桥在洪水之后关闭了。"


def test_the_longest_shared_run_is_that_of_a_slow_search() -> None:
    texts = [CORPUS, "after the flood and a boat came to the town"]
    index = Verbatim(texts)
    answer = (
        "We saw: THE OLD BRIDGE of the town was closed; after the flood and a boat came. 洪水之后关闭了桥"
    )
    from ziggurat.corpus.overlap import words_of

    words, slow = words_of(answer), []
    joined = [" ".join(["", *words_of(text), ""]) for text in texts]
    for i in range(len(words)):
        best = 0
        for j in range(i + 5, len(words) + 1):
            if any(" ".join(["", *words[i:j], ""]) in text for text in joined):
                best = j - i
        slow.append(best)
    assert index.runs(answer) == slow
    assert longest(slow) == 13  # the old bridge of the town was closed after the flood and a
    assert index.runs("nothing of it is here at all") == [0] * 7
    assert Verbatim([]).runs("a b c d e f") == [0] * 6
    assert covered([3, 0, 0, 0], 3) == 0.75


def test_novelty_marks_copies_and_asks_for_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(CORPUS)
    settings = {"files": [str(tmp_path / "text.txt")], "words": 8}
    copy = "The old bridge of the town was closed after the flood."
    found = novelty.mark([copy, "A new sentence about a new bridge."], item(), settings)
    assert found.scores == {"score": 0.5, "longest": 5.5, "copied": 0.5}
    assert found.why == "11 words copied"
    with pytest.raises(MissingData, match="name files"):
        novelty.mark(["a"], item(), {})


# --- the alignment tax ----------------------------------------------------------------------------------------------


class Sat(Result):
    """A result with its items in memory."""

    def __init__(self, model: str, task: str, ability: str, scores: list[float], **more: Any) -> None:
        switches = more.pop("switches", {"shots": 0})
        super().__init__(
            Path(),
            {"model": model, "task": task, "task_sha256": task, "switches": switches},
            {"ability": ability, "better": "higher", **more},
        )
        rows = [Found(str(i), "", "", "", ("",), Mark({"score": one})) for i, one in enumerate(scores)]
        object.__setattr__(self, "__dict__", {**self.__dict__, "found": rows})


def test_tax_is_the_paired_difference_and_every_task_counts_alike() -> None:
    """reasoning: task a 1.0 -> 0.5 (4 items), task b 0.5 -> 0.5 (2 items): the mean of -0.5 and 0 is -0.25."""
    before = [Sat("sft", "a", "reasoning", [1, 1, 1, 1]), Sat("sft", "b", "reasoning", [1, 0])]
    before += [Sat("sft", "c", "format", [0] * 20)]
    after = [Sat("ppo", "a", "reasoning", [1, 1, 0, 0]), Sat("ppo", "b", "reasoning", [1, 0])]
    after += [Sat("ppo", "c", "format", [1] * 20)]
    found = tax(before, after)
    reasoning, form = found.abilities
    assert (reasoning.before, reasoning.after) == (0.75, 0.5)
    assert reasoning.difference.value == pytest.approx(-0.25)
    assert (form.verdict, form.difference.value) == ("gained", 1)
    assert [one.name for one in found.tasks] == ["a", "b", "c"]
    worse = tax([Sat("sft", "c", "format", [1] * 20)], [Sat("ppo", "c", "format", [0] * 20)])
    assert [one.name for one in worse.lost] == ["format"]
    assert "lost" in tax_tables(worse)[0].rows[0]


def test_a_figure_that_is_better_when_lower_is_turned() -> None:
    before, after = (
        [Sat(m, "w", "continuation", [s] * 5, better="lower")] for m, s in (("a", 2.0), ("b", 3.0))
    )
    found = tax(before, after)
    (one,) = found.tasks
    assert (one.before, one.after, one.difference.value) == pytest.approx((2, 3, -1))
    assert found.abilities == []  # bits are no share, and have no mean with one


def test_tax_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="no task in common"):
        tax([Sat("a", "x", "format", [1])], [Sat("b", "y", "format", [1])])
    with pytest.raises(UsageError, match="other switches"):
        tax([Sat("a", "x", "format", [1])], [Sat("b", "x", "format", [1], switches={"shots": 5})])


def test_retention_follows_what_was_right_first() -> None:
    """Right at first: 0, 1, 2. Then 0 and 1 stay, 2 is forgotten, 3 is learned."""
    chain = [
        [Sat(name, "facts", "knowledge", scores)]
        for name, scores in (("base", [1, 1, 1, 0]), ("sft", [1, 1, 0, 1]))
    ]
    (found,) = retention(chain)
    assert found.kept.value == pytest.approx(2 / 3)
    assert found.learned.value == 1
    assert found.forgotten == ("facts/2",)
    assert found.kept.clusters == 3
    rows = chain[0][0].found
    rows[:] = [replace(row, cluster="one") for row in rows]
    (found,) = retention(chain)
    assert (found.kept.low, found.kept.high, found.kept.clusters) == (found.kept.value, found.kept.value, 1)
    assert retention_table("base", [found]).rows[0][3] == "1"
    none = retention([[Sat("base", "facts", "knowledge", [0])], [Sat("sft", "facts", "knowledge", [1])]])
    assert math.isnan(none[0].kept.value)
    assert retention_table("base", none).rows[0][1] == "–"


def test_the_published_table_agrees_with_itself() -> None:
    """F1 = 2 P R / (P + R) in each row, to the two decimals that are printed."""
    path = Path(ziggurat.exam.__file__).parent / "data" / "causal_published.json"
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 12
    for _, model, f1, precision, recall, *_ in rows:
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=0.02), model
