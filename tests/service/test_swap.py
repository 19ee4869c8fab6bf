"""A name begins to stand for another run: no stream is dropped, nothing of the old model stays."""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from fastapi import FastAPI, Request
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, FakeRequest, echo, saying, wait_until
from tests.service.test_score import tiny_judge
from tests.service.tiny import TEXT

from ziggurat import files
from ziggurat.cli.main import run as run_command
from ziggurat.dialogue.chat import Chat
from ziggurat.dialogue.desk import Delta, Desk
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.save import save_model, save_scalar
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.service.access.caller import must_be_admin
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models import library
from ziggurat.service.models.shelf import ModelCard, Shelf
from ziggurat.service.options import ServeOptions
from ziggurat.service.server import create_app
from ziggurat.tokenizer.bpe import Tokenizer

MESSAGES = [{"role": "user", "content": "Good morning, Ana! Where does the baker live, and who says so?"}]
WORDS = 40


def save_run(home: Path, name: str, seed: int) -> Path:
    """A finished run with a tiny model of its own weights."""
    folder = home / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"stage": name.split("/")[1].rpartition("-")[0]}))
    tokenizer = Tokenizer.train([TEXT], 320)
    sizes = {"layers": 2, "d_model": 32, "heads": 2, "kv_heads": 1, "d_head": 16, "d_ff": 48}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, context=256, **sizes))
    model.init_weights(seed)
    with torch.no_grad():
        model.norm.weight.mul_(20)  # lively logits
    save_model(model, folder / "model", tokenizer)
    return folder


def app_of(*names: str, keyring: Keyring | None = None) -> FastAPI:
    shelves = library.Library()
    loaded = [shelves.load(name) for name in names]
    models = {card.name: model for card, model in loaded}
    return create_app(models, cards={card.name: card for card, _ in loaded}, shelves=shelves, keyring=keyring)


def greedy(folder: Path) -> str:
    """The whole answer, in process."""
    params = SamplingParams(temperature=0, max_tokens=WORDS)
    return Chat.load(folder).complete([Message.model_validate(m) for m in MESSAGES], params)


def asking(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": WORDS, **more}


def reload(address: str, name: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{address}/admin/models/{name}/reload", json=body, timeout=30)


def metric(address: str, name: str, model: str) -> float:
    line = f'{name}{{model="{model}"}} '
    found = [row for row in httpx.get(f"{address}/metrics").text.splitlines() if row.startswith(line)]
    return float(found[0].removeprefix(line))


def slowed(monkeypatch: pytest.MonkeyPatch, model: Callable[[], object]) -> threading.Semaphore:
    """Every step of one model waits for leave; those of others do not."""
    leave, step = threading.Semaphore(0), Desk.step

    def slow(desk: Desk) -> list[tuple[int, Delta]]:
        if desk.engine.model is model():
            leave.acquire(timeout=20)
        return step(desk)

    monkeypatch.setattr(Desk, "step", slow)
    return leave


def test_a_stream_ends_on_the_old_weights_and_the_next_request_has_the_new_ones(
    ziggurat_home: Path, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_words = greedy(save_run(ziggurat_home, "town/ppo-1", 1))
    shelves = library.Library()
    card, chat = shelves.load("chat=town/ppo")
    assert isinstance(chat, Chat)
    old_model = weakref.ref(chat.model)
    app = create_app({card.name: chat}, cards={card.name: card}, shelves=shelves)
    del chat
    monkeypatch.setattr(
        "ziggurat.service.models.worker.IDLE_S", 1_000.0
    )  # it ends because it was swapped out
    leave = slowed(monkeypatch, old_model)
    monkeypatch.setattr("ziggurat.service.models.memory.EVERY_S", 1e6)
    given_back: list[object] = []  # what is left of the old model when its memory goes back to the system
    monkeypatch.setattr(
        "ziggurat.service.models.memory.give_back_freed_memory", lambda: given_back.append(old_model())
    )
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        with client.stream("POST", "/v1/chat/completions", json=asking("chat", stream=True)) as stream:
            lines = (line for line in stream.iter_lines() if line.startswith("data: {"))
            leave.release(5)
            chunks = [json.loads(next(lines)[6:]) for _ in range(3)]

            new_words = greedy(save_run(ziggurat_home, "town/ppo-2", 2))
            assert new_words != old_words
            told = reload(address, "chat").json()
            assert (told["previous_run"], told["run"]) == ("town/ppo-1", "town/ppo-2")
            assert told["system_fingerprint"] != told["previous_system_fingerprint"]

            answer = client.post("/v1/chat/completions", json=asking("chat")).json()
            assert answer["choices"][0]["message"]["content"] == new_words
            assert answer["system_fingerprint"] == told["system_fingerprint"]
            assert metric(address, "app_generation_running", "chat") == 1, "the old stream is still there"
            assert old_model() is not None

            leave.release(10 * WORDS)
            chunks += [json.loads(line[6:]) for line in lines]
        said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert said == old_words
        assert {chunk["system_fingerprint"] for chunk in chunks} == {told["previous_system_fingerprint"]}

        wait_until(lambda: old_model() is None)
        wait_until(lambda: given_back == [None])
        assert metric(address, "app_generation_running", "chat") == 0
        assert client.get("/v1/models/chat").json()["root"] == "town/ppo-2"


def test_cached_prompts_are_not_shared_between_the_two(ziggurat_home: Path, serving: Serving) -> None:
    save_run(ziggurat_home, "town/ppo-1", 1)
    with serving(app_of("chat=town/ppo")) as address:

        def hits() -> float:
            assert httpx.post(f"{address}/v1/chat/completions", json=asking("chat")).status_code == 200
            return metric(address, "app_prefix_cache_hits_total", "chat")

        assert hits() == 0
        assert hits() > 0
        save_run(ziggurat_home, "town/ppo-2", 2)
        assert reload(address, "chat").status_code == 200
        assert hits() == 0
        assert hits() > 0


def test_the_name_of_a_run_stays_that_run_and_one_of_its_own_may_go_back(
    ziggurat_home: Path, serving: Serving
) -> None:
    save_run(ziggurat_home, "town/ppo-1", 1)
    save_run(ziggurat_home, "town/ppo-2", 2)
    with serving(app_of("town/ppo-1", "chat=town/ppo")) as address:
        refused = reload(address, "town/ppo-1", run="town/ppo-2")
        assert refused.status_code == 400
        assert "ziggurat serve chat=town/ppo-1" in refused.json()["error"]["message"]
        same = reload(address, "town/ppo-1").json()
        assert same["system_fingerprint"] == same["previous_system_fingerprint"]
        save_run(ziggurat_home, "town/ppo-1", 3)
        other = reload(address, "town/ppo-1").json()
        assert other["system_fingerprint"] != same["system_fingerprint"]
        back = reload(address, "chat", run="town/ppo-1").json()
        assert (back["run"], back["system_fingerprint"]) == ("town/ppo-1", other["system_fingerprint"])


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("town/ppo-9", "There is no run"),
        ("../../etc", "paths are refused here"),
        ("/etc", "paths are refused here"),
        ("town/..", "paths are refused here"),
        ("src/ziggurat", "paths are refused here"),
        ("town/reward-1", "town/reward-1 gives scores and chat writes"),
        ("town/broken-1", "no config.json"),
    ],
)
def test_what_cannot_be_loaded_changes_nothing(
    ziggurat_home: Path, serving: Serving, run: str, says: str
) -> None:
    save_run(ziggurat_home, "town/ppo-1", 1)
    reward = ziggurat_home / "runs" / "town" / "reward-1"
    save_scalar(tiny_judge().model, reward / "model", tiny_judge().tokenizer)
    (ziggurat_home / "runs" / "town" / "broken-1").mkdir()
    with serving(app_of("chat=town/ppo")) as address:
        before = httpx.post(f"{address}/v1/chat/completions", json=asking("chat")).json()
        refused = reload(address, "chat", run=run)
        assert refused.status_code == 400
        assert says in refused.json()["error"]["message"]
        after = httpx.post(f"{address}/v1/chat/completions", json=asking("chat")).json()
        assert after["system_fingerprint"] == before["system_fingerprint"]
        assert after["choices"] == before["choices"]
        assert reload(address, "none").status_code == 404


def test_a_judge_is_swapped_for_a_judge(ziggurat_home: Path, serving: Serving) -> None:
    def save(seed: int) -> None:
        made = tiny_judge(seed=seed)
        save_scalar(made.model, ziggurat_home / f"runs/town/reward-{seed}/model", made.tokenizer)

    save(1)
    with serving(app_of("judge=town/reward")) as address:
        asked = {"model": "judge", "text_1": "Where?", "text_2": "There."}
        first = httpx.post(f"{address}/score", json=asked).json()["data"]
        save(2)
        assert reload(address, "judge").json()["run"] == "town/reward-2"
        assert httpx.post(f"{address}/score", json=asked).json()["data"] != first


def test_only_admins_may(ziggurat_home: Path, serving: Serving, tmp_path: Path) -> None:
    save_run(ziggurat_home, "town/ppo-1", 1)
    file = tmp_path / "keys.jsonl"
    keys = {name: new_key(file, name, admin=name == "ops") for name in ("ana", "ops")}
    with serving(app_of("chat=town/ppo", keyring=Keyring(file))) as address:
        for name, status in (("ana", 403), ("ops", 200)):
            headers = {"authorization": f"Bearer {keys[name]}"}
            told = httpx.post(f"{address}/admin/models/chat/reload", json={}, headers=headers)
            assert told.status_code == status, name


@pytest.mark.parametrize(("host", "allowed"), [("127.0.0.1", True), ("::1", True), ("10.0.0.9", False)])
def test_without_keys_only_this_machine_may(host: str, allowed: bool) -> None:
    request = Request({"type": "http", "client": (host, 1), "headers": []})
    if allowed:
        must_be_admin(request)
    else:
        with pytest.raises(ApiError, match="Only admins may do this"):
            must_be_admin(request)


def test_a_request_that_held_the_old_model_when_it_was_swapped_is_answered_by_it() -> None:
    """Between finding its model and joining its line a request may be overtaken by a swap."""
    old, new = FakeChat(saying("old")), FakeChat(saying("new"))

    async def overtaken() -> list[str]:
        shelf = Shelf({"m": old}, {}, [], Limits())
        held = shelf["m"].worker
        shelf.swap(ModelCard(name="m"), new)
        said = []
        for _ in range(2):
            ticket = held.submit(FakeRequest([Message(role="user", content="a")], SamplingParams(), (), 0))
            while (delta := await ticket.next()) is not None:
                said.append(delta.text)
            await asyncio.to_thread(wait_until, lambda: held._thread is None)
        shelf.close()
        return [text for text in said if text]

    assert asyncio.run(overtaken()) == ["old", "old"]


def test_a_swapped_out_model_that_still_writes_is_drained_too() -> None:
    async def drained() -> bool:
        shelf = Shelf({"m": FakeChat(echo)}, {}, [], Limits())
        held = shelf["m"].worker
        shelf.swap(ModelCard(name="m"), FakeChat(echo))
        shelf.close()
        return held.draining and shelf["m"].worker.draining

    assert asyncio.run(drained())


def test_names_and_runs() -> None:
    assert library.split("town/ppo") == (None, "town/ppo")
    assert library.split("chat=town/ppo") == ("chat", "town/ppo")
    assert library.split("./a=b") == (None, "./a=b")
    for wrong in ("=town/ppo", "chat=", "a b=town/ppo"):
        with pytest.raises(UsageError, match="NAME=RUN"):
            library.split(wrong)


def test_the_digest_tells_weights_apart_whole_or_by_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(name: str, weights: bytes, config: str = "{}") -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / "model.safetensors").write_bytes(weights)
        (made / "config.json").write_text(config)
        (made / "notes.txt").write_text(name)
        return made

    a, same = folder("a", bytes(1000)), folder("same", bytes(1000))
    one_byte = folder("one-byte", bytes(999) + b"x")
    config = folder("config", bytes(1000), '{"a": 1}')
    trained = folder("trained", bytes(range(250)) * 4)
    for whole_bytes in (1000, 100):
        monkeypatch.setattr(files, "WHOLE_BYTES", whole_bytes)
        monkeypatch.setattr(files, "PIECES", 5)
        monkeypatch.setattr(files, "PIECE_BYTES", 8)
        assert library.digest(a) == library.digest(same)
        assert len({library.digest(f) for f in (a, one_byte, config, trained)}) == 4


def test_batch_invariance_reaches_the_engine_and_the_fingerprint(
    ziggurat_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(ziggurat_home, "town/ppo-1", 1)
    asked: list[ServeOptions] = []
    monkeypatch.setattr("ziggurat.service.server.serve", asked.append)
    assert run_command(["serve", "town/ppo", "--batch-invariant"]) == 0
    assert run_command(["serve", "town/ppo"]) == 0
    assert [options.batch_invariant for options in asked] == [True, False]

    def fingerprint(**options: Any) -> str:
        card, chat = library.Library(**options).load("town/ppo")
        assert isinstance(chat, Chat)
        assert chat.desk().engine.batch_invariant == options.get("batch_invariant", False)
        return Shelf({card.name: chat}, {card.name: card}, [], Limits())[card.name].fingerprint

    assert fingerprint(batch_invariant=True) != fingerprint()
