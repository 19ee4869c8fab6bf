"""Answers belong to the server: they are followed, followed again, stopped exactly, regenerated, edited, continued."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
from tests.service.fakes import FakeChat
from tests.service.product.conftest import pieces
from tests.service.product.events import ask, finish, follow, new_chat

Open = Callable[..., httpx.Client]


def gated(count: int) -> FakeChat:
    """A model whose pieces wait to be let through one by one."""
    chat = FakeChat(pieces(count))
    chat.gate = threading.Semaphore(0)
    return chat


def let(chat: FakeChat, count: int) -> None:
    assert chat.gate is not None
    for _ in range(count):
        chat.gate.release()


def texts(events: list[tuple[int, dict[str, Any]]]) -> str:
    return "".join(event["text"] for _, event in events if event["type"] == "text")


def test_an_answer_is_streamed_and_kept(client: httpx.Client) -> None:
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "Hello")
    events = list(follow(client, chat_id, begun["generation_id"]))
    assert texts(events) == "piece0 piece1 piece2 piece3 piece4 "
    assert events[-1][1]["type"] == "done"
    kept = client.get(f"/api/chats/{chat_id}").json()
    assert [m["role"] for m in kept["messages"]] == ["user", "assistant"]
    assert kept["messages"][1]["content"] == texts(events)
    assert kept["messages"][1]["state"] == "complete"
    assert kept["generation_id"] is None
    assert kept["chat"]["title"] == "Hello"


def test_a_reader_that_comes_back_misses_nothing(open_house: Open) -> None:
    model = gated(6)
    client = open_house({"fake": model})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "Hello")
    let(model, 2)
    reading = follow(client, chat_id, begun["generation_id"])
    seen = [next(reading)]
    while texts(seen) != "piece0 piece1 ":
        seen.append(next(reading))
    reading.close()  # the tab is closed
    let(model, 2)
    time.sleep(0.3)
    kept = client.get(f"/api/chats/{chat_id}").json()
    assert kept["generation_id"] == begun["generation_id"]
    let(model, 2)
    rest = list(follow(client, chat_id, begun["generation_id"], after=seen[-1][0]))
    assert texts(seen) + texts(rest) == "".join(f"piece{i} " for i in range(6))


def test_a_late_reader_gets_all_text_so_far_at_once(open_house: Open) -> None:
    model = gated(3)
    client = open_house({"fake": model})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "Hello")
    let(model, 2)
    time.sleep(0.3)
    reading = follow(client, chat_id, begun["generation_id"])
    assert next(reading)[1] == {"type": "text", "text": "piece0 piece1 "}
    let(model, 1)
    assert texts(list(reading)) == "piece2 "


def test_stop_keeps_exactly_what_was_seen(open_house: Open) -> None:
    model = gated(50)
    client = open_house({"fake": model})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "Hello")
    let(model, 3)
    time.sleep(0.2)
    path = f"/api/chats/{chat_id}/generations/{begun['generation_id']}/stop"
    stopped = client.post(path, json={"seen_chars": 9}).json()["message"]
    assert (stopped["content"], stopped["state"]) == ("piece0 pi", "stopped")
    assert stopped["seed"] is not None
    let(model, 47)
    time.sleep(0.2)
    kept = client.get(f"/api/chats/{chat_id}").json()["messages"][-1]
    assert (kept["content"], kept["state"]) == ("piece0 pi", "stopped")
    assert client.post(path, json={"seen_chars": 2}).json()["message"]["content"] == "piece0 pi"


def test_regenerating_makes_a_sibling(client: httpx.Client) -> None:
    chat_id = new_chat(client)
    first = finish(client, chat_id, ask(client, chat_id, "Hello")["generation_id"])
    again = client.post(f"/api/chats/{chat_id}/messages/{first['id']}/regenerate", json={})
    assert again.status_code == 202
    second = finish(client, chat_id, again.json()["generation_id"])
    assert second["siblings"] == [first["id"], second["id"]]
    shown = client.get(f"/api/chats/{chat_id}").json()["messages"]
    assert [m["id"] for m in shown][-1] == second["id"]
    client.patch(f"/api/chats/{chat_id}", json={"active_leaf_id": first["id"]})
    assert client.get(f"/api/chats/{chat_id}").json()["messages"][-1]["id"] == first["id"]


def test_editing_a_question_is_a_branch_and_the_old_one_stays(open_house: Open) -> None:
    model = FakeChat(lambda messages, params: [f"You said {messages[-1].content}."])
    client = open_house({"fake": model})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "one")
    finish(client, chat_id, begun["generation_id"])
    edited = client.post(f"/api/chats/{chat_id}/messages/{begun['user']['id']}/edit", json={"text": "two"})
    assert finish(client, chat_id, edited.json()["generation_id"])["content"] == "You said two."
    tree = client.get(f"/api/chats/{chat_id}/tree").json()["messages"]
    assert sorted(node["preview"] for node in tree) == ["You said one.", "You said two.", "one", "two"]


def test_the_model_sees_the_path_and_the_system_prompt(open_house: Open) -> None:
    model = FakeChat(lambda messages, params: ["yes"])
    client = open_house({"fake": model})
    chat_id = new_chat(client, system_prompt="Be brief.", settings={"temperature": 0.25, "seed": 7})
    first = ask(client, chat_id, "one")
    answer = finish(client, chat_id, first["generation_id"])
    finish(client, chat_id, ask(client, chat_id, "two", parent_id=answer["id"])["generation_id"])
    messages, params = model.requests[-1]
    assert [(m.role, m.content) for m in messages] == [
        ("system", "Be brief."), ("user", "one"), ("assistant", "yes"), ("user", "two"),
    ]  # fmt: skip
    assert (params.temperature, params.seed) == (0.25, 7)


def test_a_repeated_request_begins_nothing_new(client: httpx.Client) -> None:
    chat_id = new_chat(client)
    first = ask(client, chat_id, "Hello", client_id="once")
    finish(client, chat_id, first["generation_id"])
    again = ask(client, chat_id, "Hello", client_id="once")
    assert again["answer"]["id"] == first["answer"]["id"]
    assert len(client.get(f"/api/chats/{chat_id}").json()["messages"]) == 2


def test_an_unknown_model_is_refused_before_anything_is_stored(client: httpx.Client) -> None:
    chat_id = new_chat(client)
    answer = client.post(f"/api/chats/{chat_id}/turns", json={"text": "Hello", "model": "nope"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert client.get(f"/api/chats/{chat_id}").json()["messages"] == []


def test_a_model_that_fails_leaves_its_text_and_a_reason(open_house: Open) -> None:
    def breaks(messages: Any, params: Any) -> list[str]:
        raise RuntimeError("out of order")

    client = open_house({"fake": FakeChat(breaks)})
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "Hello")
    *_, (_, last) = follow(client, chat_id, begun["generation_id"])
    assert last["type"] == "error"
    assert "out of order" not in str(last)
    assert client.get(f"/api/chats/{chat_id}").json()["messages"][-1]["state"] == "failed"


def test_a_stop_that_comes_after_the_end_still_cuts_to_what_was_seen(client: httpx.Client) -> None:
    chat_id = new_chat(client)
    begun = ask(client, chat_id, "Hello")
    finish(client, chat_id, begun["generation_id"])
    path = f"/api/chats/{chat_id}/generations/{begun['generation_id']}/stop"
    assert client.post(path, json={"seen_chars": 8}).json()["message"]["content"] == "piece0 p"


def test_a_chat_whose_model_is_gone_is_answered_by_the_first(client: httpx.Client) -> None:
    chat_id = new_chat(client, model="llama3")
    assert finish(client, chat_id, ask(client, chat_id, "Hello")["generation_id"])["model"] == "fake"


def test_earlier_messages_have_the_form_of_the_contract(client: httpx.Client) -> None:
    chat_id, parent = new_chat(client), None
    for number in range(3):
        begun = ask(client, chat_id, str(number), parent_id=parent)
        parent = finish(client, chat_id, begun["generation_id"])["id"]
    shown = client.get(f"/api/chats/{chat_id}?limit=2").json()
    assert shown["has_earlier"]
    before = shown["messages"][0]["id"]
    earlier = client.get(f"/api/chats/{chat_id}/messages?before={before}&limit=3").json()
    assert [one["content"] for one in earlier["messages"]][-1].startswith("piece0")
    assert earlier["has_earlier"] is True


def test_reasoning_is_apart_from_the_answer(open_house: Open) -> None:
    model = FakeChat(lambda messages, params: ["<thi", "nk>Let me", " see.</th", "ink>\n\nIt is 4."])
    client = open_house({"fake": model})
    chat_id = new_chat(client)
    message = finish(client, chat_id, ask(client, chat_id, "2 + 2?")["generation_id"])
    assert (message["content"], message["reasoning"]) == ("It is 4.", "Let me see.")


def test_a_pair_hides_its_models_until_the_pick_and_names_the_right_ones(open_house: Open) -> None:
    client = open_house({name: FakeChat(lambda m, p, name=name: [name]) for name in ("left", "right")})
    chat_id = new_chat(client)
    begun = client.post(f"/api/chats/{chat_id}/pair", json={"text": "Hello", "models": ["left", "right"]})
    assert begun.status_code == 202, begun.text
    shown = [finish(client, chat_id, gid) for gid in begun.json()["generation_ids"]]
    assert [one["model"] for one in shown] == [None, None]
    ids = [one["id"] for one in shown]
    picked = client.post(f"/api/chats/{chat_id}/picks", json={"shown": ids, "winner": ids[1]})
    assert picked.status_code == 201, picked.text
    assert [one["model"] for one in picked.json()["messages"]] == [one["content"] for one in shown]
