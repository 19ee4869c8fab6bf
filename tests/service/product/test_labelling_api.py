"""Labelling over HTTP, as a lead and labellers use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.fakes import FakeChat
from tests.service.product.test_matrix import PASSWORD, Account, entered

from ziggurat.product import registration
from ziggurat.store.store import Store

Open = Callable[..., httpx.Client]
SETTINGS = {"overlap_pct": 0, "gold_pct": 0, "shuffle": False}


def entry(n: int, k: int = 4) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"question {n}"}],
        "completions": [f"answer {n}.{i}" for i in range(k)],
    }


def made(client: httpx.Client | Account, path: str, body: Any, status: int = 201) -> dict[str, Any]:
    answer = client.send("post", path, body) if isinstance(client, Account) else client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_a_project_from_template_to_progress(client: httpx.Client) -> None:
    ready = client.get("/api/label/templates").json()["data"]
    assert {one["key"] for one in ready} >= {"ranking", "instructgpt_answer", "open_assistant"}
    body = {"name": "Ranks", "template": "ranking", "settings": SETTINGS}
    project = made(client, "/api/label/projects", body)
    at = f"/api/label/projects/{project['id']}"
    assert project["task"] == "ranking"
    guide = client.get(f"{at}/guidelines").json()["data"]
    assert {"en", "zh"} == set(guide[0]["texts"])
    report = made(client, f"{at}/items", {"items": [entry(1), entry(2), entry(1), {"messages": []}]})
    assert (len(report["added"]), report["duplicates"], report["refused"][0]["at"]) == (2, 1, 3)
    task = made(client, f"{at}/next", {}, 200)["task"]
    item = f"/api/label/items/{task['item_id']}"
    saved = client.put(f"{item}/draft", json={"value": {"ranks": {"c1": 1}}})
    assert saved.status_code == 200
    assert client.get(f"{item}/task").json()["task"]["value"] == {"ranks": {"c1": 1}}
    wrong = client.post(f"{item}/answer", json={"value": {"ranks": {"c1": 1}}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "value.ranks")
    ranks = {"c1": 1, "c2": 2, "c3": 2, "c4": 3}
    done = made(client, f"{item}/answer", {"value": {"ranks": ranks}, "seconds": 12.5})
    assert done["counts"]
    assert done["answer"]["value"]["ranks"] == ranks
    (kept,) = client.get("/api/label/projects").json()["data"]
    assert kept["guideline"] == 1
    progress = client.get(f"{at}/progress").json()
    assert progress["statuses"] == {"completed": 1, "pending": 1}
    assert (progress["answers"], progress["answers_left"], progress["median_seconds"]) == (1, 1, 12.5)
    (person,) = client.get(f"{at}/people").json()["data"]
    assert person["answers"] == 1
    (mine,) = client.get("/api/label/mine").json()["projects"]
    assert (mine["mine"], mine["open"]) == (1, 1)


def test_samples_of_a_model_become_items_with_their_seeds(open_house: Open) -> None:
    count = iter(range(1_000))
    client = open_house({"fake": FakeChat(lambda _messages, _params: [f"answer {next(count)}"])})
    body = {"name": "Pairs", "template": "pairwise", "settings": SETTINGS}
    at = f"/api/label/projects/{made(client, '/api/label/projects', body)['id']}"
    report = made(client, f"{at}/items/samples", {"prompts": ["one?", "two?"], "k": 4})
    assert len(report["added"]) == 2
    item = client.get(f"/api/label/items/{report['added'][0]}").json()
    assert len(item["payload"]["completions"]) == 2, "a pair has two"
    assert all(
        one["model"] == "fake" and one["sampling"]["seed"] >= 0 for one in item["payload"]["completions"]
    )
    assert item["source"] == {"kind": "model", "model": "fake"}
    task = made(client, f"{at}/next", {}, 200)["task"]
    assert "fake" not in str(task["completions"])


def test_a_model_that_says_one_thing_gives_no_comparison(client: httpx.Client) -> None:
    body = {"name": "Pairs", "template": "pairwise"}
    at = f"/api/label/projects/{made(client, '/api/label/projects', body)['id']}"
    report = made(client, f"{at}/items/samples", {"prompts": ["one?"], "k": 2})
    assert report["added"] == []
    assert "different answers" in report["refused"][0]["message"]


@pytest.fixture
def town(open_house: Open, tmp_path: Path) -> Iterator[tuple[Account, Account, Account]]:
    """The owner, a labeller and a member, each logged in."""
    store = Store.open(tmp_path / "ziggurat.db")
    token = registration.setup_token(store)
    store.close()
    address = str(open_house(accounts=True).base_url)
    owner = entered(address, "/api/setup", "owner@house.example", token=str(token))
    owner.send("put", "/api/admin/settings", {"registration": "open"})
    ana, ben = (entered(address, "/api/register", f"{name}@house.example") for name in ("ana", "ben"))
    changed = owner.send("patch", f"/api/admin/people/{ana.person_id}", {"role": "labeller"})
    assert changed.status_code == 200, changed.text
    again = ana.client.post("/api/login", json={"email": "ana@house.example", "password": PASSWORD})
    ana.csrf = again.json()["csrf"]  # a new role ends the sessions of the old one
    yield owner, ana, ben
    for account in (owner, ana, ben):
        account.client.close()


def test_labellers_work_leads_lead_and_members_do_neither(town: tuple[Account, Account, Account]) -> None:
    owner, ana, ben = town
    project = made(owner, "/api/label/projects", {"name": "R", "task": "ranking", "settings": SETTINGS})
    at = f"/api/label/projects/{project['id']}"
    made(owner, f"{at}/items", {"items": [entry(1)]})
    assert ben.send("post", f"{at}/next").status_code == 403
    assert ben.send("get", "/api/label/mine").status_code == 403
    for method, path in (
        ("get", at),
        ("get", f"{at}/progress"),
        ("get", f"{at}/people"),
        ("post", f"{at}/items"),
    ):
        body = {"items": [entry(2)]} if method == "post" else None
        assert ana.send(method, path, body).status_code == 403, path
    task = made(ana, f"{at}/next", {}, 200)["task"]
    foreign = owner.send("post", f"/api/label/items/{task['item_id']}/skip", {"reason": "unclear"})
    assert foreign.status_code == 404, "the owner has not opened it"
    value = {"ranks": {"c1": 2, "c2": 1, "c3": 3, "c4": 4}}
    assert made(ana, f"/api/label/items/{task['item_id']}/answer", {"value": value})["counts"]
    found = owner.send("get", "/api/admin/audit").json()["data"]
    assert {"project.create", "item.add"} <= {one["action"] for one in found}
