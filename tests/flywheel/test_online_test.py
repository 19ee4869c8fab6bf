"""An online test over real rows: harm stops it, a horizon ends it with a proposal; and what people say is counted."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select
from tests.product.house import join

from ziggurat.flywheel.measures import measures
from ziggurat.flywheel.release import channel as channels_
from ziggurat.flywheel.release import folders, online
from ziggurat.flywheel.release.split import takes_canary
from ziggurat.product import chats, feedback, generations, judgements, metrics, turns
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import inferences
from ziggurat.store.tables.releases import channel_events, channels, gates, releases


@pytest.fixture
def two(quick_store: Store, ana: Principal, monkeypatch: pytest.MonkeyPatch) -> Store:
    """`old` serves on the channel, `new` is another release; neither has weights here."""
    monkeypatch.setattr(folders, "check", lambda _: None)
    now = quick_store.now()
    with quick_store.write() as conn:
        compared = {
            "id": "gate_new",
            "workspace_id": ana.workspace_id,
            "candidate": "new",
            "weights": "new",
            "against_id": "release_old",
            "policy": {},
            "state": "done",
            "created_at": now,
        }
        conn.execute(insert(gates).values(**compared))
        for name in ("old", "new"):
            row = {
                "id": f"release_{name}",
                "gate_id": f"gate_{name}",
                "workspace_id": ana.workspace_id,
                "name": name,
                "model": name,
                "weights": name,
            }
            conn.execute(
                insert(releases).values(
                    **row, datasets=[], files="0" * 64, code="1", scores={}, note="", created_at=now
                )
            )
        row = {
            "id": "channel_1",
            "workspace_id": ana.workspace_id,
            "name": "assistant",
            "release_id": "release_old",
        }
        conn.execute(insert(channels).values(**row, canary_share=0.0, version=1, updated_at=now))
    return quick_store


def asks(store: Store, who: Principal, name: str, thumb: int | None) -> None:
    """One question, an answer of this release, and a thumb."""
    chat = chats.create_chat(store, who)
    turn = turns.begin_turn(
        store, who, chat.id, parent_id=None, text="Where does Ana live?", model="assistant"
    )
    assert turn.generation_id is not None
    done = generations.finish(
        store, turn.generation_id, finish_reason="stop", content="By the canal.", hashes={"release": name}
    )
    if thumb is not None:
        judgements.judge(store, who, chat.id, done.id, value=thumb)


def people_ask(store: Store, ana: Principal, count: int, likes: dict[str, int]) -> None:
    for _ in range(count):
        who = join(store, "member", workspace_id=ana.workspace_id)
        name = "new" if takes_canary(who.person_id, "release_new", 0.5) else "old"
        asks(store, who, name, likes[name])


def test_a_test_that_does_harm_is_stopped_and_the_canary_leaves(two: Store, ana: Principal) -> None:
    test = online.start(two, ana, "new", horizon=400)
    assert channels_.channel(two, ana.workspace_id).canary_id == "release_new"  # type: ignore[union-attr]
    assert online.look(two) == []
    people_ask(two, ana, 24, {"new": -1, "old": 1})
    (ended,) = online.look(two)
    assert (ended.id, ended.state, ended.winner) == (test.id, "stopped", "control")
    assert str(ended.sentence).startswith("Stopped for harm: ")
    assert channels_.channel(two, ana.workspace_id).canary_id is None  # type: ignore[union-attr]
    with two.read() as conn:
        last = conn.execute(select(channel_events).order_by(channel_events.c.id.desc())).first()
    assert last is not None
    assert (last.action, last.from_id, last.to_id) == ("rollback", "release_new", "release_old")
    assert last.note == f"The online test {test.name} ended."
    found = measures(two, ana.workspace_id)
    by = {one["release"]: one["satisfaction"]["value"] for one in found["by_release"]}
    assert by == {"new": 0.0, "old": 1.0}
    assert found["thumbs"]["up"] + found["thumbs"]["down"] == 24
    assert found["not_understood"]["value"] == pytest.approx(100 * found["thumbs"]["down"] / 24)


def test_at_the_horizon_a_winner_is_proposed_and_nothing_is_promoted(two: Store, ana: Principal) -> None:
    online.start(two, ana, "new", horizon=16, alpha=0.001)
    people_ask(two, ana, 16, {"new": 1, "old": -1})
    (ended,) = online.look(two)
    assert (ended.state, ended.winner) == ("finished", "treatment")
    assert "promote the treatment" in str(ended.sentence)
    assert channels_.channel(two, ana.workspace_id).release_id == "release_old"  # type: ignore[union-attr]


def test_answers_and_metrics_of_programs_count_as_those_of_the_chat(two: Store, ana: Principal) -> None:
    """Whoever asks over the API was left out of the test: a bad release harmed them unseen."""
    test = online.start(two, ana, "new", horizon=400)
    metrics.declare(two, ana, name="solved", type="boolean", optimize="max", level="inference")
    now = two.now()
    for i in range(24):
        who = join(two, "developer", workspace_id=ana.workspace_id)
        treated = takes_canary(who.person_id, "release_new", 0.5)
        row = {
            "id": f"chatcmpl-{i}",
            "workspace_id": ana.workspace_id,
            "person_id": who.person_id,
            "kind": "chat.completion",
            "model": "assistant",
            "release": "new" if treated else "old",
        }
        kept = {"hashes": {}, "prompt_hash": "p", "answer_hash": "a", "sampling": {}, "created_at": now}
        with two.write() as conn:
            conn.execute(insert(inferences).values(**row, **kept))
        feedback.give(two, who, name="solved", value=not treated, inference_id=row["id"])
    (ended,) = online.look(two)
    assert (ended.id, ended.state, ended.winner) == (test.id, "stopped", "control")
    assert ended.result is not None
    assert sum(side["answers"] for side in ended.result["sides"].values()) == 24
