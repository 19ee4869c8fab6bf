"""Simulated labellers in threads over a moving clock: no slot is ever filled twice, and every item ends with exactly as
many answers as it asks for."""

from __future__ import annotations

import random
import threading
from collections import Counter

from sqlalchemy import select
from tests.product.house import join
from tests.stores import Clock
from tests.workbench.labellers import a_project, add, an_entry, people, ranks

from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, items, leases
from ziggurat.workbench.labelling import answering, queue
from ziggurat.workbench.labelling.objects import Task

ITEMS, PEOPLE, ROUNDS = 12, 5, 60
LEASE_MINUTES = 10


class Labeller(threading.Thread):
    """Takes, answers, skips, forgets, comes back late, gives back: by chance, with a seed of its own."""

    def __init__(self, store: Store, clock: Clock, project: str, who: Principal, seed: int) -> None:
        super().__init__(daemon=True)
        self.store, self.clock, self.project, self.who = store, clock, project, who
        self.chance = random.Random(seed)
        self.trouble: BaseException | None = None
        self.late: list[Task] = []

    def run(self) -> None:
        try:
            for _ in range(ROUNDS):
                if not self.turn():
                    return
        except BaseException as error:
            self.trouble = error

    def turn(self) -> bool:
        found = queue.next_item(self.store, self.who, self.project)
        task, act = found["task"], self.chance.random()
        if task is None:
            return self.finish_late()
        if act < 0.12:
            self.late.append(task)
            self.clock.move(seconds=LEASE_MINUTES * 60 + 1)
        elif act < 0.17:
            answering.give_back(self.store, self.who, [task.item_id])
            self.forget(task)
        elif act < 0.22:
            self.clock.move(seconds=LEASE_MINUTES * 30)
            answering.heartbeat(self.store, self.who, [task.item_id])
        else:
            self.answer(task)
        return True

    def finish_late(self) -> bool:
        if not self.late:
            return False
        self.answer(self.late.pop())
        return True

    def forget(self, task: Task) -> None:
        """The same item may have come again after its lease had ended."""
        self.late = [one for one in self.late if one.item_id != task.item_id]

    def answer(self, task: Task) -> None:
        self.forget(task)
        order = [self.chance.randint(1, len(task.shown)) for _ in task.shown]
        answering.submit(self.store, self.who, task.item_id, ranks(task, *order), seconds=1)


def test_no_slot_is_filled_twice_and_every_item_ends_with_exactly_its_answers(
    store: Store, clock: Clock
) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead, lease_minutes=LEASE_MINUTES, overlap_pct=40, overlap_answers=3)
    add(store, lead, project, *(an_entry(n, k=3) for n in range(ITEMS)))
    crowd = [Labeller(store, clock, project, who, n) for n, who in enumerate(people(store, PEOPLE))]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(timeout=120)
        assert not one.is_alive()
        assert one.trouble is None, one.trouble
    for one in crowd:  # what was forgotten while others waited for it
        one.trouble = None
        clock.move(seconds=LEASE_MINUTES * 60 + 1)
        one.run()
        assert one.trouble is None, one.trouble

    with store.read() as conn:
        rows = conn.execute(select(answers)).all()
        wanted = {row.id: row for row in conn.execute(select(items)).all()}
        left = conn.execute(select(leases)).all()
        kept = conn.execute(select(judgements.c.id, judgements.c.person_id, judgements.c.subject_id)).all()
    counted = [row for row in rows if row.status == "submitted"]
    assert max(Counter((row.item_id, row.slot) for row in counted).values()) == 1
    assert max(Counter((row.item_id, row.person_id) for row in rows).values()) == 1
    for item in wanted.values():
        mine = [row for row in counted if row.item_id == item.id]
        assert item.status in ("completed", "conflicted")  # full; conflicted where people disagree
        assert len(mine) == item.answers == item.min_answers
        assert sorted(row.slot for row in mine) == list(range(item.min_answers))
    assert left == []
    extra = [row for row in rows if row.status == "extra"]
    assert all(row.late and row.slot is None for row in extra)
    assert {row.judgement_id for row in rows} == {row.id for row in kept}, "no work is lost"
