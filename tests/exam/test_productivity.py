"""Time and quality with and without a draft, from answers of a labelling project and from reviewed drafts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.product.house import join
from tests.stores import Clock
from tests.workbench import labellers
from tests.workbench.reviewing import decide, drafted, house

from ziggurat.exam.productivity import productivity
from ziggurat.product.errors import Forbidden
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers
from ziggurat.workbench.review import claims


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store.open(tmp_path / "ziggurat.db", clock=clock)
    opened.durable = opened.quick = "OFF"
    yield opened
    opened.close()


def test_a_project_with_drafts_and_without(store: Store) -> None:
    """Means of 27 and 17 minutes: 58.8 % more in the same time; qualities 0.7 and 0.9."""
    lead = join(store, "owner")
    project = labellers.a_project(store, lead)
    labellers.add(store, lead, project, *(labellers.an_entry(n) for n in range(10)))
    who = labellers.people(store, 3)
    for n, minutes in enumerate((25, 26, 27, 28, 29, 15, 16, 17, 18, 19)):
        task = labellers.take(store, who[n % 3], project)
        labellers.rank(store, who[n % 3], task, seconds=60 * minutes)
    helped = answers.c.seconds < 60 * 20
    with store.write() as conn:
        conn.execute(update(answers).values(score=0.7))
        conn.execute(update(answers).where(helped).values(suggested=True, score=0.9))
    (one,) = productivity(store, lead).comparisons
    assert (one.key, one.alone.people) == (project, 3)
    assert (one.kind, one.name, one.alone.n, one.helped.n) == ("labelling", "a ranking", 5, 5)
    assert (one.alone.seconds, one.helped.seconds) == (1620, 1020)
    assert one.gain == pytest.approx(27 / 17 - 1)
    assert (one.alone.quality, one.helped.quality) == (pytest.approx(0.7), pytest.approx(0.9))
    assert one.alone.low is not None
    assert one.alone.high is not None
    assert one.alone.low < 1620 < one.alone.high


def test_reviewed_drafts_and_their_stages(store: Store, clock: Clock) -> None:
    """Two drafts of one reviewer, whose time is not shown: each waits 200 s for an expert, who takes 400 s; an approved
    one leaves at once. The clock runs on a little between the steps."""
    lead, reviewer, _, customer = house(store)
    for _ in range(2):
        item, *_ = drafted(store, customer)
        clock.move(seconds=200)
        claims.claim(store, reviewer, item)
        clock.move(seconds=400)
        decide(store, reviewer, item, "approve", claim=False)
    found = productivity(store, lead)
    (one,) = found.comparisons
    assert (one.kind, one.helped.n, one.alone.n, one.gain) == ("review", 2, 0, None)
    assert (one.helped.seconds, one.helped.quality, one.helped.graded) == (None, None, 2)
    assert found.documents == 2
    assert [stage.name for stage in found.stages] == ["wait", "work", "send"]
    assert [stage.share for stage in found.stages] == pytest.approx([1 / 3, 2 / 3, 0.0], abs=0.06)


def test_a_member_may_not_read_it(store: Store) -> None:
    with pytest.raises(Forbidden):
        productivity(store, join(store, "member"))
