"""What each form asks of a candidate and how it marks, worked out by hand with scripted answers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ziggurat.errors import DataError, UsageError
from ziggurat.exam.candidate import Likelihood
from ziggurat.exam.figures import figure
from ziggurat.exam.forms import form
from ziggurat.exam.forms.answer import ask_of
from ziggurat.exam.forms.choice import compare
from ziggurat.exam.forms.code import pass_at, program_of
from ziggurat.exam.item import Item
from ziggurat.exam.reading import read_task
from ziggurat.exam.run import resolved
from ziggurat.exam.run import sit as run_sit
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items


def sat(candidate: Any, folder: Path, **switches: Any) -> tuple[Any, list[Any], Switches]:
    task = read_task(folder)
    done = resolved(candidate, task, Switches(**switches))
    return task, form(task.file.form)(candidate, task, items(task, done), done), done


# --- choice -------------------------------------------------------------------------------------------------------

GIVEN = [Likelihood(-4.0, 4, False), Likelihood(-3.0, 1, False), Likelihood(-3.6, 2, True)]
CHOICES = ("abcdefgh", "no", "yes")


@pytest.mark.parametrize(("way", "picked"), [("none", 1), ("token", 0), ("byte", 0), ("calibrated", 2)])
def test_four_ways_to_compare(way: str, picked: int) -> None:
    """none: -4, -3, -3.6. token: -1, -3, -1.8. byte: -0.5, -1.5, -1.2. calibrated, less (-3, -1, -9): -1, -2, 5.4."""
    empty = [Likelihood(-3.0, 4, False), Likelihood(-1.0, 1, False), Likelihood(-9.0, 2, False)]
    item = Item(id="1", choices=CHOICES, target=picked, raw="Q:")
    mark = compare(item, GIVEN, empty if way == "calibrated" else None, way)
    assert mark.scores["score"] == 1.0
    assert mark.detail["picked"] == picked


def test_smooth_scores_of_a_choice() -> None:
    """Two choices of nats log 3 and log 1: shares 3/4 and 1/4, so brier of the second is (3/4)^2 + (3/4)^2."""
    given = [Likelihood(math.log(3), 1, True), Likelihood(0.0, 1, False)]
    mark = compare(Item(id="1", choices=("a", "b"), target=1), given, None, "none")
    assert mark.scores["right_p"] == pytest.approx(0.25)
    assert mark.scores["brier"] == pytest.approx(2 * 0.75**2)


def test_a_blank_before_a_choice_is_no_byte_of_it() -> None:
    item = Item(id="1", choices=(" ab", " abcd"), target=0, raw="Q:")
    mark = compare(item, [Likelihood(-2.0, 1, False), Likelihood(-4.0, 1, False)], None, "byte")
    assert mark.detail["scores"] == [-1.0, -1.0]


def test_a_letter_is_read_from_what_is_written(write_task: Callable[..., Path], scripted: Any) -> None:
    rows = [{"question": f"Q{i}", "options": ["red", "blue"], "answer": i} for i in (0, 1)]
    folder = write_task(form="choice", choices="options", metric=None, rows=rows)
    _, found, _ = sat(scripted(lambda text: "The answer is B."), folder, generate=True)
    assert [one.mark.scores for one in found] == [{"score": 0.0, "read": 1.0}, {"score": 1.0, "read": 1.0}]
    _, found, _ = sat(scripted(lambda text: "Who knows?"), folder, generate=True)
    assert found[0].mark.scores == {"score": 0.0, "read": 0.0}


# --- text ---------------------------------------------------------------------------------------------------------


def test_bits_per_byte_are_of_all_text_together(write_task: Callable[..., Path], scripted: Any) -> None:
    """A nat a character. "ab cd": 5 nats of 5 bytes; "好": 1 nat of 3 bytes; together 6 nats of 8 bytes, 3 words."""
    rows = [{"text": "ab cd"}, {"text": "好"}]
    folder = write_task(form="text", metric=None, prompt=None, answer=None, rows=rows)
    task, found, switches = sat(scripted(str), folder)
    shown = figure(task, items(task, switches), found, switches)
    assert shown["score"] == pytest.approx(6 / math.log(2) / 8, abs=1e-6)
    assert shown["metrics"]["word_perplexity"]["score"] == pytest.approx(math.exp(2), abs=1e-5)
    assert shown["metrics"]["byte_perplexity"]["score"] == pytest.approx(math.exp(6 / 8), abs=1e-6)
    assert shown["better"] == "lower"


# --- dialogue -----------------------------------------------------------------------------------------------------

TURNS = [
    {"user": "I am Ada."},
    {"user": "My name?", "answer": "Ada"},
    {"user": "Yours?", "assistant": "Bo."},
    {"user": "Count to 3.", "answer": 3, "metric": {"name": "number"}},
    {"user": "Hello!", "session": "other", "system": "You are a cat."},
]


def test_own_answers_stay_in_the_conversation(write_task: Callable[..., Path], scripted: Any) -> None:
    says = {"I am Ada.": "Hi.", "My name?": "Ada, I think.", "Count to 3.": "1 2 3", "Hello!": "Miaow."}
    candidate = scripted(lambda text: says[text])
    rows = [{"turns": TURNS}, {"turns": TURNS[:2]}]
    folder = write_task(
        form="dialogue", prompt=None, answer=None, metric={"name": "contains"}, system="Be kind.", rows=rows
    )
    _, found, _ = sat(candidate, folder)
    first, second = (one.mark.scores for one in found)
    assert first == {"score": 1.0, "turn_2": 1.0, "turn_4": 1.0}
    assert second == {"score": 1.0, "turn_2": 1.0}
    assert found[0].answers == ("Hi.", "Ada, I think.", "1 2 3", "Miaow.")
    longest = max((one for one in candidate.asked if one[0][1] == "Be kind."), key=len)
    assert [content for _, content in longest] == [
        *("Be kind.", "I am Ada.", "Hi.", "My name?", "Ada, I think.", "Yours?", "Bo.", "Count to 3."),
    ]
    assert [("system", "You are a cat."), ("user", "Hello!")] in candidate.asked
    assert candidate.calls == 4  # a turn of all conversations at once; the given answer is not asked for


def test_a_metric_may_see_the_whole_conversation(write_task: Callable[..., Path], scripted: Any) -> None:
    metric = {"name": "exact", "settings": {"whole": True}}
    rows = [{"turns": [{"user": "a", "answer": "x"}, {"user": "b"}]}]
    folder = write_task(form="dialogue", prompt=None, answer=None, metric=metric, rows=rows)
    _, found, _ = sat(scripted(lambda text: text), folder)
    assert found[0].answers == ("a", "b")
    assert "turn_1" not in found[0].mark.scores


def test_a_model_that_only_continues_gets_a_transcript(
    write_task: Callable[..., Path], scripted: Any
) -> None:
    candidate = scripted(lambda text: " yes", chats=False)
    folder = write_task(
        form="dialogue", prompt=None, answer=None, metric={"name": "contains"}, rows=[{"turns": TURNS[:2]}]
    )
    sat(candidate, folder)
    assert candidate.asked[-1] == "User: I am Ada.\nAssistant: yes\nUser: My name?\nAssistant:"


# --- code ---------------------------------------------------------------------------------------------------------


def test_programs_are_run_with_their_tests(write_task: Callable[..., Path], scripted: Any) -> None:
    rows = [{"start": "def f(x):\n", "tests": ["assert f(1) == 2"]}]
    folder = write_task(form="code", prompt="{{ start }}", answer=None, metric=None, rows=rows)
    good = scripted(lambda text: "Here:\n```python\ndef f(x):\n    return x + 1\n```\nDone.")
    bad = scripted(lambda text: "    return x\n", chats=False)
    assert sat(good, folder)[1][0].mark.scores == {"score": 1.0}
    mark = sat(bad, folder)[1][0].mark
    assert mark.scores == {"score": 0.0}
    assert mark.why == "AssertionError:"


def test_programs_are_cut_out_of_answers() -> None:
    start = "def f(x):\n"
    assert program_of("    return 1\n\nprint(f(2))\nmore", start) == "def f(x):\n    return 1\n"
    assert (
        program_of("```py\nimport math\ndef f(x):\n    return 2\n```", start)
        == "import math\ndef f(x):\n    return 2"
    )
    assert program_of("x = 1") == "x = 1"


def test_pass_at_k() -> None:
    """Of 4 answers 2 are right: one draw 1/2; two draws miss both with 1/6."""
    assert pass_at(4, 2, 1) == pytest.approx(0.5)
    assert pass_at(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at(4, 0, 4) == 0.0


def test_a_class_before_the_function_stays() -> None:
    """What comes before the first definition is kept, and the answer defines the class again."""
    start = "import re\n\nclass A:\n    def f(self):\n"
    assert program_of("```py\nclass A:\n    x = 1\n```", start) == "import re\n\nclass A:\n    x = 1"


# --- steps ----------------------------------------------------------------------------------------------------------


def test_raw_steps_end_where_the_model_invents_a_question(
    write_task: Callable[..., Path], scripted: Any
) -> None:
    folder = write_task(prompt="Q: {{ question }}\nA:", rows=[{"question": "1+1?", "answer": "2"}])
    task = read_task(folder)
    assert ask_of(task, Switches(chat=False, think=True, shots=0)).stop == ("\n\nQ:",)
    assert ask_of(task, Switches(think=True, shots=0)).stop == ()
    bare = read_task(write_task("bare"))
    assert ask_of(bare, Switches(chat=False, think=True, shots=2)).stop == ("\n\n",)
    assert ask_of(bare, Switches(chat=False, think=True, shots=0)).stop == ()


def test_a_letter_after_steps_is_not_asked_for_alone(write_task: Callable[..., Path], scripted: Any) -> None:
    rows = [{"question": "Q?", "options": ["red", "blue"], "answer": 1}]
    folder = write_task(form="choice", choices="options", metric=None, rows=rows)
    candidate = scripted(lambda text: "Blue, so the answer is B.")
    _, found, _ = sat(candidate, folder, generate=True, think=True)
    assert found[0].mark.scores["score"] == 1.0
    asked = candidate.asked[0][-1][1]
    assert (
        asked == 'Q?\nA. red\nB. blue\nEnd with "The answer is" and the letter.\nLet\'s think step by step.'
    )


# --- bad input --------------------------------------------------------------------------------------------------------


def test_wrong_settings_and_rows_are_one_sentence(write_task: Callable[..., Path], scripted: Any) -> None:
    wrong = write_task(metric={"name": "number", "settings": {"tolerance": "much"}})
    with pytest.raises(DataError, match="row 1: the metric number fails .*; correct metric.settings"):
        run_sit(scripted(str), read_task(wrong), Switches())
    with pytest.raises(UsageError, match="the metric exact compares with `answer`; add it"):
        read_task(write_task("without", answer=None))
    for turns, message in (
        ([{"user": "a", "metric": "contains"}], "whose `metric` is no object with a name"),
        ([{"user": "a"}], "no turn that is judged"),
        ([{"user": "a", "answer": "b", "assistant": "b"}], "no turn that is judged"),
    ):
        talk = write_task("talk", form="dialogue", prompt=None, answer=None, rows=[{"turns": turns}])
        with pytest.raises(DataError, match=message):
            items(read_task(talk), Switches())


def test_a_loader_that_fails_is_one_sentence(write_task: Callable[..., Path], scripted: Any) -> None:
    def broken(*given: Any) -> Any:
        raise KeyError("doc")

    task = dataclasses.replace(read_task(write_task()), sit=broken)
    with pytest.raises(DataError, match="the task mine cannot be sat \\(KeyError: 'doc'\\)"):
        run_sit(scripted(str), task, Switches())
