"""Which of people's comparisons a judge may be held against."""

from __future__ import annotations

from tests.flywheel.people import a_member, a_subject, about

from ziggurat.exam.judges.agreement import Opinion
from ziggurat.flywheel import opinions
from ziggurat.product import consents, workspaces
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def read(store: Store, who: Principal) -> tuple[list[Opinion], dict[str, int]]:
    with store.read() as conn:
        return opinions.read(conn, who.workspace_id)


def order(one: Opinion) -> dict[str, int]:
    return {one.texts[key]: rank for key, rank in one.ranks.items()}


def test_votes_pairs_and_rankings_become_opinions_with_ties(quick_store: Store) -> None:
    store, who = quick_store, a_member(quick_store, role="adjudicator")
    about(store, who, "ranking", {"ranks": {"c0": 2, "c1": 1, "c2": 1}}, answers=("x", "y", "z"))
    about(store, who, "pairwise", {"strength": -2}, answers=("better", "worse"))
    about(store, who, "vote", {"winner": "both_bad", "leaked": False}, answers=("one", "two"))
    about(store, who, "vote", {"winner": "c0", "leaked": True}, answers=("me", "you"))
    about(store, who, "ranking", {"not_rankable": True, "ranks": {}}, answers=("p", "q"))
    found, left_out = read(store, who)
    assert [order(one) for one in found] == [
        {"x": 2, "y": 1, "z": 1},
        {"better": 1, "worse": 2},
        {"one": 1, "two": 1},
    ]
    assert left_out == {"leaked": 1, "unusable": 1}


def test_what_may_not_be_learned_from_is_not_read_to_a_judge(quick_store: Store) -> None:
    store = quick_store
    ana, ben = a_member(store, "Ana"), a_member(store, "Ben", agrees=False)
    for who in (ana, ben):
        about(store, who, "pairwise", {"strength": 1}, basis="consent")
    about(store, ana, "pairwise", {"strength": 1}, data_use=False)
    found, left_out = read(store, ana)
    assert [one.person for one in found] == [ana.person_id]
    assert left_out == {"no_consent": 1, "no_data_use": 1}
    consents.set_consent(store, ana, "improve_model", False)
    assert read(store, ana)[0] == []


def test_items_on_which_people_disagree_count(quick_store: Store) -> None:
    """They are out of training until somebody decides, and are what agreement is about."""
    store, ana = quick_store, a_member(quick_store, "Ana", role="labeller")
    ben = a_member(store, "Ben", role="labeller")
    subject = a_subject(store, ana, status="conflicted")
    about(store, ana, "pairwise", {"strength": 1}, subject=subject)
    about(store, ben, "pairwise", {"strength": -1}, subject=subject)
    found, left_out = read(store, ana)
    assert (len(found), left_out) == (2, {})
    assert found[0].item == found[1].item


def test_texts_for_another_server_are_masked(quick_store: Store) -> None:
    store, who = quick_store, a_member(quick_store, role="owner")
    about(store, who, "pairwise", {"strength": 1}, answers=("Write to ana@example.org.", "No."))
    found, _ = read(store, who)
    assert workspaces.main_id(store) == who.workspace_id
    (sent,) = opinions.masked(store, who.workspace_id, found)
    assert "Write to [email]." in sent.texts.values()
    assert sent.ranks == found[0].ranks
