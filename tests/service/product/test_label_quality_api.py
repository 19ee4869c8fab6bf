"""Quality and exchange over HTTP: three people, a conflict, a decision, a review, import, export, a webhook."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from tests.service.product.test_labelling_api import SETTINGS, Account, entry, made, town
from tests.service.product.test_matrix import PASSWORD

from ziggurat.api.labelling import LabelClient
from ziggurat.errors import RunError, UsageError

__all__ = ["town"]
OCTETS = {"content-type": "application/octet-stream"}


class Receiver:
    """A program that takes webhooks; the first message of all is refused."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                mine.taken.append((dict(self.headers.items()), body))
                self.send_response(503 if len(mine.taken) == 1 else 204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_a_conflict_is_decided_and_an_answer_goes_back(town: tuple[Account, Account, Account]) -> None:
    owner, ana, _ = town
    project = made(
        owner,
        "/api/label/projects",
        {"name": "R", "task": "ranking", "settings": SETTINGS | {"min_answers": 2}},
    )
    at = f"/api/label/projects/{project['id']}"
    made(owner, f"{at}/items", {"items": [entry(1, 2)]})
    for who, ranks in ((owner, {"c1": 1, "c2": 2}), (ana, {"c1": 2, "c2": 1})):
        task = made(who, f"{at}/next", {}, 200)["task"]
        answered = made(who, f"/api/label/items/{task['item_id']}/answer", {"value": {"ranks": ranks}})
    item = f"/api/label/items/{task['item_id']}"
    for path in (f"{at}/agreement", f"{at}/conflicts", f"{item}/case", f"{at}/reviews", f"{at}/trees"):
        assert ana.send("get", path).status_code == 403, path
    report = owner.send("get", f"{at}/agreement").json()
    assert report["overall"][0]["name"] == "pair_agreement"
    assert (report["overall"][0]["value"], report["overall"][0]["too_few"]) == (0.0, True)
    (waiting,) = owner.send("get", f"{at}/conflicts").json()["data"]
    case = owner.send("get", f"{item}/case").json()
    assert (case["mine"], [one["side"] for one in case["answers"]]) == (True, ["A", "B"])
    refused = owner.send("post", f"{item}/decision", {"final": {"ranks": {"c1": 1, "c2": 2}}, "reason": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "own_answer")
    assert owner.send("get", f"{at}/reviews").json()["data"] == [], "names are hidden until the decision"
    body = {"verdict": "reject", "reason": "read again", "back": True}
    answer = f"/api/label/answers/{answered['answer']['id']}"
    assert made(owner, f"{answer}/review", body)["item_status"] == "in_progress"
    assert owner.send("get", f"{item}/case").json()["error"]["code"] == "not_complete"
    again = made(ana, f"{at}/next", {}, 200)["task"]
    assert again["item_id"] == waiting["item_id"]
    made(ana, f"{item}/answer", {"value": {"ranks": {"c1": 1, "c2": 2}}})
    assert owner.send("get", f"{at}/agreement").json()["overall"][0]["value"] == 1.0
    (row,) = owner.send("get", f"{at}/reviews/figures").json()["data"]
    assert (row["reject"], row["returned"]) == (1, 1)


def test_a_file_comes_in_is_found_and_goes_out(client: httpx.Client) -> None:
    project = made(client, "/api/label/projects", {"name": "R", "task": "ranking", "settings": SETTINGS})
    at = f"/api/label/projects/{project['id']}"
    rows = [{"prompt": f"{n}?", "chosen": "Blue.", "rejected": "Green."} for n in range(3)]
    rows.append({"prompt": "Mail a@example.org", "chosen": "Yes.", "rejected": "No."})
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    wrong = client.post(f"{at}/import", params={"name": "x.jsonl"}, content=data)
    assert wrong.status_code == 415
    asked: dict[str, Any] = {"name": "x.jsonl", "private_data": "mask"}
    dry = client.post(f"{at}/import", params=asked, content=data, headers=OCTETS)
    assert (dry.status_code, dry.json()["added"], dry.json()["private_data"]) == (200, 4, {"email": 1})
    real = client.post(f"{at}/import", params=asked | {"dry_run": False}, content=data, headers=OCTETS)
    assert (real.status_code, real.json()["added"]) == (201, 4)
    found = made(client, f"{at}/find", {"where": {"text": "[email]"}}, 200)
    assert found["total"] == 1
    bulk = made(client, f"{at}/bulk", {"where": {}, "act": "tag", "value": "seen", "expected": 4}, 200)
    assert bulk == {"matched": 4, "changed": 4}
    scores = {found["data"][0]["id"]: [0.5, 0.5]}
    assert made(client, f"{at}/scores", {"scores": scores, "first": True}, 200) == {"scored": 1}
    assert client.post(f"{at}/scores", json={"model": "none"}).status_code == 404
    task = made(client, f"{at}/next", {}, 200)["task"]
    assert task["item_id"] == found["data"][0]["id"]
    made(client, f"/api/label/items/{task['item_id']}/answer", {"value": {"ranks": {"c1": 1, "c2": 2}}})
    names = [one["name"] for one in client.get("/api/judgements/formats").json()["data"]]
    assert {"alpaca", "trl_preference", "argilla", "arena", "oasst"} <= set(names)
    body = {"format": "trl_preference", "project_id": project["id"]}
    assert made(client, "/api/judgements/export", body | {"preview": True}, 200)["rows"] == 1
    answer = client.post("/api/judgements/export", json=body)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        (train,) = [name for name in archive.namelist() if name.endswith("train.jsonl")]
        row = json.loads(archive.read(train))
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("Yes.", "No.")


def test_a_webhook_is_told_and_told_again_after_a_refusal(client: httpx.Client, receiver: Receiver) -> None:
    project = made(client, "/api/label/projects", {"name": "R", "task": "ranking", "settings": SETTINGS})
    at = f"/api/label/projects/{project['id']}"
    hook = made(client, "/api/label/webhooks", {"url": receiver.url, "events": ["record.created"]})
    made(client, f"{at}/items", {"items": [entry(1)]})
    waited(lambda: len(receiver.taken) == 1)
    waited(lambda: client.get("/api/label/webhooks").json()["data"][0]["last"][0]["error"] is not None)
    (view,) = client.get("/api/label/webhooks", params={"project_id": project["id"]}).json()["data"]
    assert "secret" not in view
    assert view["last"][0]["error"] == "the receiver answered 503"
    made(client, f"/api/label/messages/{view['last'][0]['id']}/again", {}, 200)
    waited(lambda: len(receiver.taken) == 2)
    headers, body = receiver.taken[1]
    said = Webhook(hook["secret"]).verify(body, {name.lower(): value for name, value in headers.items()})
    assert (said["event"], said["project_id"]) == ("record.created", project["id"])
    assert client.delete(f"/api/label/webhooks/{hook['id']}").status_code == 200


def waited(done: Any) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_trees_are_planted_and_set_aside_over_http(client: httpx.Client) -> None:
    steps = made(client, "/api/label/trees/projects", {"name": "talks"})["steps"]
    body = {"steps": steps, "prompts": ["Why?"], "settings": {"depth": 2}}
    (tree,) = made(client, "/api/label/trees", body)["trees"]
    (row,) = client.get(f"/api/label/projects/{steps['reply']}/trees").json()["data"]
    assert (row["id"], row["state"]) == (tree, "initial_prompt_review")
    moved = client.patch(f"/api/label/trees/{tree}", json={"state": "backlog"})
    assert moved.json()["state"] == "backlog"
    assert client.get(f"/api/label/trees/{tree}").json()["nodes"][0]["content"] == "Why?"


def test_a_program_labels_and_exports_through_the_client(client: httpx.Client, tmp_path: Path) -> None:
    with LabelClient(str(client.base_url)) as house:
        project = house.create_project("R", settings=SETTINGS)["id"]
        report = house.add_items(project, [entry(1), entry(1), {"messages": []}])
        assert (len(report["added"]), report["duplicates"], report["refused"][0]["at"]) == (1, 1, 2)
        file = tmp_path / "more.jsonl"
        file.write_text('{"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."}\n')
        assert house.import_file(project, file)["added"] == 1
        assert house.import_file(project, file, dry_run=False, private_data="keep")["added"] == 1
        assert len(list(house.items(project))) == 2
        assert [one["payload"]["messages"][0]["content"] for one in house.items(project, text="sky")] == [
            "Sky?"
        ]
        task = house.next(project)["task"]
        ranks = {one["id"]: n for n, one in enumerate(task["completions"], 1)}
        assert house.answer(task["item_id"], {"ranks": ranks}, seconds=3)["counts"]
        assert house.agreement(project)["answers"] == 1
        archive = house.export("ranked", tmp_path / "out.zip", project_id=project, licence="mit")
        assert zipfile.is_zipfile(archive)
        with pytest.raises(UsageError, match="there is no format"):
            house.export("nothing", tmp_path / "x.zip", project_id=project)
    with pytest.raises(RunError, match="does not answer"), LabelClient("http://127.0.0.1:9") as nobody:
        nobody.projects()


def test_the_client_logs_in_where_there_are_accounts(town: tuple[Account, Account, Account]) -> None:
    address = str(town[0].client.base_url)
    with LabelClient(address, email="owner@house.example", password=PASSWORD) as house:
        assert house.create_project("R")["task"] == "ranking"
    with pytest.raises(UsageError):
        LabelClient(address, email="owner@house.example", password="wrong")
