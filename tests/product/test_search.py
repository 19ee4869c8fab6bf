"""Full text in both languages: the same answers from FTS5 and tsvector."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.product.house import a_chat, answered, join

from ziggurat.product import chats, generations, turns
from ziggurat.product.principal import Principal
from ziggurat.product.search import search
from ziggurat.store.store import Store
from ziggurat.store.words import index_words, query_words


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store)


def found(store: Store, principal: Principal, query: str) -> list[str]:
    return [hit.snippet for hit in search(store, principal, query) if hit.message_id]


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("canal", 1),
        ("CANAL", 1),
        ("can", 1),  # the last word may be the beginning of one
        ("canal boat", 1),
        ("boat canal", 1),
        ("canal mountain", 0),
        ("anal", 0),
        ("can boat", 0),  # only the last one
        ("cafe", 1),
        ("CAFÉ", 1),
        ("苹果", 1),
        ("果汁", 1),
        ("苹果汁", 1),
        ("汁", 1),
        ("果苹", 0),
        ("苹果 好喝", 1),
        ("果汁苹", 0),
        ("ｃａｎａｌ", 1),
        ("C++", 1),
        ("!!!", 0),
        ("", 0),
        ("\"canal' OR 1=1 --", 0),
        ("tokens:canal", 0),
        ("NEAR(canal mountain)", 0),
        ("canal*", 1),
        ("' & '", 0),
    ],
)
def test_words_and_pairs_of_characters_are_found(store: Store, ana: Principal, query: str, hits: int) -> None:
    chat = a_chat(store, ana, ("A boat on the Canal near the Café, in C++", "苹果汁很好喝，果园里有苹。"))
    assert len(found(store, ana, query)) == hits, search(store, ana, query)
    assert chat.title.startswith("A boat")


def test_a_longer_run_must_stand_there_as_a_whole(store: Store, ana: Principal) -> None:
    """Its pairs alone stand in both."""
    a_chat(store, ana, ("x", "我爱喝苹果汁"), ("y", "苹果很甜，果汁很酸"))
    assert found(store, ana, "苹果汁") == ["我爱喝苹果汁"]


def test_marks_are_the_words_in_the_snippet(store: Store, ana: Principal) -> None:
    long = "word " * 100 + "The Canal and the CANALS of 运河 meet" + " end" * 100
    a_chat(store, ana, ("x", long))
    for query, marked in (("canal", ["Canal", "CANAL"]), ("运河", ["运河"])):
        hit = search(store, ana, query)[0]
        assert [hit.snippet[a:b] for a, b in hit.marks] == marked
        assert len(hit.snippet) < 200


def test_marks_fit_where_folding_changes_the_length(store: Store, ana: Principal) -> None:
    a_chat(store, ana, ("x", "ﬁnally the Straße ends"))
    hit = search(store, ana, "strasse")[0]
    assert [hit.snippet[a:b] for a, b in hit.marks] == ["Straße"]


def test_titles_are_found_and_follow_a_change(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana, title="Harbour plans")
    assert [h.message_id for h in search(store, ana, "harbour")] == [None]
    chats.change_chat(store, ana, chat.id, {"title": "Bridge plans"})
    assert search(store, ana, "harbour") == []
    assert [h.title for h in search(store, ana, "bridge")] == ["Bridge plans"]


def test_nobody_finds_what_others_wrote(store: Store, ana: Principal) -> None:
    a_chat(store, ana, ("secretword", "answer"))
    assert search(store, join(store, "owner"), "secretword") == []
    assert search(store, join(store), f"owner{ana.person_id[7:]}") == []


def test_the_trash_is_not_searched_and_stopped_text_is_not_found(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("findme", "x"))
    chats.trash_chat(store, ana, chat.id)
    assert search(store, ana, "findme") == []
    chats.restore_chat(store, ana, chat.id)
    assert search(store, ana, "findme")
    turn = turns.begin_turn(store, ana, chat.id, text="more", parent_id=chat.active_leaf_id, model="tiny")
    generations.finish(store, str(turn.generation_id), finish_reason="stop", content="seen unseenword")
    assert search(store, ana, "unseenword")
    generations.stop(store, ana, chat.id, str(turn.generation_id), seen_chars=4)
    assert search(store, ana, "unseenword") == []


def test_the_newest_come_first_and_no_more_than_asked(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    for i in range(6):
        answered(store, ana, chat.id, f"number {i}", f"lamp {i}")
    hits = search(store, ana, "lamp", limit=3)
    assert [hit.snippet for hit in hits] == ["lamp 5", "lamp 4", "lamp 3"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.text(max_size=60), query=st.text(min_size=1, max_size=12))
def test_no_text_breaks_the_search_and_a_text_finds_itself(store: Store, said: str, query: str) -> None:
    ana = join(store)
    chat = chats.create_chat(store, ana, title="")
    if said.strip():
        turns.begin_turn(store, ana, chat.id, text=said, parent_id=None, model="tiny")
        words, prefix = query_words(said)
        if words or prefix:
            assert [h for h in search(store, ana, said) if h.message_id]
    for hit in search(store, ana, query):
        assert all(0 <= a < b <= len(hit.snippet) for a, b in hit.marks)


def test_words_of_both_languages() -> None:
    assert index_words("The Canal, 运河船") == ["the", "canal", "运", "河", "船", "运河", "河船"]
    assert query_words("运河船 the can") == (["运河", "河船", "the"], "can")
