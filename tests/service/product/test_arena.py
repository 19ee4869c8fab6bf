"""The arena over HTTP: a battle is streamed without names, voted on once, and rated."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, failing, saying

from ziggurat.service.models.shelf import ModelCard, Route
from ziggurat.service.server import create_app
from ziggurat.service.upstream.servers import Upstream
from ziggurat.store.store import Store

House = Callable[..., httpx.Client]
TWO = {
    "town/ppo-1": FakeChat(saying("In the ", "north.")),
    "town/sft-1": FakeChat(saying("I do not ", "know.")),
}


def events(client: httpx.Client, text: str, **more: Any) -> list[dict[str, Any]]:
    with client.stream("POST", "/api/arena/battles", json={"text": text, **more}) as answer:
        assert answer.status_code == 200, answer.read()
        return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


@pytest.fixture
def client(open_house: House) -> httpx.Client:
    return open_house({**TWO, "base": FakeChat(saying("and so on"), is_base=True)})


def test_a_battle_from_the_question_to_the_ratings(client: httpx.Client) -> None:
    assert client.get("/api/arena/models").json() == {"data": ["town/ppo-1", "town/sft-1"]}
    first, *pieces, last = events(client, "Where is the canal?")
    assert (first["battle"]["state"], last["battle"]["state"]) == ("writing", "ready")
    for side in ("a", "b"):
        assert "".join(one["text"] for one in pieces if one["side"] == side) == last["battle"][side]["text"]
    assert "ppo" not in json.dumps([first, pieces, last])
    better = "a" if last["battle"]["a"]["text"] == "In the north." else "b"
    url = f"/api/arena/battles/{last['battle']['id']}"
    voted = client.post(f"{url}/vote", json={"winner": better, "seconds": 2.5})
    assert voted.status_code == 201
    assert voted.json()["models"][better] == "town/ppo-1"
    assert client.get(url).json() == voted.json()
    assert client.get("/api/arena/battles").json()["data"] == [voted.json()]
    again = client.post(f"{url}/vote", json={"winner": "tie"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "decided")
    board = client.get("/api/arena/leaderboard?style=true&lang=en").json()
    assert [one["name"] for one in board["standings"]] == ["town/ppo-1", "town/sft-1"]
    assert board["votes"] == 1
    assert client.get("/api/arena/leaderboard?lang=zh").json()["votes"] == 0


def test_a_channel_plays_as_its_release_and_equal_weights_play_once(serving: Serving, tmp_path: Path) -> None:
    names = {"assistant-3": "w3", "assistant-4": "w4", "copy": "w3"}
    models = {name: FakeChat(saying(name)) for name in names}
    cards = {
        name: ModelCard(name=name, weights=weights, release="" if name == "copy" else name)
        for name, weights in names.items()
    }
    app = create_app(models, cards=cards, store=Store.open(tmp_path / "ziggurat.db"))
    app.state.services.shelf.route("assistant", Route("assistant-3", "assistant-4", 0.5, "x"))
    with serving(app) as address, httpx.Client(base_url=address, timeout=20) as client:
        assert sorted(client.get("/api/arena/models").json()["data"]) == ["assistant-3", "assistant-4"]
        last = events(client, "Who?")[-1]["battle"]
        voted = client.post(f"/api/arena/battles/{last['id']}/vote", json={"winner": "tie"}).json()
        assert sorted(voted["models"].values()) == ["assistant-3", "assistant-4"]
        for side, name in voted["models"].items():
            assert voted[side]["text"] == name
        refused = client.post("/api/arena/battles", json={"text": "x", "among": ["assistant", "assistant-3"]})
        assert refused.json()["error"]["code"] == "model_not_found"


def test_there_are_no_battles_where_experts_check_the_answers(client: httpx.Client) -> None:
    assert client.put("/api/admin/settings", json={"review": "all"}).status_code == 200
    for answer in (
        client.post("/api/arena/battles", json={"text": "Where?"}),
        client.get("/api/arena/models"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "review_first")


def test_sides_change_from_battle_to_battle(client: httpx.Client) -> None:
    """Twelve battles with one order only come by chance once in 2,048 runs."""
    texts = {events(client, "Where?")[-1]["battle"]["a"]["text"] for _ in range(12)}
    assert texts == {"In the north.", "I do not know."}


def test_a_battle_needs_two_models_that_answer(open_house: House) -> None:
    client = open_house()
    answer = client.post("/api/arena/battles", json={"text": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_few_models")
    unknown = client.post("/api/arena/battles", json={"text": "x", "among": ["fake", "nobody"]})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "among")


def test_a_model_that_fails_ends_the_battle_and_is_not_named(open_house: House) -> None:
    broken = FakeChat(failing(RuntimeError("town/ppo-1 broke"), after=1))
    client = open_house({"town/sft-1": TWO["town/sft-1"], "town/ppo-1": broken})
    sent = events(client, "Where?")
    assert "error" in sent[-1]
    assert "ppo" not in json.dumps(sent)
    assert client.get("/api/arena/battles").json()["data"] == []
    one = client.get(f"/api/arena/battles/{sent[0]['battle']['id']}").json()
    assert one["state"] == "failed"


def test_what_the_guard_refuses_is_no_battle(client: httpx.Client) -> None:
    rule = {"kind": "words", "name": "n", "words": ["forbidden"], "action": "block", "stage": "before"}
    assert client.post("/api/admin/rules", json=rule).status_code == 201
    deadline = time.monotonic() + 20  # a server reads its rules again every few seconds
    while (answer := client.post("/api/arena/battles", json={"text": "a forbidden word"})).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")


def test_models_of_another_server_play_and_take_feedback(open_house: House, serving: Serving) -> None:
    with serving(create_app({"gpt-9": FakeChat(saying("I am gpt-9."))})) as address:
        upstream = Upstream.parse(f"far={address}/v1")
        client = open_house({"town/sft-1": TWO["town/sft-1"]}, upstreams=[upstream])
        assert client.get("/api/arena/models").json()["data"] == ["town/sft-1", "far/gpt-9"]
        last = events(client, "Who are you?")[-1]["battle"]
        voted = client.post(f"/api/arena/battles/{last['id']}/vote", json={"winner": "tie"}).json()
        assert sorted(voted["models"].values()) == ["far/gpt-9", "town/sft-1"]
        assert voted["leaked"]
        assert client.get("/api/arena/leaderboard").json()["left_out"]["leaked"] == 1
        for stream in (False, True):
            asked = {
                "model": "far/gpt-9",
                "messages": [{"role": "user", "content": "Hello"}],
                "stream": stream,
            }
            sent = client.post("/v1/chat/completions", json=asked).text
            found = json.loads(sent.partition("data: ")[2].partition("\n")[0] if stream else sent)["id"]
            body = {"metric_name": "comment", "value": "Good.", "inference_id": found}
            assert client.post("/v1/feedback", json=body).status_code == 200
