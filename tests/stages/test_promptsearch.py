"""Prompt search: edits by hand, a template that gets in the way is dropped, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import small_town

from ziggurat.errors import ConfigError
from ziggurat.files import sha256_file
from ziggurat.places import model_folder
from ziggurat.records import Message
from ziggurat.runs import Run
from ziggurat.stages.promptsearch import edited, framed, promptsearch, promptsearch_config

SETTINGS = {
    "templates": ["The canal {question} of the baker"],
    "phrases": ["Answer:", "Please."],
    "rounds": 8,
    "tries": 12,
    "examples": 48,
    "dtype": "fp32",
}
"""The model of the town's corner never met a text around a question, so every word of it gets in the way."""


def test_an_edit_changes_one_piece_and_keeps_the_question() -> None:
    pieces = ["xx", "{question}", "yy"]
    seen = {" ".join(edited(random.Random(i), pieces, ["00"])) for i in range(200)}
    assert {
        "{question} yy",
        "xx {question}",
        "yy {question} xx",
        "xx {question} 00",
        "00 xx {question} yy",
    } <= seen
    assert all(one.split().count("{question}") == 1 for one in seen)
    assert edited(random.Random(0), ["{question}"], []) == ["{question}"]


def test_the_template_stands_around_the_last_question() -> None:
    messages = [
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content="c"),
        Message(role="assistant", content="d"),
    ]
    assert [one.content for one in framed("x {question} y", messages)] == ["a", "b", "x c y", "d"]


@pytest.mark.slow
def test_a_search_improves_a_frozen_model_on_answers_that_took_no_part(
    town_start: Path, tmp_path: Path
) -> None:
    """From a template that gets in the way; the gain's lower bound is above 0, and resuming finds the same bytes."""
    weights = model_folder(town_start) / "model.safetensors"
    before, shown = sha256_file(weights), small_town.demonstrations(1800)[1600:]
    config = promptsearch_config(town_start, ("test", SETTINGS))
    run = Run.open(promptsearch(config, town_start, shown, tmp_path / "search-1"))
    numbers = (run.report or {})["numbers"]
    assert numbers["gain_low"] > 0.02
    assert numbers["held_out_loss_after"] < numbers["held_out_loss_before"] - 0.02
    assert sha256_file(weights) == before
    again = promptsearch(config, town_start, shown, tmp_path / "search-2")
    assert (again / "template.json").read_bytes() == (run.path / "template.json").read_bytes()


def test_a_template_without_the_question_is_refused(letters_sft: Path) -> None:
    with pytest.raises(ConfigError, match="each template must have {question} in it once"):
        promptsearch_config(letters_sft, ("test", {"templates": ["Be brief."]}))
