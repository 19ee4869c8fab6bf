"""Releases behind a channel: the API serves them, a canary goes to a share, a rollback drops no stream."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.tiny import tiny_chat

from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import folders, releases, signing
from ziggurat.flywheel.turn.turns import weights_of
from ziggurat.home import portable
from ziggurat.model.hub import save_model
from ziggurat.product import people
from ziggurat.product.principal import Principal
from ziggurat.service.server import create_app
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import gates

Client = httpx.Client


def model(folder: Path, seed: int) -> Path:
    chat = tiny_chat()
    chat.model.init_weights(seed)
    chat.model.norm.weight.data.mul_(20)
    save_model(chat.model, folder, chat.tokenizer)
    return folder


def passed_gate(store: Store, who: Principal, candidate: Path, against: str) -> str:
    """A gate as it is when all criteria are passed."""
    gate_id = new_id("gate")
    row = {
        "id": gate_id,
        "workspace_id": who.workspace_id,
        "candidate": portable(candidate),
        "weights": weights_of(candidate),
        "against_id": against,
        "policy": {},
        "state": "done",
        "verdict": "passed",
        "sentence": "All is well.",
        "samples": [],
        "created_at": store.now(),
    }
    with store.write() as conn:
        conn.execute(gates.insert().values(**row))
    return gate_id


@pytest.fixture
def house(serving: Serving, tmp_path: Path, ziggurat_home: Path) -> Iterator[tuple[Client, Store]]:
    """A server with two releases: `assistant-1` serves, `assistant-2` is signed."""
    store = Store.open(tmp_path / "ziggurat.db")
    owner = people.local_principal(store)
    first = signing.first(store, owner, str(model(tmp_path / "one", 1)))
    channels_.promote(store, owner, first.name)
    gate_id = passed_gate(store, owner, model(tmp_path / "two", 2), first.id)
    assert signing.sign(store, owner, gate_id) is not None
    with ExitStack() as stack:
        address = stack.enter_context(serving(create_app({}, store=store)))
        client = stack.enter_context(httpx.Client(base_url=address, timeout=30))
        wait(lambda: "assistant" in models(client))
        yield client, store


def wait(done: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def models(client: Client) -> list[str]:
    return [one["id"] for one in client.get("/v1/models").json()["data"]]


def asked(**changes: Any) -> dict[str, Any]:
    talk = [{"role": "user", "content": "Good morning, Ana!"}]
    return {"model": "assistant", "messages": talk, "max_tokens": 24, "temperature": 0, "seed": 3} | changes


def said(client: Client, **changes: Any) -> str:
    answer = client.post("/v1/chat/completions", json=asked(**changes))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def promote(client: Client, name: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/flywheel/channels/assistant/promote", json={"release": name, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_rollback_is_quick_and_a_stream_ends_whole_on_its_own_weights(house: tuple[Client, Store]) -> None:
    client, _ = house
    assert models(client)[0] == "assistant"  # the page offers it first
    old = said(client)
    promote(client, "assistant-2")
    new = said(client)
    assert new != old
    assert said(client, model="assistant-1") == old  # the one before stays at hand
    long = {"max_tokens": 400, "min_tokens": 400}
    whole = said(client, **long)
    pieces: list[str] = []
    began, finished = threading.Event(), []

    def read() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            body = asked(**long, stream=True)
            with own.stream("POST", "/v1/chat/completions", json=body) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        choice = json.loads(line.removeprefix("data: "))["choices"][0]
                        pieces.append(choice["delta"].get("content") or "")
                        finished.append(choice["finish_reason"])
                        began.set()

    reading = threading.Thread(target=read)
    reading.start()
    assert began.wait(20)
    t0 = time.perf_counter()
    back = client.post("/api/flywheel/channels/assistant/rollback", json={"note": "worse"})
    after = said(client)
    elapsed_s = time.perf_counter() - t0
    assert back.status_code == 200
    assert after == old
    assert elapsed_s < 5
    reading.join(30)
    assert finished[-1] == "length"
    assert "".join(pieces) == whole  # of the weights that served when it began


def test_a_canary_goes_to_the_same_people_and_each_answer_names_its_release(
    house: tuple[Client, Store],
) -> None:
    client, _ = house
    chat = client.post("/api/chats", json={}).json()["id"]

    turn = {"text": "Good morning!", "model": "assistant", "settings": {"max_tokens": 6}}

    def answer() -> dict[str, Any]:
        begun = client.post(f"/api/chats/{chat}/turns", json=turn)
        assert begun.status_code == 202, begun.text
        message = begun.json()["answer"]["id"]
        wait(lambda: client.get(f"/api/flywheel/answers/{message}").status_code == 200)
        return dict(client.get(f"/api/flywheel/answers/{message}").json())

    assert answer() == {"release": "assistant-1", "lineage": ["assistant-1"], "datasets": []}
    promote(client, "assistant-2", share=0.999999)
    assert [answer()["release"] for _ in range(2)] == ["assistant-2"] * 2
    loop = client.get("/api/flywheel").json()
    assert loop["channels"][0]["canary"] == "assistant-2"
    assert {one["release"] for one in loop["measures"]["by_release"]} == {"assistant-1", "assistant-2"}
    assert client.post("/api/flywheel/channels/assistant/rollback", json={}).json()["canary_id"] is None
    assert answer()["release"] == "assistant-1"


REFUSED: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("/turns", {"dataset": "none/v1"}, 404),
    ("/turns", {"trainable": "everything"}, 400),
    ("/gates", {"turn": "turn-9"}, 404),
    ("/gates", {"turn": "turn-9", "policy": {"win_rat": 1}}, 400),
    ("/gates/gate_0/sign", {}, 404),
    ("/channels/assistant/promote", {"release": "nothing"}, 404),
    ("/channels/assistant/promote", {"release": "assistant-2", "share": 2}, 400),
    ("/channels/assistant/promote", {"release": "assistant-1"}, 409),
    ("/channels/assistant/rollback", {}, 409),
    ("/releases", {"model": "x"}, 400),
    ("/tests", {"release": "assistant-2", "horizon": 1}, 400),
    ("/datasets", {}, 409),
)


def test_what_cannot_be_done_is_refused_and_changed_weights_do_not_serve(house: tuple[Client, Store]) -> None:
    client, store = house
    found = [client.post(f"/api/flywheel{path}", json=body).status_code for path, body, _ in REFUSED]
    assert found == [status for _, _, status in REFUSED]
    owner = people.local_principal(store)
    made = releases.get(store, owner.workspace_id, "assistant-2")
    weights = Path(folders.check(made)) / "model" / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    answer = client.post("/api/flywheel/channels/assistant/promote", json={"release": "assistant-2"})
    assert answer.status_code == 400
    assert "are not those that were signed" in answer.text
