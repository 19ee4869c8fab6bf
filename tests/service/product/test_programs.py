"""Programs through the doors that they use: the official client uploads, tunes, asks, and reports what it thought."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, saying
from tests.stages import alphabet

from ziggurat.flywheel.work import children
from ziggurat.places import models_home
from ziggurat.product.principal import Principal
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.library import Library
from ziggurat.service.models.shelf import ASKER, ModelCard, Route, Shelf
from ziggurat.service.product.programs import multipart
from ziggurat.service.product.programs.recording import Seen, answered_of
from ziggurat.service.server import create_app
from ziggurat.store.store import Store


@pytest.fixture
def client(open_house: Callable[..., httpx.Client]) -> Iterator[tuple[openai.OpenAI, httpx.Client]]:
    """The official client, and a plain one, of a server in local mode."""
    plain = open_house()
    with openai.OpenAI(base_url=f"{plain.base_url}/v1", api_key="any", max_retries=0) as made:
        yield made, plain


def lines(*rows: Any) -> io.BytesIO:
    file = io.BytesIO(
        "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows).encode()
    )
    file.name = "rows.jsonl"
    return file


def said(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_feedback_about_an_answer_by_its_id_at_once(client: tuple[openai.OpenAI, httpx.Client]) -> None:
    api, plain = client
    metric = {"name": "solved", "type": "boolean"}
    assert plain.post("/v1/feedback/metrics", json=metric).status_code == 201
    asked: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    whole = api.chat.completions.create(**asked)
    streamed, *_ = api.chat.completions.create(**asked, stream=True)
    response = api.responses.create(model="fake", input="Hello")
    by_request = api.chat.completions.with_raw_response.create(**asked).headers["x-request-id"]
    completion = api.completions.create(model="fake", prompt="Hello")
    given = []
    for subject in (whole.id, streamed.id, response.id, by_request, completion.id):
        body = {"metric_name": "solved", "value": True, "inference_id": subject}
        answer = plain.post("/v1/feedback", json=body)
        assert answer.status_code == 200, (subject, answer.text)
        given.append(answer.json()["feedback_id"])
    assert len(set(given)) == 5
    found = plain.get("/v1/feedback/metrics/solved").json()
    assert (found["all"]["n"], found["all"]["value"]) == (5, 1.0)
    assert found["by_release"]["fake"]["n"] == 5
    assert plain.get("/api/feedback/metrics/solved").json() == found


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"metric_name": "solved", "value": "yes", "inference_id": "ID"}, 400, "value"),
        ({"metric_name": "solved", "value": True, "inference_id": "chatcmpl-none"}, 404, "inference_id"),
        ({"metric_name": "solved", "value": True, "episode_id": "none"}, 404, "episode_id"),
        ({"metric_name": "unheard", "value": True, "inference_id": "ID"}, 404, "metric_name"),
        ({"metric_name": "solved", "value": True}, 400, "inference_id"),
        ({"metric_name": "solved", "inference_id": "ID"}, 400, "value"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(
    client: tuple[openai.OpenAI, httpx.Client], body: dict[str, Any], status: int, param: str
) -> None:
    api, plain = client
    plain.post("/v1/feedback/metrics", json={"name": "solved", "type": "boolean"})
    made = api.chat.completions.create(model="fake", messages=[{"role": "user", "content": "Hello"}])
    sent = {name: made.id if value == "ID" else value for name, value in body.items()}
    answer = plain.post("/v1/feedback", json=sent)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def test_an_episode_and_an_idempotency_key(client: tuple[openai.OpenAI, httpx.Client]) -> None:
    api, plain = client
    plain.post(
        "/v1/feedback/metrics",
        json={"name": "minutes", "type": "float", "optimize": "min", "level": "episode"},
    )
    asked: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    api.chat.completions.create(**asked, extra_headers={"x-episode-id": "ticket-7"})
    api.chat.completions.create(**asked, metadata={"episode_id": "ticket-7"})
    body = {"metric_name": "minutes", "value": 3, "episode_id": "ticket-7"}
    first, second = (plain.post("/v1/feedback", json=body, headers={"idempotency-key": "k"}) for _ in "ab")
    assert (first.json()["repeated"], second.json()["repeated"]) == (False, True)
    other = plain.post("/v1/feedback", json={**body, "value": 4}, headers={"idempotency-key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency")


def test_texts_stay_out_of_the_store_unless_the_setting_keeps_them(
    client: tuple[openai.OpenAI, httpx.Client], tmp_path: Path
) -> None:
    api, plain = client

    def ask(question: str, **more: Any) -> None:
        made = api.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": question}], **more
        )
        plain.post("/v1/feedback", json={"metric_name": "comment", "value": "ok", "inference_id": made.id})

    ask("a secret question")
    assert plain.put("/api/admin/settings", json={"api_answers": "asked"}).status_code == 200
    ask("a quiet question")
    ask("an open question", store=True)
    kept = [one for one in plain.get("/api/admin/judgements").json().get("data", []) if one["prompt"]]
    bytes_kept = b"".join(path.read_bytes() for path in tmp_path.glob("ziggurat.db*"))
    assert b"secret question" not in bytes_kept
    assert b"quiet question" not in bytes_kept
    assert b"open question" in bytes_kept
    assert [one["prompt"][0]["content"] for one in kept] in ([], ["an open question"])


def test_an_answer_is_kept_with_the_hashes_of_the_model_that_wrote_it() -> None:
    """A channel with a canary: what is kept later, while another person asks, is still this answer's model."""
    names = {"assistant-3": "w3", "assistant-4": "w4"}
    cards = {name: ModelCard(name=name, weights=weights, release=name) for name, weights in names.items()}
    shelf = Shelf({name: FakeChat(saying("x")) for name in names}, cards, (), Limits())
    route = Route("assistant-3", "assistant-4", 0.5, "x")
    shelf.route("assistant", route)
    house: Any = SimpleNamespace(
        services=SimpleNamespace(shelf=shelf),
        guard=SimpleNamespace(rules=lambda: SimpleNamespace(kept={}, rules=[])),
    )
    askers = {route.name_for(f"person {n}"): f"person {n}" for n in range(20)}
    kept = {}
    for name, asker in askers.items():
        token = ASKER.set(asker)
        seen = Seen(
            Principal("ws", asker, "member"), "chat.completion", None, None, served=shelf["assistant"]
        )
        ASKER.reset(token)
        seen.asked += b'{"model": "assistant", "messages": []}'
        seen.answered += b'{"id": "chatcmpl-1", "model": "assistant", "choices": []}'
        one = answered_of(house, seen, seen.principal)
        assert one is not None
        kept[name] = (one.model, one.release, one.hashes["release"], one.hashes["weights"])
    shelf.close()
    assert kept == {name: ("assistant", name, name, weights) for name, weights in names.items()}


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_comes_back_as_it_went(client: tuple[openai.OpenAI, httpx.Client]) -> None:
    api, plain = client
    data = bytes(range(256)) * 8192  # 2 MiB: three parts
    made = api.files.create(file=("../../etc/運河.bin", data), purpose="user_data")
    assert (made.bytes, made.status, made.filename) == (len(data), "processed", "運河.bin")
    assert api.files.content(made.id).read() == data
    assert api.files.retrieve(made.id).purpose == "user_data"
    assert api.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        api.files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        api.files.content(made.id)
    assert plain.get("/v1/files").json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_lists_go_on_over_their_pages(client: tuple[openai.OpenAI, httpx.Client]) -> None:
    api, _ = client
    made = [api.files.create(file=(f"{n}.txt", b"x"), purpose="user_data").id for n in range(5)]
    assert [one.id for one in api.files.list(limit=2)] == made[::-1]
    assert [one.id for one in api.files.list(limit=2, order="asc")] == made
    assert [one.id for one in api.files.list(purpose="batch")] == []


def test_a_training_file_is_checked_line_by_line(client: tuple[openai.OpenAI, httpx.Client]) -> None:
    api, _ = client
    rows = [
        said("one?", "1"),
        "{broken",
        said("one?", "1"),
        {"messages": [{"role": "user", "content": "no answer"}]},
        {**said("two?", ""), "weihgt": 1},
        said("three?", ""),
        {"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []},
    ]
    made = api.files.create(file=lines(*rows), purpose="fine-tune")
    report = made.to_dict()["report"]
    assert made.status == "error"
    assert isinstance(report, dict)
    assert [one["line"] for one in report["errors"]] == [2, 4, 5, 7]
    assert "end on the assistant" in report["errors"][1]["reason"]
    assert "'weihgt'" in report["errors"][2]["reason"]
    assert (report["examples"], report["duplicates"], report["empty_answers"]) == (3, 1, 1)
    # FakeChat counts words: a prompt of 1, an answer of 1 or 0, and the end, three times
    assert report["tokenizer"] == "fake"
    assert report["tokens"] > 0
    many = api.files.create(file=lines(*["{"] * 150), purpose="fine-tune").to_dict()["report"]
    assert isinstance(many, dict)
    assert (many["bad_lines"], len(many["errors"])) == (150, 100)


def test_bad_uploads_get_one_sentence(
    client: tuple[openai.OpenAI, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, plain = client
    with pytest.raises(openai.BadRequestError, match="purpose is 'fun'"):
        api.files.create(file=("x.txt", b"x"), purpose="fun")  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="the file is empty"):
        api.files.create(file=("x.txt", b""), purpose="user_data")
    assert plain.post("/v1/files", json={"purpose": "batch"}).status_code == 415
    assert plain.post("/v1/files", data={"purpose": "batch"}, files={"other": b"x"}).status_code == 400
    monkeypatch.setattr(multipart, "MAX_FILE", 1000)
    monkeypatch.setattr(multipart, "AROUND", 500)
    assert plain.post("/v1/files", data={"purpose": "batch"}, files={"file": b"x" * 2000}).status_code == 413
    soon = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}
    assert plain.post("/v1/files", data=soon, files={"file": b"x"}).status_code == 400


# --- fine-tuning ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned_house(serving: Serving, tmp_path: Path) -> Iterator[openai.OpenAI]:
    """A server with a tiny model that answers in random letters."""
    alphabet.make_policy(models_home() / "letters", steps=5)
    library = Library()
    card, model = library.load("letters")
    store = Store.open(tmp_path / "ziggurat.db")
    app = create_app({card.name: model}, cards={card.name: card}, shelves=library, store=store)
    with (
        serving(app) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as api,
    ):
        yield api


def ended(api: openai.OpenAI, job_id: str, within_s: float = 400) -> Any:
    deadline = time.monotonic() + within_s
    while (job := api.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
    return job


def test_the_official_client_tunes_a_model_and_talks_to_it(tuned_house: openai.OpenAI) -> None:
    """Every demonstration answers "bbb", so the tuned model does, and its base does not."""
    api = tuned_house
    rows = [said(question, "bbb") for question in alphabet.QUESTIONS]
    file = api.files.create(file=lines(*rows), purpose="fine-tune")
    job = api.fine_tuning.jobs.create(
        model="letters",
        training_file=file.id,
        suffix="all-b",
        seed=7,
        metadata={"ticket": "7"},
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 6,
                    "batch_size": 8,
                    "learning_rate_multiplier": "auto",
                    "train.lr_adam": 0.01,  # type: ignore[typeddict-unknown-key]
                    "held_out_share": 0.1,
                }
            },
        },
    )
    assert job.status in ("queued", "validating_files", "running")
    assert (job.seed, job.model) == (7, "letters")
    with pytest.raises(openai.ConflictError, match="trains on this file"):
        api.files.delete(file.id)
    job = ended(api, job.id)
    assert job.status == "succeeded", job.error
    name = job.fine_tuned_model
    assert name is not None
    assert name.startswith("ft:letters:ziggurat:all-b:")
    assert (job.trained_tokens or 0) > 0
    assert job.finished_at is not None
    deadline = time.monotonic() + 30
    while name not in [one.id for one in api.models.list()]:
        assert time.monotonic() < deadline, "the tuned model is not served"
        time.sleep(0.1)
    asked = [{"role": "user", "content": "x3?"}]
    answer = api.chat.completions.create(model=name, messages=asked, temperature=0)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "bbb"
    events = list(api.fine_tuning.jobs.list_events(job.id, limit=10))
    assert any(one.type == "metrics" for one in events)
    assert name in events[0].message or name in events[1].message
    points = list(api.fine_tuning.jobs.checkpoints.list(job.id))
    assert points
    assert points[0].step_number > 0
    assert [one.id for one in api.fine_tuning.jobs.list()] == [job.id]
    (results,) = job.result_files
    assert api.files.retrieve(results).purpose == "fine-tune-results"
    head, *steps = api.files.content(results).text.splitlines()
    assert head == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert float(steps[-1].split(",")[1]) < float(steps[0].split(",")[1])
    with pytest.raises(openai.BadRequestError, match="ziggurat grpo"):
        api.fine_tuning.jobs.create(model="letters", training_file=file.id, method={"type": "reinforcement"})
    with pytest.raises(openai.ConflictError, match="succeeded already"):
        api.fine_tuning.jobs.cancel(job.id)
    assert api.files.delete(file.id).deleted


def test_preferences_tune_by_dpo_after_a_kill_and_wrong_settings_are_refused_at_once(
    tuned_house: openai.OpenAI,
) -> None:
    api = tuned_house
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": question}]},
            "preferred_output": [{"role": "assistant", "content": "bb"}],
            "non_preferred_output": [{"role": "assistant", "content": "ad"}],
        }
        for question in alphabet.QUESTIONS
    ]
    file = api.files.create(file=lines(*rows), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="for dpo training, not for supervised"):
        api.fine_tuning.jobs.create(model="letters", training_file=file.id, method={"type": "supervised"})
    with pytest.raises(openai.BadRequestError, match="n_epochs is 'many'"):
        api.fine_tuning.jobs.create(
            model="letters",
            training_file=file.id,
            hyperparameters={"n_epochs": "many"},  # type: ignore[typeddict-item]
        )
    with pytest.raises(openai.NotFoundError):
        api.fine_tuning.jobs.create(model="nobody", training_file=file.id)
    with pytest.raises(openai.BadRequestError, match="learning_rat"):
        api.fine_tuning.jobs.create(
            model="letters",
            training_file=file.id,
            hyperparameters={"learning_rat": 1},  # type: ignore[typeddict-unknown-key]
        )
    broken = api.files.create(file=lines(rows[0], "{"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="1 bad lines, the first is line 2"):
        api.fine_tuning.jobs.create(model="letters", training_file=broken.id)
    good = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "beta": 0.2, "batch_size": 10}}}
    begun = api.fine_tuning.jobs.create(model="letters", training_file=file.id, method=good)  # type: ignore[arg-type]
    deadline = time.monotonic() + 60
    while not children.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(next(iter(children.RUNNING)), signal.SIGKILL)
    job = ended(api, begun.id)
    told = [one.message for one in api.fine_tuning.jobs.list_events(job.id, limit=50)]
    assert any("killed by signal 9" in one for one in told), told
    assert job.status == "succeeded", job.error
    assert job.method is not None
    assert job.method.type == "dpo"


def test_a_job_that_waits_is_paused_resumed_and_cancelled_at_once(tuned_house: openai.OpenAI) -> None:
    api = tuned_house
    file = api.files.create(file=lines(said("x1?", "a"), said("x2?", "b")), purpose="fine-tune")
    slow = {"n_epochs": 4000}
    jobs = [
        api.fine_tuning.jobs.create(model="letters", training_file=file.id, hyperparameters=slow)  # type: ignore[arg-type]
        for _ in range(2)
    ]
    assert api.fine_tuning.jobs.pause(jobs[1].id).status == "paused"
    with pytest.raises(openai.ConflictError, match="paused already"):
        api.fine_tuning.jobs.pause(jobs[1].id)
    assert api.fine_tuning.jobs.resume(jobs[1].id).status == "queued"
    with pytest.raises(openai.ConflictError, match="only a paused one"):
        api.fine_tuning.jobs.resume(jobs[1].id)
    for job in jobs[::-1]:
        assert api.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert [one.status for one in api.fine_tuning.jobs.list()] == ["cancelled", "cancelled"]
