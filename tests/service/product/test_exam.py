"""`/api/exam` over HTTP: the leaderboard of the home's exams, advice, productivity; who may read what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.exam.test_leaderboard import sat
from tests.service.fakes import FakeChat, saying
from tests.service.product.events import finish

from ziggurat.exam import costs

House = Callable[..., httpx.Client]
MODELS = {"town/ppo-1": FakeChat(saying("In the ", "north.")), "town/sft-1": FakeChat(saying("No."))}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    return tmp_path


def test_models_that_sat_and_models_that_fought_are_on_one_board(open_house: House, home: Path) -> None:
    sat(home, "town/ppo-1", "facts", 0.8)
    client = open_house(MODELS)
    with client.stream("POST", "/api/arena/battles", json={"text": "Where is it?"}) as answer:
        battle = [line for line in answer.iter_lines() if '"ready"' in line]
    assert battle
    one = client.get("/api/arena/battles").json()["data"][0]
    client.post(f"/api/arena/battles/{one['id']}/vote", json={"winner": "a"})
    found = client.get("/api/exam/leaderboard").json()
    assert [row["model"] for row in found["models"]] == ["town/ppo-1", "town/sft-1"]
    first, second = found["models"]
    assert (first["figures"]["facts"]["score"], second["figures"], second["mean"]) == (0.8, {}, None)
    assert first["rating"] is not None
    assert {name: len(table["rows"]) for name, table in found["references"].items()} == {
        "chatbots": 21,
        "c_eval": 21,
    }
    lines = client.get("/api/exam/suitable").json()["models"][0]["lines"]
    assert next(line["verdict"] for line in lines if line["id"] == "knowledge") == "yes"


def test_what_an_answer_costs_is_read_from_chats(
    open_house: House, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "FEWEST", 1)
    client = open_house(MODELS)
    chat = client.post("/api/chats", json={}).json()["id"]
    asked = {"text": "Where is it?", "model": "town/sft-1"}
    begun = client.post(f"/api/chats/{chat}/turns", json=asked).json()
    finish(client, chat, begun["generation_id"])
    sat(home, "town/sft-1", "facts", 0.5)
    row = client.get("/api/exam/leaderboard").json()["models"][0]
    assert row["model"] == "town/sft-1"
    assert row["tokens_each"] == 1
    assert 0 <= row["seconds_each"] < 60
    monkeypatch.setattr(costs, "FEWEST", 2)  # one answer is too few
    assert client.get("/api/exam/leaderboard").json()["models"][0]["tokens_each"] is None


def test_advice_names_the_words_that_it_found(open_house: House, home: Path) -> None:
    client = open_house(MODELS)
    found = client.post("/api/exam/advice", json={"task": "Translate our menu"}).json()
    assert (found["verdict"], found["reasons"][0]["words"]) == ("suitable", ["translate"])
    assert client.post("/api/exam/advice", json={"task": ""}).status_code == 400


def test_times_have_the_published_experiment_beside_them(open_house: House, home: Path) -> None:
    client = open_house(MODELS)
    found = client.get("/api/exam/productivity?days=30").json()
    assert (found["comparisons"], found["stages"], found["days"]) == ([], [], 30)
    assert round(found["published"]["gain"], 3) == 0.588
    assert client.get("/api/exam/productivity?days=0").status_code == 400


def test_nothing_is_shown_without_a_login(open_house: House, home: Path) -> None:
    client = open_house(MODELS, accounts=True)
    assert client.get("/api/exam/leaderboard").status_code == 401
    assert client.post("/api/exam/advice", json={"task": "x"}).status_code in (401, 403)
