"""Rows that were misread, lost or dropped without a word: each is read, refused or counted by name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.tokenizer.styles import QWEN25

from ziggurat.cli.main import run
from ziggurat.corpus.documents import read_documents
from ziggurat.corpus.load import load_comparisons, load_demonstrations, load_prompts, load_ratings
from ziggurat.errors import DataError
from ziggurat.records import Demonstration, Message, Notes
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

ASK, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
REPLIES: list[dict[str, Any]] = [
    {"role": "assistant", "text": text, "rank": rank, "replies": []} for rank, text in enumerate("ab")
]
TOOL = {"type": "function", "function": {"name": "calc", "parameters": {"type": "object"}}}


def write(folder: Path, *rows: Any, name: str = "data.json") -> Path:
    """Rows as lines, as an array or as a Parquet file, by the name."""
    path = folder / name
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) if name.endswith(".jsonl") else f"[{','.join(lines)}]")
    return path


def spoken(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


def checked(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `ziggurat data check` finds, of the first kind of record."""
    assert run(["data", "check", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)[0]["kinds"][0]
    return found


LABELS = [
    ("false", False), ("0", False), (-1, False), ("undesirable", False), (False, False), (0, False),
    ("true", True), ("1", True), (1, True), ("desirable", True), (True, True),
]  # fmt: skip


@pytest.mark.parametrize(("label", "liked"), LABELS, ids=repr)
@pytest.mark.parametrize("name", ["label", "kto_tag"])
@pytest.mark.parametrize("shape", ["openai", "sharegpt", "trl", "alpaca"])
def test_labels_are_parsed(shape: str, name: str, label: Any, liked: bool, tmp_path: Path) -> None:
    """Row 23: all were "liked", or plain demonstrations."""
    row: dict[str, Any] = {
        "openai": {"messages": [ASK, ANSWER]},
        "sharegpt": {"conversations": TURNS},
        "trl": {"prompt": "q", "completion": "a"},
        "alpaca": {"instruction": "q", "output": "a"},
    }[shape]
    [made] = load_ratings(write(tmp_path, {**row, name: label})).records
    assert made.label is liked


def test_a_label_that_is_no_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a label that is neither true nor false: 'math' \(1\)"):
        load_ratings(write(tmp_path, {"prompt": "q", "completion": "a", "label": "math"}))


@pytest.mark.parametrize("mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}], ids=str)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.parquet"])
@pytest.mark.parametrize("shape", ["openai", "sharegpt"])
def test_turns_marked_untrained_are_not_trained(
    shape: str, name: str, mark: dict[str, Any], tmp_path: Path
) -> None:
    """Row 24: the mark was ignored, and joining with a trained neighbour trained the forbidden text."""
    if shape == "openai":
        row: dict[str, Any] = {
            "messages": [ASK, {"role": "assistant", "content": "no", **mark}, ASK, ANSWER, {**ANSWER, **mark}]
        }
    else:
        forbidden = {"from": "gpt", "value": "no", **mark}
        row = {"conversations": [TURNS[0], forbidden, *TURNS, {"from": "gpt", "value": "a", **mark}]}
    [made] = load_demonstrations(write(tmp_path, row, name=name)).records
    weights = [message.weight for message in made.messages if message.role == "assistant"]
    assert weights == [0, None, 0]
    assert [m.content for m in made.messages if m.role == "assistant"] == ["no", "a", "a"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, ANSWER]},
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "response": "a"},
        {"conversations": TURNS},
        {"instruction": "q", "output": "a"},
        {"question": "q", "answer": "a"},
    ],
    ids=lambda row: "+".join(row),
)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_the_column_system_is_used(row: dict[str, Any], name: str, tmp_path: Path) -> None:
    """Row 25."""
    [made] = load_demonstrations(write(tmp_path, {**row, "system": "s"}, name=name)).records
    assert spoken(made.messages) == [("system", "s"), ("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize(
    "row", [{"prompt": "q"}, {"prompt": [ASK]}, {"instruction": "q"}], ids=["text", "messages", "alpaca"]
)
def test_the_column_system_is_used_beside_a_preference(row: dict[str, Any], tmp_path: Path) -> None:
    """Row 25."""
    given = {**row, "chosen": "b", "rejected": "c", "system": "s", "tools": json.dumps([TOOL])}
    [made] = load_comparisons(write(tmp_path, given)).records
    assert spoken(made.prompt) == [("system", "s"), ("user", "q")]
    assert made.tools == [TOOL]


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "Who?", "context": "Ana bakes.", "answer": "Ana"}, "Ana bakes.\n\nWho?", "Ana"),
        ({"prompt": "Who?", "context": "Ana bakes.", "completion": "Ana"}, "Ana bakes.\n\nWho?", "Ana"),
        ({"instruction": "Who?", "context": "Ana bakes.", "response": "Ana"}, "Who?\nAna bakes.", "Ana"),
        ({"question": "Who?", "choices": ["Ana", "Bo"], "answer": 1}, "Who?\nA. Ana\nB. Bo", "B. Bo"),
        ({"question": "Who?", "choices": ["Ana", "Bo"], "answer": "A"}, "Who?\nA. Ana\nB. Bo", "A. Ana"),
        (
            {"question": "Who?", "choices": {"text": ["Ana", "Bo"], "label": ["1", "2"]}, "answerKey": "2"},
            "Who?\n1. Ana\n2. Bo",
            "2. Bo",
        ),
    ],
    ids=str,
)
def test_passages_and_choices_are_used(
    row: dict[str, Any], question: str, answer: str, tmp_path: Path
) -> None:
    """Row 25."""
    imported = load_demonstrations(write(tmp_path, row))
    assert spoken(imported.records[0].messages) == [("user", question), ("assistant", answer)]
    assert not imported.unused


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "output": "a"},
        {"instruction": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "instances": [{"input": "", "output": "a"}]},
        {"conversations": TURNS},
        {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": {"from": "gpt", "value": "b"}},
        {"conversations": TURNS, "label": True},
        {"messages": [ASK, ANSWER]},
        {"messages": [ASK, ANSWER], "label": False},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "completion": "a", "label": True},
        {"prompt": "q", "completion": "a"},
        {"question": "q", "answer": "a"},
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "q"},
        {"prompt": {"role": "prompter", "text": "q", "replies": REPLIES}},
        {"id": "1", "prompt": [ASK], "completions": ["a", "b"], "ranks": [1, 2]},
        {"prompt": [ASK], "completion": "a", "label": True},
        {"prompt": [ASK], "completion": "a", "label": True, "tools": [TOOL]},
    ],
    ids=lambda row: "+".join(row),
)
@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_every_reader_names_the_fields_that_it_did_not_use(
    row: dict[str, Any], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 25: with counts; empty fields are no loss."""
    rows = [{**row, "zzz": 1, "yyy": None}, {**row, "zzz": 2}]
    if "message_id" in row:
        answers = [{"message_id": str(n), "parent_id": "1", **reply} for n, reply in enumerate(REPLIES, 2)]
        rows = [{**row, "zzz": 1}, *({**answer, "zzz": 2} for answer in answers)]
    found = checked(write(tmp_path, *rows, name=name), capsys)
    unused = {key.removeprefix("prompt.").removeprefix("replies[]."): n for key, n in found["unused"].items()}
    assert "zzz" in unused
    assert unused["zzz"] >= (1 if "message_id" in row else 2)
    assert "yyy" not in unused
    assert f"fields not used: {next(iter(found['unused']))}" in found["summary"]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_further_fields_of_a_prompt_are_kept_and_so_none_is_unused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, {"prompt": "q", "zzz": 1, "yyy": None}, {"prompt": "p", "zzz": 2}, name=name)
    assert [(one.prompt[-1].content, (one.meta or {})["zzz"]) for one in load_prompts(path).records] == [
        ("q", 1),
        ("p", 2),
    ]
    assert checked(path, capsys)["unused"] == {}


def test_fields_of_messages_that_are_not_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("data.json", "data.jsonl"):
        row = {"messages": [{**ASK, "mood": "calm"}, ANSWER], "id": 7}
        found = checked(write(tmp_path, {"messages": [ASK, ANSWER]}, row, name=name), capsys)
        assert found["records"] == 2
        assert found["unused"] == {"id": 1, "messages[].mood": 1}


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.parquet"])
@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}], ids=["text", "object"])
@pytest.mark.parametrize("style", ["qwen2.5", "r1 calls", "own"])
def test_tool_arguments_as_text_are_encoded_once(
    style: str, arguments: Any, name: str, tmp_path: Path
) -> None:
    """Row 26: they were JSON inside JSON for templates that write objects; others take text alone."""
    call = {"type": "function", "function": {"name": "calc", "arguments": arguments}}
    row = {"messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    [made] = load_demonstrations(write(tmp_path, row, name=name)).records
    tokenizer = Tokenizer.train(["q calc a 1"], 300)
    jinja = {
        "own": None,
        "qwen2.5": QWEN25,
        "r1 calls": "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments + '<|end|>' }}"
        "{% endfor %}{% endfor %}",
    }[style]
    template = ChatTemplate(tokenizer, jinja)
    assert '{"a": 1}' in tokenizer.decode(template.render(made.messages).ids)


@pytest.mark.parametrize("text", ["not json", '{"a": 1e999}', '{"a": NaN}', "[1]"])
def test_arguments_that_are_no_object_stay_text(text: str) -> None:
    tokenizer = Tokenizer.train(["q calc a 1"], 300)
    call = {"function": {"name": "f", "arguments": text}}
    messages = [Message(role="user", content="q"), Message(role="assistant", tool_calls=[call])]
    written = tokenizer.decode(ChatTemplate(tokenizer, QWEN25).render(messages).ids)
    assert json.dumps(text) in written


def test_tools_of_prompts_and_comparisons_are_kept(tmp_path: Path) -> None:
    """Row 27: also the form of older files, inside `meta`."""
    rows = [{"prompt": [ASK], "tools": [TOOL]}, {"prompt": [ANSWER, ASK], "meta": {"tools": [TOOL], "k": 1}}]
    first, second = load_prompts(write(tmp_path, *rows, name="data.jsonl")).records
    assert first.tools == second.tools == [TOOL]
    assert second.meta == {"k": 1}
    [made] = load_prompts(write(tmp_path, {"messages": [ASK, ANSWER], "tools": [TOOL]})).records
    assert made.tools == [TOOL]
    vote = {"id": "1", "prompt": [ASK], "completions": ["a", "b"], "ranks": [1, 2], "tools": [TOOL]}
    for name in ("v.json", "v.jsonl", "v.parquet"):
        assert load_comparisons(write(tmp_path, vote, name=name)).records[0].tools == [TOOL]


def test_objects_and_missing_values_are_not_written_as_python(tmp_path: Path) -> None:
    """Row 31: a content that is an object becomes JSON, NaN is empty."""
    row = {"instruction": {"a": [1, None]}, "input": float("nan"), "output": True}
    [made] = load_demonstrations(write(tmp_path, row)).records
    assert spoken(made.messages) == [("user", '{"a": [1, null]}'), ("assistant", "true")]
    rows = [{"question": "q", "answer": 1.5}, {"question": "q", "answer": float("nan")}]
    imported = load_demonstrations(write(tmp_path, *rows, name="data.parquet"))
    assert [spoken(made.messages)[1] for made in imported.records] == [("assistant", "1.5")]
    assert imported.dropped.total() == 1


@pytest.mark.parametrize("shape", ["document", "other column", "demonstration", "alpaca", "array"])
def test_half_a_surrogate_is_found_and_replaced(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 34: it was a traceback after training."""
    texts: dict[str, Any] = {
        "document": {"text": "a\ud83db"},
        "other column": {"body": "a\ud83db", "n": 1},
        "demonstration": {"messages": [{"role": "user", "content": "a\ud83db"}, ANSWER]},
        "alpaca": {"instruction": "a\ud83db", "output": "a"},
        "array": {"text": "a\ud83db", "n": 1},
    }
    path = write(tmp_path, texts[shape], name="data.json" if shape == "array" else "data.jsonl")
    found = checked(path, capsys)
    assert found["mended"] == {"half a surrogate pair (no character) replaced by U+FFFD": 1}
    if shape in ("document", "other column", "array"):
        [document] = read_documents(path)
        assert document.text == "a\ufffdb"
        notes = Notes()
        list(read_documents(path, notes=notes))
        assert notes.mended.total() == 1
    else:
        assert load_demonstrations(path).records[0].messages[0].content == "a\ufffdb"


@pytest.mark.parametrize(
    "odd",
    [
        {"messages": [ASK, ANSWER], "category": "x"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWER]},
        {"messages": [{"role": "developer", "content": "s"}, ASK, ANSWER]},
        {"messages": [ASK, ANSWER], "tools": json.dumps([TOOL])},
        {"messages": [ASK, {**ANSWER, "reasoning_content": "r"}]},
    ],
    ids=["extra field", "parts", "developer", "tools as text", "reasoning"],
)
@pytest.mark.parametrize("first", [True, False])
def test_lines_are_read_as_arrays_are(odd: dict[str, Any], first: bool, tmp_path: Path) -> None:
    """Row 36: such a row stopped the reading of `.jsonl`."""
    plain = {"messages": [ASK, ANSWER]}
    rows = [odd, plain] if first else [plain, odd]

    def read(name: str) -> list[Demonstration]:
        return load_demonstrations(write(tmp_path, *rows, name=name)).records

    assert [(r.messages, r.tools) for r in read("a.jsonl")] == [(r.messages, r.tools) for r in read("a.json")]


def test_parts_of_other_types_are_refused_by_name(tmp_path: Path) -> None:
    """Message parts are typed; text is the only type today."""
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    for name in ("data.json", "data.jsonl"):
        with pytest.raises(DataError, match="content parts of type 'image_url' are not supported"):
            load_demonstrations(write(tmp_path, {"messages": [image, ANSWER]}, name=name))
    two = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    message = Message.model_validate({"role": "user", "content": two})
    assert message.to_json() == {"role": "user", "content": "ab"}
    assert [part.type for part in message.parts] == ["text"]


@pytest.mark.parametrize("shape", ["openai", "sharegpt", "trl", "alpaca", "question"])
def test_think_tags_become_reasoning(shape: str, tmp_path: Path) -> None:
    """Row 21."""
    answer = "<think>\nr\n</think>\n\na"
    rows: dict[str, Any] = {
        "openai": {"messages": [ASK, {"role": "assistant", "content": answer}]},
        "sharegpt": {"conversations": [TURNS[0], {"from": "gpt", "value": answer}]},
        "trl": {"prompt": "q", "completion": answer},
        "alpaca": {"instruction": "q", "output": answer},
        "question": {"question": "q", "answer": answer},
    }
    [made] = load_demonstrations(write(tmp_path, rows[shape])).records
    assert (made.messages[-1].content, made.messages[-1].reasoning) == ("a", "r")
    assert made.messages[-1].to_json()["reasoning_content"] == "r"


def test_messages_without_their_parent_are_counted(tmp_path: Path) -> None:
    """Row 37: they vanished."""
    rows = [
        {"message_id": "a", "parent_id": None, "role": "prompter", "text": "q"},
        {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "a"},
        {"message_id": "d", "parent_id": "gone", "role": "prompter", "text": "q"},
        {"message_id": "e", "parent_id": "d", "role": "assistant", "text": "a"},
    ]
    imported = load_demonstrations(write(tmp_path, *rows))
    assert len(imported.records) == 1
    assert imported.dropped == {
        "a message whose parent is not in the file": 1,
        "a message below one whose parent is not in the file": 1,
    }


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.parquet"])
def test_a_null_in_the_first_row_does_not_change_the_format(name: str, tmp_path: Path) -> None:
    """Row 37: one preference without `chosen` in front made the whole file prompts."""
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    imported = load_comparisons(write(tmp_path, {**good, "chosen": None}, good, good, name=name))
    assert len(imported.records) == 2
    assert imported.dropped == {"not a row of trl preference": 1}


def test_a_response_is_a_completion(tmp_path: Path) -> None:
    """Row 37: `{prompt, response}` was read as prompts."""
    for name in ("prompt", "query"):
        [made] = load_demonstrations(write(tmp_path, {name: "q", "response": "a"})).records
        assert spoken(made.messages) == [("user", "q"), ("assistant", "a")]


def test_the_content_of_a_file_decides_not_its_name(tmp_path: Path) -> None:
    """Row 39: an array in `.jsonl`, and compressed data under another name."""
    rows = [{"messages": [ASK, ANSWER]}, {"messages": [ASK, ANSWER]}]
    array = tmp_path / "array.jsonl"
    array.write_text(json.dumps(rows, indent=1))
    assert len(load_demonstrations(array).records) == 2
    packed = tmp_path / "packed.jsonl"
    packed.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert len(load_demonstrations(packed).records) == 2


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"PAR1....", "is a Parquet file; give it a name that ends in .parquet"),
        (b"PK\x03\x04....", "is a zip archive; unpack it"),
    ],
)
def test_a_file_under_a_wrong_name_is_named(head: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(head)
    with pytest.raises(DataError, match=says):
        load_demonstrations(path)


def test_json_nested_too_deeply_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("data.jsonl", "data.json"):
        path = tmp_path / name
        path.write_text('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}")
        assert run(["data", "check", str(path)]) == 2
        assert "nested too deeply" in capsys.readouterr().err


def test_records_know_their_file_and_line(tmp_path: Path) -> None:
    """Row 33: what refuses a record later can name it."""
    for name, line in (("data.jsonl", 2), ("data.json", 2)):
        path = write(tmp_path, {"messages": [ASK, ANSWER]}, {"messages": [ASK, ANSWER]}, name=name)
        record = load_demonstrations(path).records[1]
        assert record.origin is not None
        assert (record.origin.path, record.origin.line) == (path, line)
        assert record == load_demonstrations(path).records[0]
        assert "origin" not in record.to_json()
    prompts = load_prompts(write(tmp_path, {"instruction": "q", "output": "a"})).records
    assert prompts[0].origin is not None
