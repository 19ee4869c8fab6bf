"""Chats, turns, generations: what a person sees after each act."""

from __future__ import annotations

from typing import Any

import pytest
from tests.product.house import a_chat, answered, join
from tests.stores import Clock

from ziggurat.product import chats, generations, messages, people, turns
from ziggurat.product.errors import Conflict, Invalid, NotFound, TooMany
from ziggurat.product.objects import Message
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store)


def test_local_mode_has_one_owner_who_is_the_same_each_time(store: Store) -> None:
    first, again = people.local_principal(store), people.local_principal(store)
    assert first == again
    assert first.role == "owner"
    assert people.me(store, first).consents == {
        "improve_model": False,
        "share_with_experts": False,
        "publish": False,
    }


def test_a_turn_is_a_message_and_an_empty_running_answer(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(
        store, ana, chat.id, text="Hello", parent_id=None, model="tiny", settings={"seed": 3}
    )
    assert turn.user is not None
    assert (turn.user.role, turn.user.content, turn.user.position) == ("user", "Hello", 0)
    assert (turn.answer.state, turn.answer.content, turn.answer.settings) == ("running", "", {"seed": 3})
    opened = chats.open_chat(store, ana, chat.id)
    assert [m.id for m in opened.messages] == [turn.user.id, turn.answer.id]
    assert opened.generation_id == turn.generation_id
    assert opened.chat.title == "Hello"


def test_who_comes_back_sees_the_text_so_far_and_goes_on_with_the_events(
    store: Store, ana: Principal
) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="Hello", parent_id=None, model="tiny")
    gid = str(turn.generation_id)
    assert generations.append(
        store, gid, [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "By the"}]
    )
    assert generations.append(store, gid, [{"type": "text", "text": " canal"}])
    seen = chats.open_chat(store, ana, chat.id).messages[-1]
    assert (seen.content, seen.reasoning) == ("By the canal", "hm")
    events, status = generations.events_after(store, ana, chat.id, gid, after=2)
    assert (events, status) == ([(3, {"type": "text", "text": " canal"})], "running")
    everything, _ = generations.events_after(store, ana, chat.id, gid)
    assert generations.merged(everything) == [
        (1, {"type": "reasoning", "text": "hm"}),
        (3, {"type": "text", "text": "By the canal"}),
    ]
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "ttft_ms": 8.5}
    done = generations.finish(store, gid, finish_reason="stop", usage=usage)
    assert (done.content, done.reasoning, done.state, done.usage) == ("By the canal", "hm", "complete", usage)
    assert chats.open_chat(store, ana, chat.id).generation_id is None


@pytest.mark.parametrize("seen", [0, 1, 6, 12, 99])
def test_stop_keeps_exactly_what_was_seen(store: Store, ana: Principal, seen: int) -> None:
    """Characters are Unicode code points: an emoji outside of the first plane is one."""
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="Hello", parent_id=None, model="tiny")
    gid, text = str(turn.generation_id), "By 🚣 the canal"
    generations.append(store, gid, [{"type": "text", "text": text[:5]}])
    stopped = generations.stop(store, ana, chat.id, gid, seen_chars=seen, text=text)
    assert (stopped.content, stopped.state) == (text[:seen], "stopped")
    assert not generations.append(store, gid, [{"type": "text", "text": "more"}])
    assert generations.finish(store, gid, finish_reason="stop", content=text).content == text[:seen]


def test_a_stop_that_comes_a_moment_late_still_cuts(store: Store, ana: Principal, clock: Clock) -> None:
    chat = a_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="Hello", parent_id=None, model="tiny")
    gid = str(turn.generation_id)
    generations.finish(store, gid, finish_reason="stop", content="By the canal")
    assert generations.stop(store, ana, chat.id, gid, seen_chars=2).content == "By"
    later = turns.regenerate(store, ana, chat.id, turn.answer.id, model="tiny")
    generations.finish(store, str(later.generation_id), finish_reason="stop", content="By the canal")
    clock.move(seconds=61)
    with pytest.raises(Conflict):
        generations.stop(store, ana, chat.id, str(later.generation_id), seen_chars=2)


def test_a_template_of_the_guard_is_not_cut(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    gid = str(turns.begin_turn(store, ana, chat.id, text="?", parent_id=None, model="tiny").generation_id)
    generations.append(
        store, gid, [{"type": "text", "text": "bad"}, {"type": "replaced", "text": "I will not."}]
    )
    assert generations.finish(store, gid, finish_reason="content_filter").content == "I will not."
    assert generations.stop(store, ana, chat.id, gid, seen_chars=2).content == "I will not."


def test_regenerating_makes_a_sibling_and_keeps_the_other(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("Hello", "one"))
    first = chats.open_chat(store, ana, chat.id).messages[-1]
    again = turns.regenerate(store, ana, chat.id, first.id, model="other", settings={"temperature": 0.1})
    done = generations.finish(store, str(again.generation_id), finish_reason="stop", content="two")
    assert done.siblings == [first.id, done.id]
    assert done.model == "other"
    assert messages.get_message(store, ana, chat.id, first.id).content == "one"
    assert chats.change_chat(store, ana, chat.id, {"active_leaf_id": first.id}).active_leaf_id == first.id


def test_editing_a_question_branches_and_switching_back_finds_the_old_leaf(
    store: Store, ana: Principal
) -> None:
    chat = a_chat(store, ana, ("one", "a"), ("two", "b"))
    path = chats.open_chat(store, ana, chat.id).messages
    turn = turns.edit_message(store, ana, chat.id, path[0].id, text="uno", run=True, model="tiny")
    assert not isinstance(turn, Message)
    generations.finish(store, str(turn.generation_id), finish_reason="stop", content="A")
    opened = chats.open_chat(store, ana, chat.id)
    assert [m.content for m in opened.messages] == ["uno", "A"]
    assert opened.messages[0].siblings[0] == path[0].id
    assert opened.messages[0].edited
    back = chats.change_chat(store, ana, chat.id, {"active_leaf_id": path[0].id})
    assert back.active_leaf_id == path[-1].id


def test_an_edited_answer_is_saved_as_a_sibling_without_running(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("one", "a"))
    answer = chats.open_chat(store, ana, chat.id).messages[-1]
    edited = turns.edit_message(store, ana, chat.id, answer.id, text="better", run=False)
    assert isinstance(edited, Message)
    assert (edited.content, edited.role, edited.edited, edited.ai_generated) == (
        "better",
        "assistant",
        True,
        True,
    )
    assert edited.siblings == [answer.id, edited.id]


def test_continuing_goes_on_in_the_same_message(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="count", parent_id=None, model="tiny")
    generations.finish(store, str(turn.generation_id), finish_reason="length", content="one two")
    more = turns.continue_answer(store, ana, chat.id, turn.answer.id)
    generations.append(store, str(more.generation_id), [{"type": "text", "text": " three"}])
    assert chats.open_chat(store, ana, chat.id).messages[-1].content == "one two three"
    done = generations.finish(store, str(more.generation_id), finish_reason="stop")
    assert (done.id, done.content) == (turn.answer.id, "one two three")
    with pytest.raises(Conflict):
        turns.continue_answer(store, ana, chat.id, turn.answer.id)


def test_a_request_that_is_sent_twice_begins_once(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    given: dict[str, Any] = {"text": "Hello", "parent_id": None, "model": "tiny", "client_id": "abc"}
    first, second = (turns.begin_turn(store, ana, chat.id, **given) for _ in range(2))
    assert (second.repeated, second.generation_id) == (True, first.generation_id)
    assert first.user == second.user
    assert len(messages.tree(store, ana, chat.id).messages) == 2


def test_nobody_speaks_into_an_answer_that_is_being_written(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    with pytest.raises(Conflict, match="still being written"):
        turns.begin_turn(store, ana, chat.id, text="two", parent_id=turn.answer.id, model="tiny")


def test_a_dead_servers_answer_is_interrupted_and_keeps_its_text(
    store: Store, ana: Principal, clock: Clock
) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    generations.append(store, str(turn.generation_id), [{"type": "text", "text": "half"}])
    assert generations.reap(store) == []
    clock.move(seconds=91)
    assert generations.reap(store) == [turn.generation_id]
    message = messages.get_message(store, ana, chat.id, turn.answer.id)
    assert (message.state, message.content) == ("interrupted", "half")
    assert not generations.heartbeat(store, str(turn.generation_id))


def test_the_only_server_ends_all_at_its_start_whatever_the_clock_says(
    store: Store, ana: Principal, clock: Clock
) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    clock.move(seconds=-3_600)  # the machine's clock was set back
    assert generations.reap(store, older_than_s=0) == [turn.generation_id]
    assert messages.get_message(store, ana, chat.id, turn.answer.id).state == "interrupted"


def test_old_events_are_swept_and_the_message_stays(store: Store, ana: Principal, clock: Clock) -> None:
    chat = chats.create_chat(store, ana)
    turn = turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    generations.append(store, str(turn.generation_id), [{"type": "text", "text": "all"}])
    generations.finish(store, str(turn.generation_id), finish_reason="stop")
    assert generations.sweep_events(store) == 0
    clock.move(days=2)
    assert generations.sweep_events(store) == 1
    assert messages.get_message(store, ana, chat.id, turn.answer.id).content == "all"


def test_a_fork_copies_the_path_and_goes_its_own_way(store: Store, ana: Principal) -> None:
    chat = a_chat(store, ana, ("one", "a"), ("two", "b"))
    path = chats.open_chat(store, ana, chat.id).messages
    forked = chats.fork_chat(store, ana, chat.id, path[1].id)
    copied = chats.open_chat(store, ana, forked.id).messages
    assert [m.content for m in copied] == ["one", "a"]
    assert not {m.id for m in copied} & {m.id for m in path}
    answered(store, ana, forked.id, "three", "c")
    assert len(chats.open_chat(store, ana, chat.id).messages) == 4


def test_the_list_shows_pinned_first_then_newest_page_by_page(store: Store, ana: Principal) -> None:
    made = [chats.create_chat(store, ana, title=f"chat {i}") for i in range(7)]
    chats.change_chat(store, ana, made[2].id, {"pinned": True})
    chats.change_chat(store, ana, made[3].id, {"archived": True})
    chats.trash_chat(store, ana, made[4].id)
    seen, cursor = [], None
    while True:
        page = chats.list_chats(store, ana, cursor=cursor, limit=2)
        seen += [chat.title for chat in page.data]
        if (cursor := page.next) is None:
            break
    assert seen == ["chat 2", "chat 6", "chat 5", "chat 1", "chat 0"]
    assert [c.title for c in chats.list_chats(store, ana, archived=True).data] == ["chat 3"]
    assert [c.title for c in chats.list_chats(store, ana, trash=True).data] == ["chat 4"]
    chats.restore_chat(store, ana, made[4].id)
    assert chats.list_chats(store, ana, trash=True).data == []


def test_a_long_chat_opens_with_its_last_messages_and_pages_up(store: Store, ana: Principal) -> None:
    local = people.local_principal(store)
    chat = a_chat(store, local, *((f"q{i}", f"a{i}") for i in range(12)))
    opened = chats.open_chat(store, local, chat.id, limit=10)
    assert [m.content for m in opened.messages] == [f"{k}{i}" for i in range(7, 12) for k in "qa"]
    assert opened.has_earlier
    above = messages.earlier(store, local, chat.id, opened.messages[0].id, limit=10)
    assert [m.content for m in above.messages] == [f"{k}{i}" for i in range(2, 7) for k in "qa"]
    top = messages.earlier(store, local, chat.id, above.messages[0].id, limit=10)
    assert (len(top.messages), top.has_earlier) == (4, False)


def test_people_with_accounts_wait_after_too_many_messages(
    store: Store, ana: Principal, clock: Clock
) -> None:
    chat = a_chat(store, ana, *((f"q{i}", "a") for i in range(20)))
    leaf = chat.active_leaf_id
    with pytest.raises(TooMany) as refused:
        turns.begin_turn(store, ana, chat.id, text="more", parent_id=leaf, model="tiny")
    assert 1 <= refused.value.retry_after_s <= 60
    clock.move(seconds=refused.value.retry_after_s + 1)
    turns.begin_turn(store, ana, chat.id, text="more", parent_id=leaf, model="tiny")


def test_more_answers_at_once_than_allowed_are_refused(store: Store, ana: Principal) -> None:
    for chat in [chats.create_chat(store, ana) for _ in range(2)]:
        turns.begin_turn(store, ana, chat.id, text="one", parent_id=None, model="tiny")
    with pytest.raises(TooMany, match="answers are being written"):
        turns.begin_turn(
            store, ana, chats.create_chat(store, ana).id, text="one", parent_id=None, model="tiny"
        )


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"titel": "x"}, "titel"),
        ({"pinned": 1}, "pinned"),
        ({"settings": {"temperature": 9}}, "settings.temperature"),
        ({"settings": {"temprature": 1}}, "settings.temprature"),
        ({"title": "x" * 201}, "title"),
        ({"title": 5}, "title"),
    ],
)
def test_a_wrong_change_names_the_field(store: Store, ana: Principal, changes: Any, param: str) -> None:
    chat = chats.create_chat(store, ana)
    with pytest.raises(Invalid) as refused:
        chats.change_chat(store, ana, chat.id, changes)
    assert refused.value.param == param
    assert chats.get_chat(store, ana, chat.id) == chat


def test_a_child_is_found_through_its_own_chat_only(store: Store, ana: Principal) -> None:
    one, other = a_chat(store, ana, ("one", "a")), a_chat(store, ana, ("two", "b"))
    foreign = str(other.active_leaf_id)
    for act in (
        lambda: turns.begin_turn(store, ana, one.id, text="x", parent_id=foreign, model="tiny"),
        lambda: turns.regenerate(store, ana, one.id, foreign, model="tiny"),
        lambda: chats.change_chat(store, ana, one.id, {"active_leaf_id": foreign}),
        lambda: chats.fork_chat(store, ana, one.id, foreign),
        lambda: messages.conversation(store, ana, one.id, foreign),
    ):
        with pytest.raises(NotFound):
            act()


def test_texts_that_no_database_holds_are_mended(store: Store, ana: Principal) -> None:
    """NUL is refused by PostgreSQL, a lone surrogate by both."""
    chat = chats.create_chat(store, ana, title="a\x00b")
    turn = turns.begin_turn(store, ana, chat.id, text="x\x00\ud800y", parent_id=None, model="tiny")
    generations.append(store, str(turn.generation_id), [{"type": "text", "text": "\x00"}])
    assert turn.user is not None
    assert turn.user.content == "x\ufffd\ufffdy"
    assert chats.open_chat(store, ana, chat.id).messages[-1].content == "\ufffd"


def test_the_system_prompt_comes_first_and_the_mark_is_not_fed_back(store: Store, ana: Principal) -> None:
    chat = chats.create_chat(store, ana, system_prompt="Be kind.")
    answered(store, ana, chat.id, "one", "a")
    leaf = str(chats.get_chat(store, ana, chat.id).active_leaf_id)
    assert messages.conversation(store, ana, chat.id, leaf) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "a"},
    ]
    assert messages.get_message(store, ana, chat.id, leaf).ai_generated
