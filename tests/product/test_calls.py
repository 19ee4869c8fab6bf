"""Tool calls in chats: which can be read, how they read as text, and what an import may hold in their place."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from sqlalchemy import update
from tests.product.house import join

from ziggurat.product import calls, chats, export, shares, turns
from ziggurat.product.errors import Conflict
from ziggurat.product.imports import import_file
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages
from ziggurat.store.tables.chats import shares as kept_shares

ADDING = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"sum": "7+5"}'}}
BARE = {"name": "calendar", "arguments": {"feast": "元宵"}}
NONE: list[Any] = ["x", None, 5, [], {}, {"function": None}, {"function": {"name": 5, "arguments": ""}},
                   {"function": {"name": "n"}}, {"name": "n", "arguments": ["a"]}]  # fmt: skip


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store, "owner")


def document(tool_calls: Any, **more: Any) -> bytes:
    said = [
        {"id": "1", "role": "user", "content": "How much?"},
        {
            "id": "2",
            "parent": "1",
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": tool_calls,
            **more,
        },
    ]
    chat = {
        "kind": "ziggurat.chat",
        "format_version": 1,
        "title": "Sums",
        "messages": said,
        "active_leaf": "2",
    }
    return json.dumps(chat).encode()


def imported(store: Store, who: Principal, tool_calls: Any, **more: Any) -> str:
    return import_file(store, who, io.BytesIO(document(tool_calls, **more))).ids[0]


def test_what_has_a_name_and_arguments_is_a_call() -> None:
    assert calls.readable([ADDING, *NONE, BARE]) == [ADDING, BARE]
    for wrong in (None, "x", {"a": 1}, 5):
        assert calls.readable(wrong) == []


def test_calls_as_text() -> None:
    assert calls.as_text([ADDING, None, BARE]) == (
        'Tool call add:\n{"sum": "7+5"}\n\nTool call calendar:\n{"feast": "元宵"}'
    )
    assert calls.with_calls("Well:", [ADDING], fenced=True) == (
        'Well:\n\nTool call add:\n```json\n{"sum": "7+5"}\n```'
    )
    quoting = {"name": "write", "arguments": '"````"'}
    assert calls.as_text([quoting], fenced=True) == 'Tool call write:\n`````json\n"````"\n`````'
    assert calls.with_calls("", "nothing") == ""


def test_a_conversation_as_texts_alone() -> None:
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How much?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [ADDING]},
        {"role": "tool", "content": "12"},
        {"role": "assistant", "content": "It is twelve."},
        {"role": "assistant", "content": "And another answer."},
        {"role": "user", "content": "Thanks."},
        {"role": "tool", "content": "of no call"},
    ]
    assert calls.as_texts(said) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How much?"},
        {
            "role": "assistant",
            "content": 'Let me see.\n\nTool call add:\n{"sum": "7+5"}\n\nTool result:\n12\n\nIt is twelve.',
        },
        {"role": "assistant", "content": "And another answer."},
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "Tool result:\nof no call"},
    ]
    assert said[2]["content"] == "Let me see.", "what was given stays as it is"


def everything_works(store: Store, who: Principal, chat_id: str, expected: list[Any] | None) -> None:
    """The page, every export, a share and its copy."""
    assert chats.open_chat(store, who, chat_id).messages[-1].tool_calls == expected
    for form in export.FORMATS:
        text = export.export_chat(store, who, chat_id, form)[2].decode()
        assert "Let me see." in text
        assert ("7+5" in text) == bool(expected), form
    export.export_me(store, who, io.BytesIO())
    token = str(shares.create_share(store, who, chat_id).url).rpartition("/")[2]
    assert shares.view_share(store, token).messages[-1]["tool_calls"] == expected
    copy = shares.continue_share(store, who, token)
    assert chats.open_chat(store, who, copy.id).messages[-1].tool_calls == expected


@pytest.mark.parametrize("wrong", [["x"], [None], NONE, "calls", {"a": 1}])
def test_an_import_keeps_only_what_is_a_call(store: Store, ana: Principal, wrong: Any) -> None:
    everything_works(store, ana, imported(store, ana, wrong), None)


def test_an_import_keeps_the_calls_among_what_is_none(store: Store, ana: Principal) -> None:
    everything_works(store, ana, imported(store, ana, [ADDING, *NONE]), [ADDING])


def test_what_was_stored_before_is_left_out_when_it_is_read(store: Store, ana: Principal) -> None:
    for stored, expected in ((NONE, None), ([*NONE, ADDING], [ADDING]), ({"a": 1}, None)):
        chat_id = imported(store, ana, None)
        leaf = chats.get_chat(store, ana, chat_id).active_leaf_id
        with store.write() as conn:
            conn.execute(update(messages).where(messages.c.id == leaf).values(tool_calls=stored))
        everything_works(store, ana, chat_id, expected)


def test_a_snapshot_of_before_is_shown_without_what_is_no_call(store: Store, ana: Principal) -> None:
    share = shares.create_share(store, ana, imported(store, ana, None))
    snapshot = {"messages": [{"role": "assistant", "content": "a", "reasoning": None, "tool_calls": NONE,
                              "model": None, "ai_generated": True, "created_at": ""}], "source": []}  # fmt: skip
    with store.write() as conn:
        conn.execute(update(kept_shares).where(kept_shares.c.id == share.id).values(snapshot=snapshot))
    token = str(share.url).rpartition("/")[2]
    assert shares.view_share(store, token).messages[0]["tool_calls"] is None
    copy = shares.continue_share(store, ana, token)
    assert chats.open_chat(store, ana, copy.id).messages[0].tool_calls is None


def test_a_chat_that_is_nested_too_deeply_is_named_as_damaged(store: Store, ana: Principal) -> None:
    for depth, kept in ((80, 1), (300, 0), (900, 0)):
        usage: Any = {}
        for _ in range(depth):
            usage = {"in": usage}
        found = import_file(store, ana, io.BytesIO(document(None, usage=usage)))
        assert (found.chats, len(found.skipped)) == (kept, 1 - kept)
        for chat_id in found.ids:
            assert chats.open_chat(store, ana, chat_id).messages[-1].model_dump_json()
    assert "100 deep" in found.skipped[0]["why"]


def test_an_answer_with_calls_is_not_continued(store: Store, ana: Principal) -> None:
    cut = {"finish_reason": "length"}
    chat_id = imported(store, ana, [ADDING], **cut)
    with pytest.raises(Conflict, match="calls tools") as refused:
        turns.continue_answer(store, ana, chat_id, str(chats.get_chat(store, ana, chat_id).active_leaf_id))
    assert refused.value.code == "calls_tools"
    chat_id = imported(store, ana, NONE, **cut)
    leaf = str(chats.get_chat(store, ana, chat_id).active_leaf_id)
    assert turns.continue_answer(store, ana, chat_id, leaf).generation_id is not None
