"""The list of held answers: what somebody in a chat waits for comes first, and answers of the API go in time."""

from __future__ import annotations

import pytest
from tests.product.house import join
from tests.stores import Clock

from ziggurat.product import chats, generations, held, retention, turns, workspaces
from ziggurat.product.errors import Invalid
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store

HELD = {"prompt": "q", "text": "the answer", "rule_id": None, "stage": "after"}


@pytest.fixture
def owner(store: Store) -> Principal:
    return join(store, "owner")


def of_the_api(store: Store, owner: Principal, text: str = "of the API") -> str:
    return held.hold(
        store, workspace_id=owner.workspace_id, prompt="q", text=text, rule_id=None, stage="after"
    ).id


def of_a_chat(store: Store, who: Principal) -> str:
    """The id of the message that waits."""
    chat = chats.create_chat(store, who)
    turn = turns.begin_turn(store, who, chat.id, text="q", parent_id=None, model="tiny")
    generations.finish(store, str(turn.generation_id), finish_reason="stop", held=HELD)
    return turn.answer.id


def test_answers_of_the_api_do_not_crowd_out_those_that_a_person_waits_for(
    store: Store, owner: Principal
) -> None:
    """The list was the oldest 200: as many requests of a program hid every member's answer."""
    programs = [of_the_api(store, owner) for _ in range(7)]
    waits = [of_a_chat(store, owner), of_a_chat(store, owner)]
    programs.append(of_the_api(store, owner))
    whole = held.list_held(store, owner)
    assert [one.message_id for one in whole.data[:2]] == waits
    assert [one.id for one in whole.data[2:]] == programs
    assert whole.next is None
    for size in (1, 2, 3, 10):
        found, cursor = [], None
        while True:
            page = held.list_held(store, owner, cursor=cursor, limit=size)
            assert len(page.data) <= size
            found += page.data
            if (cursor := page.next) is None:
                break
        assert found == whole.data, size
    held.decide(store, owner, whole.data[0].id, "refuse")
    assert [one.id for one in held.list_held(store, owner).data] == [one.id for one in whole.data[1:]]
    with pytest.raises(Invalid, match="cursor"):
        held.list_held(store, owner, cursor="bm90IG9uZQ")


def test_answers_of_the_api_go_when_they_are_decided_or_old(
    store: Store, owner: Principal, clock: Clock
) -> None:
    waits = of_a_chat(store, owner)
    decided, early = of_the_api(store, owner), of_the_api(store, owner)
    held.decide(store, owner, decided, "release")
    clock.move(days=29)
    late = of_the_api(store, owner)
    assert retention.run(store, dry_run=True).held == 1
    assert retention.run(store).held == 1
    everything = held.list_held(store, owner, open_only=False).data
    assert [one.id for one in everything[1:]] == [early, late]
    assert everything[0].message_id == waits
    clock.move(days=2)
    assert retention.run(store).held == 1
    clock.move(days=400)
    assert retention.run(store).held == 1
    assert [one.message_id for one in held.list_held(store, owner).data] == [waits], "a person waits for it"


def test_the_workspace_says_how_long_undecided_ones_are_kept(
    store: Store, owner: Principal, clock: Clock
) -> None:
    workspaces.change_settings(store, owner, {"retention_days": 3})
    of_the_api(store, owner)
    clock.move(days=2)
    assert retention.run(store).held == 0
    clock.move(days=2)
    assert retention.run(store).held == 1
    assert held.list_held(store, owner, open_only=False).data == []
