"""Random people, crashes at any statement and jumps of the clock: nothing undecided is ever delivered.

A step is an act of somebody. Before it a crash may be planned: the n-th statement of its transaction raises, as a power
cut would end it. After each step the whole store is looked at from outside: what a customer can read, and what the
tables say. Every draft has a text of its own, so that it is known wherever it turns up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, update
from sqlalchemy.exc import DBAPIError
from tests.product.house import join
from tests.stores import Clock, Databases
from tests.workbench.reviewing import came_in, decide, drafted, house, row, seen, set_mode

from ziggurat.product import chats, export, generations, messages, search, turns
from ziggurat.product.errors import ProductError
from ziggurat.store import audit
from ziggurat.store.store import Store
from ziggurat.store.tables import reviews as tables
from ziggurat.store.tables.chats import messages as message_table
from ziggurat.workbench.review import claims, customer, deadlines, deciding, inbox, metrics, policies
from ziggurat.workbench.review.deciding import Choice


class Crash(RuntimeError):
    """The power is cut."""


@contextlib.contextmanager
def crashing(store: Store, after: int | None) -> Iterator[None]:
    """The statement number `after` of what is written meanwhile does not come to pass, and nothing after it."""
    left = after

    def count(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        nonlocal left
        if left is None or statement.startswith(("PRAGMA", "SELECT", "SET", "BEGIN")):
            return
        left -= 1
        if left < 0:
            raise Crash

    event.listen(store._writer, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(store._writer, "before_cursor_execute", count)


ACTS = (
    *("ask", "ask", "again", "claim", "claim", "approve", "edit", "answer", "reject", "decline", "escalate"),
    *("redraft", "release", "take", "cancel", "complain", "reopen", "recall", "tick", "policy", "look"),
)
STEP = st.tuples(
    st.sampled_from(ACTS),
    st.integers(0, 5),  # who
    st.integers(0, 5),  # about what
    st.sampled_from([None, None, None, 0, 1, 2, 3, 4, 5, 6, 8, 10]),  # crashes at this statement
    st.sampled_from([0, 0, 0, 1, 100, 601, 4_000, 100_000, -50, -5_000]),  # the clock, in seconds
)


class World:
    def __init__(self, store: Store, clock: Clock, *, four_eyes: bool, mode: str) -> None:
        self.store, self.clock = store, clock
        self.lead, self.ana, self.ben, self.cal = house(store, mode)
        self.experts = [self.lead, self.ana, self.ben, join(store, "reviewer", name="Eve")]
        self.customers = [self.cal, join(store, "member", name="Dot")]
        self.policy = policies.create_policy(store, self.lead, {"four_eyes": four_eyes, "sample_pct": 50})
        self.touched: tuple[Any, str] | None = None
        self.drafts, self.random = 0, random.Random(7)

    def items(self) -> list[Any]:
        with self.store.read() as conn:
            return list(conn.execute(select(tables.items).order_by(tables.items.c.id)).all())

    def draft(self) -> str:
        self.drafts += 1
        return f"DRAFT{self.drafts:04d}"

    def step(self, act: str, who: int, what: int) -> None:
        items = self.items()
        item = items[-1 - what % min(len(items), 4)] if items else None
        expert = self.experts[who % len(self.experts)]
        asker = self.customers[who % len(self.customers)]
        if act == "ask":
            chat_id = chats.create_chat(self.store, asker).id
            self.touched = (asker, chat_id)
            turn = turns.begin_turn(self.store, asker, chat_id, text="Where?", parent_id=None, model="tiny")
            self._comes_in(asker, chat_id, turn)
        elif act == "tick":
            deadlines.tick(self.store)
            generations.reap(self.store, older_than_s=0)
        elif act == "policy":
            with self.store.write() as conn:
                mode = self.random.choice(["all", "sampled", "auto"])
                conn.execute(update(tables.policies).values(mode=mode, enabled=self.random.random() < 0.8))
        elif item is not None:
            self._about(act, expert, item)

    def _comes_in(self, asker: Any, chat_id: str, turn: Any) -> None:
        came_in(
            self.store,
            asker,
            chat_id,
            turn,
            "Where?",
            self.draft(),
            chance=self.random.random,
        )

    def _about(self, act: str, expert: Any, item: Any) -> None:
        store, owner = self.store, next(one for one in self.customers if one.person_id == item.person_id)
        self.touched = (owner, item.chat_id)
        if act == "again":
            turn = turns.regenerate(store, owner, item.chat_id, item.message_id, model="tiny")
            self._comes_in(owner, item.chat_id, turn)
        elif act == "claim":
            claims.claim(store, expert, item.id)
        elif act == "release":
            claims.release(store, expert, item.id)
        elif act == "take":
            claims.take_over(store, expert, item.id)
        elif act == "reopen":
            claims.reopen(store, expert, item.id)
        elif act == "look":
            claims.look(store, expert, item.id, active=True)
        elif act == "cancel":
            customer.cancel(store, owner, item.chat_id, item.message_id)
        elif act == "complain":
            customer.complain(store, owner, item.chat_id, item.message_id, "Wrong.")
        elif act == "redraft":
            deciding.begin_draft(store, expert, item.id)
            deciding.end_draft(store, expert, item.id, self.draft(), instruction="Again.")
        else:
            self._decide(act, expert, item)

    def _decide(self, act: str, expert: Any, item: Any) -> None:
        more: dict[str, Any] = {
            "approve": {},
            "edit": {"text": self.draft(), "reasons": ["fact"], "note": "n"},
            "answer": {"text": self.draft(), "reasons": ["fact"], "note": "n"},
            "recall": {"text": "withdrawn", "reasons": ["fact"], "note": "n"},
            "decline": {"template": "cannot", "reasons": ["policy"], "note": "n"},
            "reject": {"then": self.random.choice(["regenerate", "withhold"]), "reasons": ["tone"]},
            "escalate": {"note": "look"},
        }[act]
        if self.random.random() < 0.7:
            claims.claim(self.store, expert, item.id)
            item = row(self.store, item.id)
        choice = Choice(decision=act, version=item.version, **more)
        deciding.decide(self.store, expert, item.id, choice, chance=self.random.random)

    # --- from outside ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        sent = self._sent()
        if self.touched is not None:
            for word in self._readable(*self.touched):
                assert word in sent, f"{word} was shown and nobody had decided"
        self._check_tables()

    def _readable(self, one: Any, chat_id: str) -> set[str]:
        """All drafts' texts that a customer can get at in a chat."""
        with self.store.read() as conn:
            document = export.chat_document(conn, chats.own_chat(conn, one, chat_id))
        parts = [
            json.dumps(document),
            chats.open_chat(self.store, one, chat_id).model_dump_json(),
            messages.tree(self.store, one, chat_id).model_dump_json(),
            *(status.model_dump_json() for status in customer.statuses(self.store, one, chat_id)),
            *(hit.model_dump_json() for hit in search.search(self.store, one, "DRAFT")),
        ]
        return set(re.findall(r"DRAFT\d{4}", " ".join(parts)))

    def _sent(self) -> set[str]:
        t = tables
        with self.store.read() as conn:
            found: set[str] = set()
            for table in (t.deliveries, t.corrections):
                rows = conn.execute(
                    select(t.versions.c.text).join(table, table.c.version_id == t.versions.c.id)
                )
                found |= set(rows.scalars())
        return found

    def _check_tables(self) -> None:
        t = tables
        with self.store.read() as conn:
            items = {r.id: r for r in conn.execute(select(t.items)).all()}
            versions = {r.id: r for r in conn.execute(select(t.versions)).all()}
            decisions = {r.id: r for r in conn.execute(select(t.decisions)).all()}
            deliveries = conn.execute(select(t.deliveries)).all()
            corrections = conn.execute(select(t.corrections)).all()
            open_claims = (
                conn.execute(select(t.claims.c.item_id).where(t.claims.c.ended_at.is_(None))).scalars().all()
            )
            shown = {r.id: r for r in conn.execute(select(message_table)).all()}
        assert len(open_claims) == len(set(open_claims)), "two hold one item"
        assert len({one.item_id for one in deliveries}) == len(deliveries), "delivered twice"
        for one in [*deliveries, *corrections]:
            said, version = decisions[one.decision_id], versions[one.version_id]
            assert (said.item_id, said.version_id, said.hash) == (one.item_id, one.version_id, one.hash)
            assert hashlib.sha256(version.text.encode()).hexdigest() == one.hash
            if items[one.item_id].four_eyes and version.author_kind != "template":
                people = {
                    d.person_id
                    for d in decisions.values()
                    if d.version_id == version.id and d.decided_by == "person"
                } | ({version.author_id} if version.author_kind == "person" else set())
                assert len(people) >= 2, "one pair of eyes"
        delivered = {one.item_id for one in deliveries}
        for item in items.values():
            if item.state == "delivered":
                assert item.id in delivered
            if item.state in ("withheld", "cancelled", "superseded", "expired"):
                assert item.id not in delivered
                assert shown[item.message_id].content == ""
            if item.id not in delivered:
                assert shown[item.message_id].content == ""


def play(store: Store, clock: Clock, steps: list[Any], *, four_eyes: bool, mode: str) -> World:
    world = World(store, clock, four_eyes=four_eyes, mode=mode)
    for act, who, what, crash, jump in steps:
        clock.move(seconds=jump)
        with contextlib.suppress(ProductError, Crash), crashing(store, crash):
            world.step(act, who, what)
        world.check()
    with store.read() as conn:
        assert audit.broken_at(conn) is None
    return world


QUIET = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a failing example is not made smaller: that takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


A_DAY = [
    ("ask", 0, 0, None, 0),
    ("claim", 1, 0, None, 0),
    ("approve", 1, 0, None, 1),
    ("ask", 1, 0, None, 0),
    ("look", 2, 0, None, 1),
]
"""One answer is approved and delivered, another one waits."""


def examples(databases: Databases) -> int:
    return 20 if databases.kind == "sqlite" else 3


def test_nothing_undecided_is_delivered_whatever_happens(databases: Databases) -> None:
    ends: set[str] = set()
    said: set[str] = set()

    @settings(QUIET, max_examples=examples(databases))
    @given(
        steps=st.lists(STEP, min_size=12, max_size=30),
        four_eyes=st.booleans(),
        mode=st.sampled_from(["all", "policy"]),
    )
    @example(steps=A_DAY, four_eyes=False, mode="all")
    def run(steps: list[Any], four_eyes: bool, mode: str) -> None:
        clock = Clock()
        store = Store.open(databases.fresh(), clock=clock)
        store.durable = store.quick = "OFF"
        try:
            world = play(store, clock, steps, four_eyes=four_eyes, mode=mode)
            ends.update(item.state for item in world.items())
            with store.read() as conn:
                said.update(conn.execute(select(tables.decisions.c.decision)).scalars())
        finally:
            store.close()

    run()
    assert ends >= {"delivered", "queued"}, "the steps got somewhere"
    assert said & {"approve", "edit", "answer"}


@contextlib.contextmanager
def read_only(store: Store) -> Iterator[None]:
    """The database takes no write, as on a full disk or a standby server."""

    def forbid(conn: Any) -> None:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")

    if store.kind == "sqlite":
        store.maintain("PRAGMA query_only=ON")
    else:
        event.listen(store._writer, "begin", forbid)
    try:
        yield
    finally:
        if store.kind == "sqlite":
            store.maintain("PRAGMA query_only=OFF")
        else:
            event.remove(store._writer, "begin", forbid)


def test_a_read_only_database_withholds_everything(store: Store) -> None:
    lead, ana, _, member = house(store)
    waits, chat, message = drafted(store, member)
    claims.claim(store, ana, waits)
    other = chats.create_chat(store, member).id
    turn = turns.begin_turn(store, member, other, text="Where?", parent_id=None, model="tiny")
    version = row(store, waits).version
    with read_only(store):
        with pytest.raises(DBAPIError):
            came_in(store, member, other, turn, "Where?", "SECRET")
        with pytest.raises(DBAPIError):
            deciding.decide(store, ana, waits, Choice(decision="approve", version=version))
        with pytest.raises(DBAPIError):
            deadlines_late(store)
        for where, which in ((chat, message), (other, turn.answer.id)):
            assert seen(store, member, where, which).content == ""
        assert customer.statuses(store, member, chat)[0].state == "checking"
    assert decide(store, ana, waits, "approve", claim=False).state == "delivered"
    set_mode(store, lead, "all")


def deadlines_late(store: Store) -> None:
    """Time goes on, and its step cannot be written."""
    now = store.now
    store.now = lambda: now() + 10**12  # type: ignore[method-assign]
    try:
        deadlines.tick(store)
    finally:
        store.now = now  # type: ignore[method-assign]


def test_a_deadline_that_passes_raises_and_tells_and_releases_nothing(store: Store, clock: Clock) -> None:
    _, _, _, member = house(store)
    item, chat, message = drafted(store, member)
    clock.move(seconds=3 * 3600 + 60)
    assert deadlines.tick(store).warned == 1
    clock.move(seconds=3600)
    assert deadlines.tick(store).breached == 1
    assert deadlines.tick(store).breached == 0, "once"
    assert (row(store, item).state, row(store, item).priority) == ("queued", 2)
    status = customer.statuses(store, member, chat, lang="zh")[0]
    assert status.expected_at is None
    assert str(status.notice).startswith("专家")
    clock.move(days=400)
    deadlines.tick(store)
    assert seen(store, member, chat, message).content == ""


def test_what_nobody_claims_in_time_is_raised_once_and_marked(store: Store, clock: Clock) -> None:
    """An hour to claim and four to decide. Claimed and given back in time is claimed in time."""
    _, ana, ben, member = house(store)
    given_back = drafted(store, member)[0]
    claims.claim(store, ana, given_back)
    claims.release(store, ana, given_back)
    waits = drafted(store, member)[0]
    clock.move(seconds=3599)
    assert deadlines.tick(store).unclaimed == 0
    clock.move(seconds=60)
    assert [deadlines.tick(store).unclaimed for _ in range(2)] == [1, 0]
    listed = [(one.id, one.unclaimed, one.late) for one in inbox.inbox(store, ana).data]
    assert listed == [(waits, True, False), (given_back, False, False)]
    decide(store, ben, waits, "approve")
    assert metrics.metrics(store, ben, days=1)["all"]["in_time"]["value"] == 1.0, "decided in time"
    clock.move(seconds=4 * 3600)
    assert (deadlines.tick(store).unclaimed, row(store, given_back).priority) == (0, 1), (
        "late, and raised as that"
    )
