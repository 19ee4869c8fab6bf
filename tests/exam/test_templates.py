"""Examples, steps, raw text and choices, worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ziggurat.errors import DataError
from ziggurat.exam.reading import read_task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import final, items

RAW = Switches(chat=False)
ROWS = [
    {"id": "a", "question": "1+1?", "answer": "2", "steps": "One and one.", "of": "x"},
    {"id": "b", "question": "2+2?", "answer": "4", "steps": "Two and two.", "of": "x"},
    {"id": "c", "question": "3+3?", "answer": "6", "steps": "Three and three.", "of": "y"},
]


def test_raw_text_and_conversation_show_examples(write_task: Callable[..., Path]) -> None:
    task = read_task(
        write_task(rows=ROWS, prompt="Q: {{ question }}\nA:", system="Add.", shots={"count": 1}, pair="of")
    )
    found = {one.id: one for one in items(task, RAW)}
    # a and b are a pair, so neither is an example of the other
    assert found["a"].raw == "Add.\n\nQ: 3+3?\nA: 6\n\nQ: 1+1?\nA:"
    assert found["b"].raw == "Add.\n\nQ: 3+3?\nA: 6\n\nQ: 2+2?\nA:"
    talk = [(m.role, m.content) for m in items(task, Switches())[0].messages]
    assert talk == [
        ("system", "Add."),
        ("user", "Q: 3+3?\nA:"),
        ("assistant", "6"),
        ("user", "Q: 1+1?\nA:"),
    ]


def test_examples_never_hold_the_row_that_is_asked_and_are_the_same_each_time(
    write_task: Callable[..., Path],
) -> None:
    task = read_task(write_task(rows=[{"question": f"q{i}", "answer": f"a{i}"} for i in range(9)]))
    switches = dataclasses.replace(RAW, shots=5)
    first = items(task, switches)
    assert [one.raw for one in first] == [one.raw for one in items(task, switches)]
    for number, one in enumerate(first):
        assert f"a{number}" not in one.raw
        assert one.raw.count("q") == 6
    assert [one.raw for one in items(task, dataclasses.replace(switches, seed=1))] != [
        one.raw for one in first
    ]
    with pytest.raises(DataError, match="9 examples are asked for and there are 8"):
        items(task, dataclasses.replace(RAW, shots=9))


def test_steps_are_asked_for_and_shown(write_task: Callable[..., Path]) -> None:
    task = read_task(write_task(rows=ROWS, think="Think."))
    without = items(task, dataclasses.replace(RAW, think=True))[0]
    assert without.raw == "1+1? Think."
    shown = items(task, dataclasses.replace(RAW, think=True, shots=2))[2]
    assert "1+1? Think. One and one.\nThe answer is 2." in shown.raw
    assert final("One and one.\nThe answer is 2.") == "2."
    assert final("所以答案是42。") == "42。"
    assert final("just 7") == "just 7"


def test_choices_are_found_by_text_letter_and_index(write_task: Callable[..., Path]) -> None:
    def target(answer: object, options: list[str]) -> object:
        rows = [{"question": "Q:", "options": options, "answer": answer}]
        task = read_task(write_task(form="choice", choices="options", metric=None, rows=rows))
        return items(task, RAW)[0].target

    assert target("blue", ["red", "blue"]) == 1
    assert target("B", ["red", "blue"]) == 1
    assert target(1, ["red", "blue"]) == 1
    assert target("1", ["1", "2"]) == 0  # the text itself comes before an index
    with pytest.raises(DataError, match="the answer 'C' is no index, letter or text of its 2 choices"):
        target("C", ["red", "blue"])


def test_a_blank_joins_raw_text_but_not_chinese(write_task: Callable[..., Path]) -> None:
    rows = [
        {"question": q, "options": ["a", "b"], "answer": 0}
        for q in ("Answer:", "Answer: ", "答案：", "答案是")
    ]
    task = read_task(write_task(form="choice", choices="options", metric=None, rows=rows))
    assert [one.choices[0] for one in items(task, RAW)] == [" a", "a", "a", "a"]
    assert items(task, Switches())[0].choices == ("a", "b")  # after a chat template nothing is joined


def test_choices_are_listed_only_when_the_model_writes(write_task: Callable[..., Path]) -> None:
    rows = [{"question": "Sky?", "options": ["red", "blue"], "answer": "blue"}]
    task = read_task(write_task(form="choice", choices="options", metric=None, rows=rows))
    assert items(task, RAW)[0].raw == "Sky?"
    written = items(task, dataclasses.replace(RAW, generate=True))[0]
    assert written.raw == "Sky?\nA. red\nB. blue\nAnswer with the letter only."


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ question / 2 }}", "unsupported operand"),
        ("{% if %}", "Expected an expression"),
    ],
)
def test_a_template_that_fails_names_row_and_reason(
    write_task: Callable[..., Path], prompt: str, reason: str
) -> None:
    task = read_task(write_task(prompt=prompt))
    with pytest.raises(DataError, match="row 1: the template") as raised:
        items(task, RAW)
    assert reason in str(raised.value)


def test_examples_of_a_file_leave_out_the_row_that_is_asked(write_task: Callable[..., Path]) -> None:
    """The file holds the same rows under other ids; `of` joins the first two."""
    folder = write_task(
        rows=ROWS, shots={"count": 1, "file": "shown.jsonl"}, pair="of", prompt="Q: {{ question }}"
    )
    shown = [{**row, "id": f"shown-{row['id']}"} for row in ROWS]
    (folder / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    found = {one.id: one.raw for one in items(read_task(folder), RAW)}
    assert found["a"].startswith("Q: 3+3?")
    assert found["c"].startswith("Q: 1+1?")
    equal = [
        {"question": "1+1?", "answer": "2"},
        {"question": "1+1?", "answer": "2"},
        {"question": "5?", "answer": "5"},
    ]
    task = read_task(write_task("equal", rows=equal))
    assert items(task, dataclasses.replace(RAW, shots=1))[0].raw.startswith("5?")
