"""Every format of docs/data.md is recognised as the page says, and becomes what it should."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ziggurat.corpus.check import check_file
from ziggurat.corpus.load import load_comparisons, load_demonstrations, load_prompts, load_ratings
from ziggurat.errors import DataError
from ziggurat.records import Comparison, Demonstration, Message

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
ROWS = [
    (name, gives.split(", "), json.loads(example))
    for name, gives, example in re.findall(
        r"^\| ([^|]+) \| ([a-z, ]+) \| `(\{.*\})`.* \|$", PAGE.read_text(), re.M
    )
]


def write(folder: Path, *rows: Any, name: str = "data.json") -> Path:
    path = folder / name
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) if name.endswith(".jsonl") else f"[{','.join(lines)}]")
    return path


def spoken(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def test_the_page_has_all_formats() -> None:
    from ziggurat.corpus.sniff import BUILT_IN

    ours = {"comparison", "rating", "prompt"}  # their examples stand in the table of our own records
    assert {name for name, _, _ in ROWS} == {format.name for format in BUILT_IN} - ours


@pytest.mark.parametrize(("name", "gives", "example"), ROWS, ids=[name for name, _, _ in ROWS])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_each_example_is_what_the_page_says(
    name: str, gives: list[str], example: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    rows = [example]
    if "message_id" in example:
        replies = [("b", "Hello", 0), ("c", "Go", 1)]
        rows += [
            {"message_id": id, "parent_id": "a", "role": "assistant", "text": text, "rank": rank}
            for id, text, rank in replies
        ]
    found = check_file(write(tmp_path, *rows, name=f"data.{suffix}"))["kinds"]
    assert [kind["kind"] for kind in found] == gives
    assert {kind["format"] for kind in found} == {name}
    assert all(kind["records"] >= 1 and not kind["dropped"] for kind in found)


OWN = re.findall(
    r"^\| (document|demonstration|comparison|rating|prompt) \|[^|]+\| `(\{.*?\})` \|", PAGE.read_text(), re.M
)


@pytest.mark.parametrize(("name", "example"), OWN)
def test_each_own_record_is_native(name: str, example: str, tmp_path: Path) -> None:
    [kind] = check_file(write(tmp_path, json.loads(example), name="data.jsonl"))["kinds"]
    assert kind["records"] == 1
    assert kind["format"] == name
    assert len(OWN) == 5


def test_alpaca_joins_instruction_and_input(tmp_path: Path) -> None:
    row = {
        "instruction": "Translate.",
        "input": "chat",
        "output": "cat",
        "system": "Be brief.",
        "history": [["a", "b"]],
    }
    [made] = load_demonstrations(write(tmp_path, row)).records
    assert spoken(made.messages) == [
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Translate.\nchat"),
        ("assistant", "cat"),
    ]


def test_sharegpt_function_calls_become_tool_calls(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "1+1"},
        {"from": "gpt", "value": "Let me see."},
        {"from": "function_call", "value": '{"name": "calc", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "Two."},
    ]
    row = {"conversations": turns, "tools": '[{"name": "calc"}]'}
    [made] = load_demonstrations(write(tmp_path, row)).records
    assert [message.role for message in made.messages] == ["user", "assistant", "tool", "assistant"]
    call = made.messages[1]
    assert call.content == "Let me see."
    assert call.tool_calls == [{"type": "function", "function": {"name": "calc", "arguments": {"a": 1}}}]
    assert made.tools == [{"type": "function", "function": {"name": "calc"}}]


def test_conversations_are_trimmed_to_the_last_answer(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]
    empty = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"},
             {"from": "gpt", "value": " "}]  # fmt: skip
    unanswered = [{"from": "human", "value": "a"}]
    path = write(tmp_path, *({"conversations": given} for given in (turns, empty, unanswered)))
    imported = load_demonstrations(path)
    assert [spoken(made.messages) for made in imported.records] == [[("user", "a"), ("assistant", "b")]] * 2
    assert imported.mended == {"a last turn of the user left out": 3, "an empty last turn left out": 1}
    assert imported.dropped == {"no answer by the assistant": 1}
    assert imported.summary().startswith(
        "2 demonstrations (sharegpt); 1 dropped: no answer by the assistant (1)"
    )


def test_transcripts_share_their_prompt(tmp_path: Path) -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c: Assistant: d\n\nAssistant:"
    imported = load_comparisons(write(tmp_path, {"chosen": f"{start} good", "rejected": f"{start} bad"}))
    [made] = imported.records
    assert spoken(made.prompt) == [("user", "a"), ("assistant", "b"), ("user", "c: Assistant: d")]
    assert (made.completions, made.ranks, made.labeller) == (["good", "bad"], [1, 2], "import:data.json")


TREE = {
    "prompt": {
        "message_id": "m0", "role": "prompter", "text": "q", "replies": [
            {"role": "assistant", "text": "second", "rank": 1, "replies": [
                {"role": "prompter", "text": "q2", "replies": [
                    {"role": "assistant", "text": "a2", "rank": None, "replies": []}]},
                {"role": "prompter", "text": "q3", "replies": [
                    {"role": "assistant", "text": "a3", "rank": None, "replies": []}]},
            ]},
            {"role": "assistant", "text": "best", "rank": 0, "replies": [
                {"role": "prompter", "text": "unanswered", "replies": []}]},
            {"role": "assistant", "text": "unranked", "replies": []},
            {"role": "assistant", "text": "gone", "rank": 2, "deleted": True, "replies": []},
        ],
    },
}  # fmt: skip


def test_tree_trains_each_answer_once(tmp_path: Path) -> None:
    """The answer "second" lies on two paths; in the later one it is seen, not trained."""
    made = load_demonstrations(write(tmp_path, TREE)).records
    assert [[m.content for m in d.messages] for d in made] == [
        ["q", "best"],
        ["q", "second", "q2", "a2"],
        ["q", "second", "q3", "a3"],
        ["q", "unranked"],
    ]
    trained = [m.content for d in made for m in d.messages if m.role == "assistant" and m.weight != 0]
    assert sorted(trained) == ["a2", "a3", "best", "second", "unranked"]


def test_tree_ranks_are_renumbered_and_unranked_answers_left_out(tmp_path: Path) -> None:
    imported = load_comparisons(write(tmp_path, TREE))
    [made] = imported.records
    assert (made.id, made.completions, made.ranks) == ("m0", ["best", "second"], [1, 2])
    assert imported.mended["ranks renumbered from 1"] == 1
    assert imported.mended["unranked answers left out"] == 3


def test_best_completion_serves_as_a_demonstration(tmp_path: Path) -> None:
    comparison = {
        "id": "1",
        "prompt": [{"role": "user", "content": "q"}],
        "completions": ["x", "y"],
        "ranks": [2, 1],
    }
    imported = load_demonstrations(write(tmp_path, comparison, name="votes.jsonl"))
    assert isinstance(imported.records[0], Demonstration)
    assert spoken(imported.records[0].messages) == [("user", "q"), ("assistant", "y")]
    assert imported.mended == {"the best completion taken as the answer": 1}


def test_prompts_come_from_anything_once(tmp_path: Path) -> None:
    rows = [{"instruction": "q", "output": "1"}, {"instruction": "q", "output": "2"}]
    imported = load_prompts(write(tmp_path, *rows))
    assert [spoken(made.prompt) for made in imported.records] == [[("user", "q")]]
    assert imported.dropped == {"the same prompt again": 1}


def test_parquet_rows_of_strangers_load(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green.", "margin": 0.5}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    [made] = load_comparisons(tmp_path / "data.parquet").records
    assert isinstance(made, Comparison)
    assert made.completions == ["Blue.", "Green."]


def test_csv_with_question_and_answer_loads(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text('question,answer\n"One,\ntwo?",Three\n')
    [made] = load_demonstrations(tmp_path / "data.csv").records
    assert spoken(made.messages) == [("user", "One,\ntwo?"), ("assistant", "Three")]


def test_rows_of_unexpected_shape_are_counted_not_fatal(tmp_path: Path) -> None:
    rows = [
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "output": "a", "history": 3},
        {"other": 1},
    ]
    imported = load_demonstrations(write(tmp_path, *rows))
    assert len(imported.records) == 1
    assert imported.dropped.total() == 2


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "Sky?", "completion": "Blue.", "label": True})
    assert load_ratings(path).records[0].label is True
    with pytest.raises(
        DataError, match=r"holds ratings \(trl unpaired preference \(KTO\)\), and comparisons are needed"
    ):
        load_comparisons(path)
