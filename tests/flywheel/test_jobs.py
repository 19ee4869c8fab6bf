"""Jobs in the store: one of a lane at a time, a dead worker's job is taken again, what was cancelled ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError
from tests.product.house import join
from tests.stores import Clock

from ziggurat.errors import RunError
from ziggurat.flywheel.gate import gates
from ziggurat.flywheel.turn import turns
from ziggurat.flywheel.work import jobs, worker
from ziggurat.flywheel.work.worker import Stopped, Work, Worker
from ziggurat.product.errors import Conflict
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import gates as gate_rows
from ziggurat.store.tables.releases import jobs as table
from ziggurat.store.tables.releases import turns as turn_rows

Handle = Callable[[Work], Any]
CALLED: list[Handle] = []


def called(work: Work) -> Any:
    return CALLED[-1](work)


@pytest.fixture
def owner(store: Store) -> Principal:
    return join(store, "owner")


@pytest.fixture(autouse=True)
def handler(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    monkeypatch.setitem(worker.HANDLERS, "test", f"{__name__}:called")
    CALLED.clear()
    return CALLED


def add(store: Store, owner: Principal, lane: str | None = jobs.COMPUTE) -> str:
    with store.write() as conn:
        return jobs.add(conn, store, owner, "test", {"n": 1}, lane=lane)


def test_a_job_runs_once_and_its_result_and_progress_are_kept(
    store: Store, owner: Principal, handler: list[Handle]
) -> None:
    def count(work: Work) -> dict[str, int]:
        work.progress(step=1)
        work.progress(of=2)
        work.say("half of it", share=0.5)
        return {"sum": work.job.payload["n"] + 1}

    handler.append(count)
    job_id = add(store, owner)
    assert Worker(store).once()
    assert not Worker(store).once()
    done = jobs.get(store, owner.workspace_id, job_id)
    assert (done.state, done.result, done.progress) == ("done", {"sum": 2}, {"step": 1, "of": 2})
    assert [one.message for one in jobs.events(store, job_id)] == [
        "The job began.",
        "half of it",
        "The job is done.",
    ]


def test_the_job_of_a_dead_worker_is_taken_again_when_its_lease_ends(
    store: Store, owner: Principal, handler: list[Handle], clock: Clock
) -> None:
    handler.append(lambda work: {"by": work.worker})
    first, second = add(store, owner), add(store, owner)
    assert Worker(store, name="dead")._take() is not None  # and then it is killed
    assert not Worker(store, name="other").once()  # the lane is taken, the second one waits
    clock.move(seconds=worker.LEASE_S + 1)
    assert Worker(store, name="other").once()
    assert jobs.get(store, owner.workspace_id, first).result == {"by": "other"}
    assert jobs.get(store, owner.workspace_id, first).attempts == 2
    assert jobs.get(store, owner.workspace_id, second).state == "queued"


def test_a_worker_that_lost_its_lease_changes_nothing(
    store: Store, owner: Principal, handler: list[Handle], clock: Clock
) -> None:
    job_id = add(store, owner)

    def overtaken(work: Work) -> dict[str, str]:
        clock.move(seconds=worker.LEASE_S + 1)
        handler.append(lambda later: {"by": later.worker})
        assert Worker(store, name="new").once()
        work.beat()
        assert work.stop.is_set()
        return {"by": "old"}

    handler.append(overtaken)
    assert Worker(store, name="old").once()
    assert jobs.get(store, owner.workspace_id, job_id).result == {"by": "new"}


def test_the_schema_refuses_two_running_jobs_of_a_lane(store: Store, owner: Principal) -> None:
    add(store, owner), add(store, owner)
    Worker(store)._take()
    with store.read() as conn:
        row = dict(conn.execute(select(table).where(table.c.state == "running")).one()._mapping)
    with pytest.raises(DBAPIError), store.write() as conn:
        conn.execute(insert(table).values(**{**row, "id": "job_second"}))


def test_a_job_whose_worker_always_dies_fails_at_last(store: Store, owner: Principal, clock: Clock) -> None:
    job_id = add(store, owner)
    for _ in range(worker.ATTEMPTS):
        assert Worker(store)._take() is not None
        clock.move(seconds=worker.LEASE_S + 1)
    assert Worker(store)._take() is None
    failed = jobs.get(store, owner.workspace_id, job_id)
    assert failed.state == "failed"
    assert failed.last_error == "its worker ended 5 times without finishing it."
    assert jobs.again(store, owner, job_id).state == "queued"


def test_errors_are_kept_as_sentences_and_cancelled_jobs_end(
    store: Store, owner: Principal, handler: list[Handle]
) -> None:
    def refuse(work: Work) -> None:
        raise RunError("there is no model.")

    def wait(work: Work) -> None:
        jobs.cancel(store, owner, work.job.id)
        work.beat()
        work.check()

    handler.append(refuse)
    failed, cancelled, waiting = add(store, owner), add(store, owner), add(store, owner)
    assert Worker(store).once()
    handler.append(wait)
    assert Worker(store).once()
    jobs.cancel(store, owner, waiting)
    found = [jobs.get(store, owner.workspace_id, job_id) for job_id in (failed, cancelled, waiting)]
    assert [one.state for one in found] == ["failed", "cancelled", "cancelled"]
    assert found[0].last_error == "there is no model."
    with pytest.raises(Conflict, match="cancelled already"):
        jobs.cancel(store, owner, waiting)


def test_a_worker_that_ends_leaves_its_job_to_the_next(
    store: Store, owner: Principal, handler: list[Handle]
) -> None:
    def interrupted(work: Work) -> None:
        raise KeyboardInterrupt

    def leave(work: Work) -> None:
        raise Stopped

    handler.append(interrupted)
    job_id = add(store, owner)
    worker = Worker(store)
    with pytest.raises(KeyboardInterrupt):
        worker.once()
    handler.append(leave)
    assert worker.once()
    left = jobs.get(store, owner.workspace_id, job_id)
    assert (left.state, left.attempts) == ("queued", 0)
    worker.stop = threading.Event()
    handler.append(lambda work: {})
    running = threading.Thread(target=worker.forever)
    running.start()
    for _ in range(100):
        if jobs.get(store, owner.workspace_id, job_id).state == "done":
            break
        threading.Event().wait(0.05)
    worker.stop.set()
    running.join(5)
    assert jobs.get(store, owner.workspace_id, job_id).state == "done"


def a_turn_and_a_gate(store: Store, owner: Principal) -> dict[str, str]:
    """A turn and a gate whose jobs wait; kind to the job's id."""
    jobs_of, now = {}, {"workspace_id": owner.workspace_id, "state": "queued", "created_at": 1}
    with store.write() as conn:
        for kind in ("turn", "gate"):
            jobs_of[kind] = jobs.add(conn, store, owner, kind, {f"{kind}_id": f"{kind}_1"})
        turn = {
            "id": "turn_1",
            "name": "t",
            "dataset": "d",
            "base": "b",
            "recipe": {},
            "job_id": jobs_of["turn"],
        }
        gate = {"id": "gate_1", "candidate": "c", "weights": "w", "policy": {}, "job_id": jobs_of["gate"]}
        conn.execute(insert(turn_rows).values(**turn, **now))
        conn.execute(insert(gate_rows).values(**gate, **now))
    return jobs_of


@pytest.mark.usefixtures("ziggurat_home")
def test_a_turn_and_a_gate_that_are_given_up_fail_with_the_reason(
    store: Store, owner: Principal, clock: Clock
) -> None:
    """They said "running" for ever: only the job failed."""
    a_turn_and_a_gate(store, owner)
    with store.write() as conn:
        for table_ in (turn_rows, gate_rows):
            conn.execute(table_.update().values(state="running"))
    for _ in range(2 * worker.ATTEMPTS):
        assert Worker(store)._take() is not None
        clock.move(seconds=worker.LEASE_S + 1)
    assert Worker(store)._take() is None
    found = [turns.get(store, owner.workspace_id, "t"), gates.get(store, owner.workspace_id, "gate_1")]
    said = "its worker ended 5 times without finishing it."
    assert [(one.state, one.error) for one in found] == [("failed", said)] * 2
    assert all(one.finished_at is not None for one in found)


@pytest.mark.usefixtures("ziggurat_home")
def test_a_gate_is_cancelled_before_it_begins_and_after_its_worker_died(
    store: Store, owner: Principal, clock: Clock
) -> None:
    a_turn_and_a_gate(store, owner)
    assert gates.cancel(store, owner, "gate_1").state == "cancelled"
    with pytest.raises(Conflict, match="cancelled already"):
        gates.cancel(store, owner, "gate_1")
    assert Worker(store)._take() is not None  # the turn's job; its worker dies
    assert turns.cancel(store, owner, "t").state == "queued"  # until whoever works on it looks
    clock.move(seconds=worker.LEASE_S + 1)
    assert Worker(store)._take() is None
    turn = turns.get(store, owner.workspace_id, "t")
    assert (turn.state, turn.error) == ("cancelled", None)
