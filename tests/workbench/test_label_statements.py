"""Lists take as many statements for many rows as for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from tests.product.house import join
from tests.workbench.labellers import a_project, add, an_entry

from ziggurat.store.store import Store
from ziggurat.workbench.labelling import guidelines, hooks


@contextmanager
def counted() -> Iterator[list[str]]:
    said: list[str] = []

    def hear(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def statements(act: Callable[[], Any]) -> int:
    with counted() as said:
        act()
    return len(said)


def test_versions_of_guidelines_and_webhooks_are_read_at_once(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)

    def more(n: int) -> None:
        guidelines.write_guidelines(store, lead, project, texts={"en": f"Text {n}"})
        hooks.create_hook(store, lead, url=f"https://{n}.example", events=["record.created"])

    lists: tuple[Callable[[], Any], ...] = (
        lambda: guidelines.guidelines(store, lead, project),
        lambda: hooks.list_hooks(store, lead),
    )
    more(0)
    one = [statements(act) for act in lists]
    for n in range(1, 4):
        more(n)
    assert [statements(act) for act in lists] == one
    guidelines.acknowledge(store, lead, project, 2)
    found = guidelines.guidelines(store, lead, project)
    assert [(row.n, row.acknowledged) for row in found] == [(4, False), (3, False), (2, True), (1, False)]
    add(store, lead, project, *(an_entry(n) for n in range(12)))
    shown = hooks.list_hooks(store, lead)
    assert [len(row["last"]) for row in shown] == [10] * 4
    ids = [row["id"] for row in shown[0]["last"]]
    assert ids == sorted(ids, reverse=True), "the newest first"
