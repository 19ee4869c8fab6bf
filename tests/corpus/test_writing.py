"""Records written in the shapes of other trainers: read by their own libraries, and read back by our importers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from ziggurat.corpus.formats.cells import Unusable
from ziggurat.corpus.formats.writing import SHAPES, dataset_info
from ziggurat.corpus.load import load_comparisons, load_demonstrations, load_prompts, load_ratings
from ziggurat.records import Comparison, Demonstration, Message, Prompt, Rating


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=text, **more)


SYSTEM = Message(role="system", content="Be brief.")
CALL = {"type": "function", "function": {"name": "calc", "arguments": {"a": 1}}}
TOOLS = [{"type": "function", "function": {"name": "calc", "parameters": {"type": "object"}}}]
DEMONSTRATION = Demonstration(messages=[SYSTEM, user("Hi"), said("Hello."), user("2+2?"), said("4.")])
THINKING = Demonstration(messages=[user("2+2?"), said("4.", reasoning="add")])
CALLING = Demonstration(
    messages=[
        user("1?"),
        said("", tool_calls=[CALL]),
        Message(role="tool", content="1"),
        said("It is 1."),
    ],
    tools=TOOLS,
)
COMPARISON = Comparison(
    id="c", prompt=[user("Sky?")], completions=["Blue.", "Grey.", "Red."], ranks=[1, 2, 2]
)
RATING = Rating(prompt=[user("Sky?")], completion="Blue.", label=True)
PROMPT = Prompt(prompt=[SYSTEM, user("Sky?")])
RECORDS: dict[str, list[Any]] = {
    "alpaca": [DEMONSTRATION, THINKING],
    "sharegpt": [DEMONSTRATION, THINKING, CALLING],
    "openai": [DEMONSTRATION, THINKING, CALLING],
    "alpaca_preference": [COMPARISON],
    "sharegpt_preference": [COMPARISON],
    "trl_preference": [COMPARISON],
    "ranked": [COMPARISON],
    "alpaca_kto": [RATING, RATING.model_copy(update={"label": False})],
    "trl_kto": [RATING, RATING.model_copy(update={"label": False})],
    "trl_prompt": [PROMPT],
}


def rows_of(name: str) -> list[dict[str, Any]]:
    return [row for record in RECORDS[name] for row in SHAPES[name].rows(record)]


def written(folder: Path, name: str) -> Path:
    path = folder / f"{name}.jsonl"
    lines = (json.dumps(row, ensure_ascii=False) for row in rows_of(name))
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_every_shape_has_a_sample() -> None:
    assert RECORDS.keys() == SHAPES.keys()


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "openai"])
def test_demonstrations_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    back = load_demonstrations(written(tmp_path, name))
    assert not back.dropped
    for ours, theirs in zip(RECORDS[name], back.records, strict=True):
        assert [m.to_json() for m in theirs.messages] == [m.to_json() for m in ours.messages]
        assert theirs.tools == ours.tools


@pytest.mark.parametrize("name", ["alpaca_preference", "sharegpt_preference", "trl_preference"])
def test_a_ranking_of_three_with_a_tie_gives_two_pairs(name: str, tmp_path: Path) -> None:
    back = load_comparisons(written(tmp_path, name)).records
    texts = [[Comparison.model_validate(c.to_json()).completions for c in back]]
    assert [[_plain(x) for x in pair] for pair in texts[0]] == [["Blue.", "Grey."], ["Blue.", "Red."]]
    assert all(c.ranks == [1, 2] for c in back)


def _plain(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1].content


def test_a_ranked_group_stays_one_row(tmp_path: Path) -> None:
    (back,) = load_comparisons(written(tmp_path, "ranked")).records
    assert (back.id, back.ranks, back.completions) == ("c", [1, 2, 2], ["Blue.", "Grey.", "Red."])


@pytest.mark.parametrize("name", ["alpaca_kto", "trl_kto"])
def test_ratings_come_back(name: str, tmp_path: Path) -> None:
    assert [r.label for r in load_ratings(written(tmp_path, name)).records] == [True, False]


def test_prompts_come_back(tmp_path: Path) -> None:
    (back,) = load_prompts(written(tmp_path, "trl_prompt")).records
    assert [m.to_json() for m in back.prompt] == [m.to_json() for m in PROMPT.prompt]


@pytest.mark.parametrize(
    ("shape", "record", "reason"),
    [
        ("alpaca", CALLING, "tool call"),
        ("alpaca", Demonstration(messages=[user("a"), user("b"), said("c")]), "alternate"),
        ("alpaca", Demonstration(messages=[user("a"), said("b", weight=0), user("c"), said("d")]), "trained"),
        ("sharegpt", Demonstration(messages=[said("Hi"), user("a"), said("b")]), "order"),
        ("sharegpt", Demonstration(messages=[user("a"), said("b"), SYSTEM, user("c"), said("d")]), "system"),
        (
            "sharegpt",
            Demonstration(messages=[user("a"), said("I look", tool_calls=[CALL]), said("b")]),
            "tool",
        ),
        ("alpaca_preference", COMPARISON.model_copy(update={"prompt": [SYSTEM, user("a")]}), "system"),
    ],
)
def test_what_a_shape_cannot_hold_is_refused_with_its_reason(shape: str, record: Any, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        list(SHAPES[shape].rows(record))


# --- the libraries that the files are for -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def libraries() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of their imports
        import datasets
        import trl
    return datasets, trl


@pytest.mark.parametrize("name", ["openai", "trl_preference", "trl_kto", "trl_prompt"])
@pytest.mark.filterwarnings("ignore")
def test_trl_recognises_the_file_as_conversational(name: str, tmp_path: Path, libraries: Any) -> None:
    datasets, trl = libraries
    written(tmp_path, name)
    loaded = datasets.load_dataset(
        "json", data_files=str(tmp_path / f"{name}.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    first = {key: value for key, value in loaded[0].items() if value is not None}
    assert len(loaded) == len(rows_of(name))
    assert trl.data_utils.is_conversational(first)
    if name == "trl_preference":
        pairs = trl.data_utils.unpair_preference_dataset(loaded)
        assert pairs["label"] == [True, True, False, False]
    if name == "trl_kto":
        assert set(loaded.column_names) == {"prompt", "completion", "label"}


LLAMA_FACTORY: dict[str, dict[str, tuple[type, ...]]] = {
    "alpaca": {
        "instruction": (str,),
        "input": (str,),
        "output": (str,),
        "system": (str,),
        "history": (list,),
    },
    "alpaca_preference": {"instruction": (str,), "input": (str,), "chosen": (str,), "rejected": (str,)},
    "alpaca_kto": {"instruction": (str,), "input": (str,), "output": (str,), "kto_tag": (bool,)},
    "sharegpt": {"conversations": (list,), "system": (str,), "tools": (str,)},
    "sharegpt_preference": {
        "conversations": (list,),
        "system": (str,),
        "tools": (str,),
        "chosen": (dict,),
        "rejected": (dict,),
    },
    "openai": {"messages": (list,)},
}
"""The fields and types of LLaMA-Factory's data/README.md."""
COLUMNS = {
    "prompt",
    "query",
    "response",
    "history",
    "messages",
    "system",
    "tools",
    "chosen",
    "rejected",
    "kto_tag",
}
TAGS = {
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
}


@pytest.mark.parametrize("name", LLAMA_FACTORY)
def test_rows_and_description_have_the_form_of_llama_factorys_readme(name: str) -> None:
    fields = LLAMA_FACTORY[name]
    for row in rows_of(name):
        assert set(row) - {"tools"} == set(fields) - {"tools"}
        assert all(isinstance(row[key], kinds) for key, kinds in fields.items() if key in row)
        for place, turn in enumerate(row.get("conversations", ()), 1):
            assert set(turn) == {"from", "value"}
            assert isinstance(turn["value"], str)
            odd = turn["from"] in ("human", "observation")
            assert odd == (place % 2 == 1)
    entry = dataset_info("mine", SHAPES[name], f"{name}.jsonl")
    assert entry is not None
    described = entry["mine"]
    assert described["file_name"] == f"{name}.jsonl"
    assert set(described) <= {"file_name", "formatting", "ranking", "columns", "tags"}
    assert described.get("formatting", "alpaca") in ("alpaca", "sharegpt")
    assert set(described["columns"]) <= COLUMNS
    assert set(described["columns"].values()) == set(fields)
    assert set(described.get("tags", ())) <= TAGS
    assert bool(described.get("ranking")) == name.endswith("preference")


def test_a_shape_that_llama_factory_does_not_read_has_no_description() -> None:
    assert dataset_info("mine", SHAPES["trl_kto"], "x.jsonl") is None
