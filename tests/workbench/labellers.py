"""Projects with items and people in them, for tests of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.product.house import join

from ziggurat.product.objects import Role
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import answering, items, projects, queue
from ziggurat.workbench.labelling.objects import Submitted, Task

PLAIN = {"overlap_pct": 0, "gold_pct": 0, "shuffle": False}
"""Settings without chance."""


def a_project(
    store: Store, lead: Principal, task: str = "ranking", *, questions: Any = None, **settings: Any
) -> str:
    made = projects.create_project(
        store, lead, name=f"a {task}", task=task, questions=questions or {}, settings={**PLAIN, **settings}
    )
    return made.id


def an_entry(n: int = 0, k: int = 2, **more: Any) -> dict[str, Any]:
    """An item of `k` completions."""
    return {
        "messages": [{"role": "user", "content": f"question {n}"}],
        "completions": [{"content": f"answer {n}.{i}", "model": f"model-{i}"} for i in range(k)],
        **more,
    }


def add(store: Store, lead: Principal, project_id: str, *entries: Mapping[str, Any]) -> list[str]:
    report = items.add_items(store, lead, project_id, list(entries))
    assert report["refused"] == []
    assert report["duplicates"] == 0
    return list(report["added"])


def people(store: Store, count: int, role: Role = "labeller") -> list[Principal]:
    return [join(store, role, name=f"{role} {n}") for n in range(count)]


def take(store: Store, who: Principal, project_id: str) -> Task:
    found = queue.next_item(store, who, project_id)
    assert found["task"] is not None, found["reason"]
    task: Task = found["task"]
    return task


def why_none(store: Store, who: Principal, project_id: str, **more: Any) -> str:
    found = queue.next_item(store, who, project_id, **more)
    assert found["task"] is None
    return str(found["reason"])


def ranks(task: Task, *order: int) -> dict[str, Any]:
    """A ranking that gives the completions of the screen these ranks."""
    return {"ranks": dict(zip(task.shown, order or range(1, len(task.shown) + 1), strict=True))}


def rank(store: Store, who: Principal, task: Task, *order: int, seconds: float | None = 10) -> Submitted:
    return answering.submit(store, who, task.item_id, ranks(task, *order), seconds=seconds)
