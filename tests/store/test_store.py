"""One writer, many readers; ids that sort by time; transactions that are all or nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from tests.product.house import a_chat, join

from ziggurat.errors import BusyError
from ziggurat.product import audit, chats, people, titles
from ziggurat.store import store as store_module
from ziggurat.store.clock import from_iso, iso
from ziggurat.store.ids import new_id, uuid7_hex
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import workspaces


def test_ids_are_uuids_of_version_7_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [
            one for part in pool.map(lambda _: [uuid7_hex() for _ in range(5_000)], range(4)) for one in part
        ]
    assert len(set(made)) == 20_000
    alone = [uuid7_hex() for _ in range(10_000)]
    assert alone == sorted(alone)
    assert {(one[12], one[16]) for one in made} <= {("7", variant) for variant in "89ab"}
    assert new_id("chat").startswith("chat_")
    monkeypatch.setattr("time.time_ns", lambda: 0)  # the clock goes back
    assert uuid7_hex() > alone[-1]


def test_times_go_out_and_come_back() -> None:
    assert iso(0) == "1970-01-01T00:00:00.000000Z"
    for text_ in (
        "2026-11-30T14:05:36.123456Z",
        "2026-11-30T15:05:36.123456+01:00",
        "2026-11-30T14:05:36.123456",
    ):
        assert iso(from_iso(text_)) == "2026-11-30T14:05:36.123456Z"


def test_a_write_that_fails_leaves_nothing(store: Store) -> None:
    row = {"id": "ws_x", "name": "x", "settings": {}, "rules_version": 0, "created_at": 0}
    with pytest.raises(ZeroDivisionError), store.write() as conn:
        conn.execute(insert(workspaces).values(row))
        raise ZeroDivisionError
    with store.read() as conn:
        assert conn.execute(select(func.count()).select_from(workspaces)).scalar_one() == 0


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(DBAPIError), store.read() as conn:
        conn.execute(text("DELETE FROM workspace"))


def test_a_reader_sees_one_moment(store: Store) -> None:
    ana = join(store)
    with store.read() as conn:
        before = conn.execute(text("SELECT count(*) FROM chat")).scalar_one()
        thread = threading.Thread(target=lambda: chats.create_chat(store, ana))
        thread.start()
        thread.join()
        assert conn.execute(text("SELECT count(*) FROM chat")).scalar_one() == before
    assert len(chats.list_chats(store, ana).data) == 1


def test_a_write_inside_a_write_is_a_mistake_that_shows(store: Store) -> None:
    with pytest.raises(AssertionError, match="a write inside a write"), store.write(), store.write():
        pass
    join(store)


def test_many_threads_write_one_after_the_other(store: Store) -> None:
    """Two processes too: a second store over the same database."""
    ana = join(store, "owner")
    other = Store(store.url)
    try:

        def work(number: int) -> None:
            here = (store, other)[number % 2]
            for _ in range(5):
                a_chat(here, people.local_principal(here), ("q", "a"))

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
    finally:
        other.close()
    assert len(chats.list_chats(store, ana).data) == 30


def test_the_audit_chain_holds_when_two_processes_write(store: Store) -> None:
    owner = join(store, "owner")
    other = Store(store.url)
    try:

        def work(number: int) -> None:
            from ziggurat.product import rules

            here = (store, other)[number % 2]
            for i in range(5):
                rule = {"kind": "words", "name": f"r {number} {i}", "words": ["x"], "action": "log"}
                rules.create_rule(here, owner, rule)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    finally:
        other.close()
    assert audit.verify(store) is None
    assert len(audit.list_events(store, owner).data) == 20


def test_a_write_that_waits_too_long_is_a_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store_module, "WAIT_S", 0.2 if store.kind == "sqlite" else 1)
    other = Store(store.url)
    try:
        with store.write(), pytest.raises(BusyError, match="busy"), other.write():
            pass
    finally:
        other.close()


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (
            "Please explain how tides work, and why there are two of them a day.",
            "Please explain how tides work, and…",
        ),
        ("请解释一下潮汐是怎么形成的？为什么一天有两次？", "请解释一下潮汐是怎么形成的？"),
        ("写一首关于运河、船夫和清晨的雾气的很长很长的诗", "写一首关于运河、船夫和清晨的雾气…"),
        ("Hi", "Hi"),
        ("## Heading\nbody", "Heading"),
        ("```python\nx = 1\n```\nWhat does it do?", "What does it do?"),
        ("```\nonly code\n```", "only code"),
        ("   \n ??? \n", ""),
        ("x" * 200, "x" * 48 + "…"),
        ("One. Two. Three.", "One."),
    ],
)
def test_a_title_is_the_first_words(said: str, title: str) -> None:
    assert titles.short_title(said) == title
