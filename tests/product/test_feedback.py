"""Feedback of programs: about an answer or an episode, of a declared metric, once, superseded, weeks later."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from sqlalchemy import select
from tests.product.house import join
from tests.stores import Clock

from ziggurat.product import deletion, export, feedback, inferences, metrics, retention, workspaces
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.inferences import Answered
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import inferences as answers


def answered(store: Store, who: Principal, name: str = "chatcmpl-1", **more: object) -> str:
    given = {
        "id": name,
        "principal": who,
        "kind": "chat.completion",
        "model": "town/sft-1",
        "prompt": [{"role": "user", "content": "Where is the canal?"}],
        "answer": ["In the north."],
        "hashes": {"weights": "abc"},
        **more,
    }
    assert inferences.keep(store, [Answered(**given)]) == 1  # type: ignore[arg-type]
    return name


def rows(store: Store, kind: str) -> list[object]:
    with store.read() as conn:
        return list(
            conn.execute(select(judgements).where(judgements.c.kind == kind).order_by(judgements.c.id))
        )


@pytest.fixture
def owner(store: Store) -> Principal:
    return join(store, "owner")


@pytest.fixture
def dev(store: Store, owner: Principal) -> Principal:
    who = join(store, "developer", workspace_id=owner.workspace_id)
    metrics.declare(store, who, name="solved", type="boolean", optimize="max", level="inference")
    metrics.declare(store, who, name="minutes", type="float", optimize="min", level="episode")
    return who


def test_a_metric_is_declared_once_and_stays_what_it_is(store: Store, dev: Principal) -> None:
    again = metrics.declare(store, dev, name="solved", type="boolean", optimize="max", level="inference")
    assert [one.name for one in metrics.listed(store, dev)] == ["minutes", "solved"]
    assert again.optimize == "max"
    with pytest.raises(Conflict, match="different"):
        metrics.declare(store, dev, name="solved", type="float", optimize="max", level="inference")
    for wrong in ("comment", "", "2nd", "a b"):
        with pytest.raises(Invalid, match="name"):
            metrics.declare(store, dev, name=wrong, type="float", optimize="max", level="inference")
    member = join(store, "member", workspace_id=dev.workspace_id)
    with pytest.raises(Forbidden):
        metrics.declare(store, member, name="mine", type="float", optimize="max", level="inference")


def test_a_value_is_a_judgement_and_a_later_one_takes_its_place(
    store: Store, dev: Principal, clock: Clock
) -> None:
    name = answered(store, dev)
    clock.move(days=30)
    first = feedback.give(store, dev, name="solved", value=True, inference_id=name)
    same = feedback.give(store, dev, name="solved", value=True, inference_id=name)
    assert (same.feedback_id, same.repeated) == (first.feedback_id, True)
    feedback.give(store, dev, name="solved", value=False, inference_id=name)
    back = feedback.give(store, dev, name="solved", value=True, inference_id=name)
    assert back.feedback_id != first.feedback_id, "true again after false is a change"
    found = rows(store, "metric")
    assert [one.value for one in found] == [  # type: ignore[attr-defined]
        {"metric": "solved", "value": value} for value in (True, False, True)
    ]
    assert [one.superseded_by is None for one in found] == [False, False, True]  # type: ignore[attr-defined]
    report = metrics.report(store, dev, "solved")
    assert (report.all.n, report.all.value) == (1, 1.0)
    assert list(report.by_release) == ["town/sft-1"]


def test_metrics_of_one_answer_stand_side_by_side_and_comments_add_up(store: Store, dev: Principal) -> None:
    name = answered(store, dev)
    metrics.declare(store, dev, name="stars", type="float", optimize="max", level="inference")
    feedback.give(store, dev, name="solved", value=True, inference_id=name)
    feedback.give(store, dev, name="stars", value=4, inference_id=name)
    for text in ("Good.", "Too long.", "Good."):
        feedback.give(store, dev, name="comment", value=text, inference_id=name)
    assert len(rows(store, "metric")) == 2
    assert [one.value for one in rows(store, "comment")] == [  # type: ignore[attr-defined]
        {"comment": "Good."},
        {"comment": "Too long."},
    ]


@pytest.mark.parametrize(
    ("name", "value", "where", "error", "said"),
    [
        ("solved", 1, "inference_id", Invalid, "true or false"),
        ("minutes", True, "episode_id", Invalid, "takes a number"),
        ("minutes", float("nan"), "episode_id", Invalid, "takes a number"),
        ("minutes", 10**400, "episode_id", Invalid, "takes a number"),
        ("minutes", 3.0, "inference_id", Invalid, "declared for an episode"),
        ("demonstration", "x", "episode_id", Invalid, "about one answer"),
        ("demonstration", [{"role": "user", "content": "x"}], "inference_id", Invalid, "messages with role"),
        ("comment", 3, "inference_id", Invalid, "must be a text"),
        ("unheard", 3, "inference_id", NotFound, "declare it first"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    store: Store, dev: Principal, name: str, value: object, where: str, error: type[Exception], said: str
) -> None:
    answered(store, dev, episode="ticket-7")
    subject = {"inference_id": "chatcmpl-1", "episode_id": "ticket-7"}[where]
    with pytest.raises(error, match=said):
        feedback.give(store, dev, name=name, value=value, **{where: subject})  # type: ignore[arg-type]
    assert rows(store, "metric") == []


def test_an_idempotency_key_stands_for_its_first_content(store: Store, dev: Principal) -> None:
    name = answered(store, dev)
    first = feedback.give(store, dev, name="solved", value=True, inference_id=name, once="k1")
    feedback.give(store, dev, name="solved", value=False, inference_id=name, once="k2")
    late = feedback.give(store, dev, name="solved", value=True, inference_id=name, once="k1")
    assert (late.feedback_id, late.repeated) == (first.feedback_id, True)
    assert metrics.report(store, dev, "solved").all.value == 0.0, "a repeated request changes nothing"
    with pytest.raises(Conflict, match="Idempotency-Key"):
        feedback.give(store, dev, name="solved", value=False, inference_id=name, once="k1")


def test_an_episode_has_its_own_metrics(store: Store, dev: Principal) -> None:
    answered(store, dev, "chatcmpl-1", episode="ticket-7")
    answered(store, dev, "chatcmpl-2", episode="ticket-7", release="rel-2")
    answered(store, dev, "chatcmpl-3", episode="ticket-8")
    feedback.give(store, dev, name="minutes", value=4, episode_id="ticket-7")
    feedback.give(store, dev, name="minutes", value=8, episode_id="ticket-8")
    report = metrics.report(store, dev, "minutes")
    assert (report.all.n, report.all.value) == (2, 6.0)
    # by hand: mean 6, s = sqrt(8), t(1) = 12.706, so half = 12.706 * sqrt(8) / sqrt(2) = 25.412
    assert report.all.high == pytest.approx(31.412)
    assert {key: one.value for key, one in report.by_release.items()} == {"several": 4.0, "town/sft-1": 8.0}
    (first, _) = rows(store, "metric")
    assert [one["id"] for one in first.completions] == ["chatcmpl-1", "chatcmpl-2"]  # type: ignore[attr-defined]


def test_texts_are_kept_only_as_the_setting_says(store: Store, owner: Principal, dev: Principal) -> None:
    for setting, asked, kept in (
        ("ids", True, False),
        ("asked", False, False),
        ("asked", True, True),
        ("all", False, True),
    ):
        workspaces.change_settings(store, owner, {"api_answers": setting})
        name = answered(store, dev, f"chatcmpl-{setting}-{asked}", asked_to_keep=asked)
        feedback.give(store, dev, name="demonstration", value="In the south.", inference_id=name)
        with store.read() as conn:
            row = conn.execute(select(answers).where(answers.c.id == name)).one()
        assert (row.prompt is not None, row.answer == ["In the north."]) == (kept, kept)
        assert len(row.prompt_hash) == 64
        last = rows(store, "demonstration")[-1]
        assert (last.data_use, bool(last.prompt)) == (kept, kept)  # type: ignore[attr-defined]
        assert last.value == {"messages": [{"role": "assistant", "content": "In the south."}]}  # type: ignore[attr-defined]


def test_a_request_id_finds_its_answer_if_it_is_the_only_one(store: Store, dev: Principal) -> None:
    answered(store, dev, "chatcmpl-1", request_id="req_1")
    feedback.give(store, dev, name="solved", value=True, inference_id="req_1")
    answered(store, dev, "chatcmpl-2", request_id="req_1")
    with pytest.raises(Conflict, match="several answers"):
        feedback.give(store, dev, name="solved", value=True, inference_id="req_1")


def test_the_answers_of_others_are_unknown_but_to_developers(store: Store, dev: Principal) -> None:
    member = join(store, "member", workspace_id=dev.workspace_id)
    other = join(store, "member", workspace_id=dev.workspace_id)
    name = answered(store, member, episode="mine")
    for subject in ({"inference_id": name}, {"episode_id": "mine"}, {"inference_id": "chatcmpl-none"}):
        with pytest.raises(NotFound):
            feedback.give(store, other, name="comment", value="x", **subject)
    assert not feedback.give(store, dev, name="comment", value="x", inference_id=name).repeated
    assert not feedback.give(store, member, name="comment", value="x", inference_id=name).repeated


def test_old_answers_go_with_what_was_said_about_them(store: Store, dev: Principal, clock: Clock) -> None:
    answered(store, dev, "chatcmpl-old")
    feedback.give(store, dev, name="solved", value=True, inference_id="chatcmpl-old")
    clock.move(days=300)
    answered(store, dev, "chatcmpl-new")
    clock.move(days=101)
    assert retention.run(store, dry_run=True).answers == 1
    assert retention.run(store).answers == 1
    assert rows(store, "metric") == []
    with store.read() as conn:
        assert list(conn.execute(select(answers.c.id)).scalars()) == ["chatcmpl-new"]


def test_what_was_said_about_an_episode_goes_with_its_answers(
    store: Store, dev: Principal, clock: Clock
) -> None:
    member = join(store, "member", workspace_id=dev.workspace_id)
    for name, who in (("chatcmpl-1", member), ("chatcmpl-2", member), ("chatcmpl-3", dev)):
        answered(store, who, name, episode=f"ticket of {who.role}")
    for who in (member, dev):
        feedback.give(store, dev, name="minutes", value=4, episode_id=f"ticket of {who.role}")
    deletion.delete_account(store, Principal(member.workspace_id, member.person_id, "member", via="local"))
    (left,) = rows(store, "metric")
    assert [one["id"] for one in left.completions] == ["chatcmpl-3"]  # type: ignore[attr-defined]
    clock.move(days=401)
    assert retention.run(store).answers == 1
    assert rows(store, "metric") == []


def test_a_name_of_an_episode_that_cannot_be_kept_is_none(store: Store, dev: Principal) -> None:
    """Answers are kept many at once: what one client sends must not lose the answers of others."""
    given = {"principal": dev, "kind": "chat.completion", "model": "m", "prompt": [], "answer": []}
    names = ["x" * 201, "   ", " a  b ", "y" * 100]
    many = [Answered(id=f"chatcmpl-{n}", episode=name, **given) for n, name in enumerate(names)]  # type: ignore[arg-type]
    assert inferences.keep(store, many) == 4
    with store.read() as conn:
        kept = conn.execute(select(answers.c.episode_id).order_by(answers.c.id)).scalars().all()
    assert [one is None for one in kept] == [True, True, False, False]
    for name in (" a  b ", "a b", "y" * 100):
        feedback.give(store, dev, name="minutes", value=1, episode_id=name)
    with pytest.raises(NotFound):
        feedback.give(store, dev, name="minutes", value=1, episode_id="x" * 201)


def test_an_account_takes_its_answers_along_and_its_archive_has_them(store: Store, dev: Principal) -> None:
    member = join(store, "member", workspace_id=dev.workspace_id)
    name = answered(store, member)
    feedback.give(store, dev, name="solved", value=True, inference_id=name)
    archive = io.BytesIO()
    export.export_me(store, member, archive)
    with zipfile.ZipFile(archive) as opened:
        assert [one["id"] for one in json.loads(opened.read("answers.json"))] == [name]
    deletion.delete_account(store, Principal(member.workspace_id, member.person_id, "member", via="local"))
    assert rows(store, "metric") == [], "what a colleague said about the answer goes with it"
