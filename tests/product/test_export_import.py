"""What goes out comes back without loss; exports of ChatGPT and Open WebUI come in as trees; bad files lose nothing."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from tests.product.house import a_chat, answered, join

from ziggurat.product import (
    chats,
    consents,
    export,
    folders,
    generations,
    json_entries,
    judgements,
    keys,
    messages,
    search,
    turns,
)
from ziggurat.product.errors import Invalid
from ziggurat.product.imports import import_file
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store, "owner")


def branched(store: Store, principal: Principal) -> str:
    """A chat with two branches, settings, reasoning and a failed answer; the older branch is active."""
    folder = folders.create_folder(store, principal, name="Work / 工作")
    chat = chats.create_chat(
        store, principal, title="Tides 潮汐", folder_id=folder.id, system_prompt="Be kind.", model="tiny"
    )
    turn = turns.begin_turn(
        store, principal, chat.id, text="one `x`", parent_id=None, model="tiny", settings={"seed": 4}
    )
    done = generations.finish(
        store,
        str(turn.generation_id),
        finish_reason="stop",
        content="**a** 一",
        reasoning="hm",
        usage={"completion_tokens": 3},
        seed=4,
        hashes={"weights": "ab"},
        lang="en",
    )
    again = turns.regenerate(store, principal, chat.id, done.id, model="other")
    generations.fail(store, str(again.generation_id), {"message": "no", "type": "server_error", "code": "x"})
    chats.change_chat(store, principal, chat.id, {"active_leaf_id": done.id, "pinned": True})
    return chat.id


def tree_of(store: Store, principal: Principal, chat_id: str) -> Any:
    """A chat without its ids: nested (what a message says, its children), and the active path."""
    nodes = messages.tree(store, principal, chat_id).messages
    below: dict[str | None, list[Any]] = {}
    for node in nodes[::-1]:
        found = messages.get_message(store, principal, chat_id, node.id)
        said = found.model_dump(exclude={"id", "chat_id", "parent_id", "siblings", "pair_id", "judgement"})
        below.setdefault(node.parent_id, []).append((said, below.get(node.id, [])[::-1]))
    opened = chats.open_chat(store, principal, chat_id)
    chat = opened.chat.model_dump(exclude={"id", "folder_id", "active_leaf_id"})
    return chat, below.get(None), [m.content for m in opened.messages]


def test_json_comes_back_without_loss(store: Store, ana: Principal) -> None:
    chat_id = branched(store, ana)
    name, media_type, data = export.export_chat(store, ana, chat_id)
    assert (name.startswith("Tides-潮汐-"), media_type) == (True, "application/json")
    bo = join(store)
    assert import_file(store, bo, io.BytesIO(data)).model_dump(exclude={"ids"}) == {
        "chats": 1,
        "messages": 3,
        "skipped": [],
    }
    (copy,) = chats.list_chats(store, bo).data
    assert tree_of(store, bo, copy.id) == tree_of(store, ana, chat_id)
    assert search.search(store, bo, "潮汐")


@pytest.mark.parametrize("format", ["json", "markdown", "jsonl", "text"])
def test_every_form_bears_the_mark_and_the_words(store: Store, ana: Principal, format: str) -> None:
    text = export.export_chat(store, ana, branched(store, ana), format)[2].decode()
    assert "AI model" in text
    assert "由 AI 模型生成" in text
    assert "**a** 一" in text


def test_jsonl_is_openais_messages(store: Store, ana: Principal) -> None:
    line = json.loads(export.export_chat(store, ana, branched(store, ana), "jsonl")[2])
    assert [(m["role"], m["content"], m["ai_generated"]) for m in line["messages"]] == [
        ("system", "Be kind.", False),
        ("user", "one `x`", False),
        ("assistant", "**a** 一", True),
    ]


def test_all_chats_and_all_my_data_are_zips_without_a_secret(store: Store, ana: Principal) -> None:
    chat_id = branched(store, ana)
    a_chat(store, join(store), ("of somebody else", "x"))
    leaf = str(chats.get_chat(store, ana, chat_id).active_leaf_id)
    judgements.judge(store, ana, chat_id, leaf, value=1, comment="my comment")
    consents.set_consent(store, ana, "publish", True)
    _, secret = keys.create_key(store, ana, name="ci")
    file = io.BytesIO()
    export.export_me(store, ana, file)
    archive = zipfile.ZipFile(file)
    everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    for word in ("my comment", "publish", "Tides", "one `x`", ana.person_id):
        assert word in everything
    for word in (secret, "of somebody else", "token_hash", "csrf"):
        assert word not in everything
    assert '"hash"' not in archive.read("keys.json").decode()
    assert sorted(name for name in archive.namelist() if name.startswith("chats/"))
    whole = io.BytesIO()
    export.export_all(store, ana, whole)
    bo = join(store)
    assert import_file(store, bo, whole).model_dump(exclude={"ids"}) == {
        "chats": 1,
        "messages": 3,
        "skipped": [],
    }


@pytest.mark.parametrize("title", ["../../etc/passwd", "a/b\\c", "", "CON", "x" * 500, "\u202egnp.exe", "."])
def test_file_names_are_tame(title: str) -> None:
    name = export.file_name(title, "chat_0123456789abcdef", "json")
    assert "/" not in name
    assert "\\" not in name
    assert ".." not in name
    assert name.endswith("-89abcdef.json")
    assert len(name.encode()) < 200


def node(key: str, parent: str | None, role: str, text: Any, **more: Any) -> dict[str, Any]:
    content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
    message = {"author": {"role": role}, "content": content, "create_time": 1_700_000_000.5, "metadata": more}
    return {"id": key, "parent": parent, "children": [], "message": message if role else None}


CHATGPT: dict[str, Any] = {
    "title": "Bread 面包",
    "create_time": 1_700_000_000.0,
    "update_time": 1_700_000_900.0,
    "current_node": "e",
    "mapping": {
        "e": node("e", "d2", "user", "thanks"),  # before its parent
        "root": {"id": "root", "parent": None, "children": ["sys"], "message": None},
        "sys": node("sys", "root", "system", "", is_visually_hidden_from_conversation=True),
        "a": node("a", "sys", "user", "How do I bake?"),
        "b": node("b", "a", "assistant", "Like this.", model_slug="gpt-4o"),
        "c": node("c", "a", "assistant", {"content_type": "code", "text": "search()"}),
        "d": node("d", "c", "tool", {"content_type": "execution_output", "text": "42"}),
        "d2": node(
            "d2",
            "d",
            "assistant",
            {"content_type": "multimodal_text", "parts": ["Or so.", {"content_type": "image_asset_pointer"}]},
        ),
    },
}


def test_chatgpts_export_becomes_a_tree(store: Store, ana: Principal) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("conversations.json", json.dumps([CHATGPT]))
        archive.writestr("user.json", json.dumps({"id": "user-1", "email": "a@example.org"}))
        archive.writestr("chat.html", "<html></html>")
    found = import_file(store, ana, file)
    assert (found.chats, found.messages) == (1, 4)
    assert {entry["why"] for entry in found.skipped} == {
        "1 × assistant code",
        "1 × output of a tool (execution_output)",
        "1 × attachment (image_asset_pointer)",
    }
    (chat,) = chats.list_chats(store, ana).data
    assert (chat.title, chat.updated_at) == ("Bread 面包", "2023-11-14T22:28:20.000000Z")
    opened = chats.open_chat(store, ana, chat.id).messages
    assert [m.content for m in opened] == ["How do I bake?", "Or so.", "thanks"]
    assert len(opened[1].siblings) == 2
    assert messages.get_message(store, ana, chat.id, opened[1].siblings[0]).model == "gpt-4o"
    assert search.search(store, ana, "面包")


def test_open_webuis_export_becomes_a_tree(store: Store, ana: Principal) -> None:
    def message(key: str, parent: str | None, role: str, content: str) -> dict[str, Any]:
        return {"id": key, "parentId": parent, "role": role, "content": content, "timestamp": 1_700_000_000}

    said = [
        message("1", None, "user", "hi"),
        message("2", "1", "assistant", "hello"),
        message("3", "1", "assistant", "hey"),
    ]
    chat = {
        "title": "Greeting",
        "models": ["llama3"],
        "system": "Be brief.",
        "history": {"currentId": "2", "messages": {m["id"]: m for m in said}},
    }
    exported = [{"id": "x", "title": "Greeting", "chat": chat, "pinned": True, "updated_at": 1_700_000_900}]
    found = import_file(store, ana, io.BytesIO(json.dumps(exported).encode()))
    assert found.model_dump(exclude={"ids"}) == {"chats": 1, "messages": 3, "skipped": []}
    (made,) = chats.list_chats(store, ana).data
    assert (made.title, made.model, made.system_prompt, made.pinned) == (
        "Greeting",
        "llama3",
        "Be brief.",
        True,
    )
    opened = chats.open_chat(store, ana, made.id).messages
    assert [m.content for m in opened] == ["hi", "hello"]
    assert len(opened[1].siblings) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"{}",
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"PK\x03\x04broken",
        b"[" * 100_000,
        b'{"mapping": 5}',
        b'{"kind": "ziggurat.other", "messages": []}',
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(store: Store, ana: Principal, data: bytes) -> None:
    with pytest.raises(Invalid):
        import_file(store, ana, io.BytesIO(data))
    assert chats.list_chats(store, ana).data == []


def test_damaged_chats_among_good_ones_are_named(store: Store, ana: Principal) -> None:
    circle = {"a": node("a", "b", "user", "round"), "b": node("b", "a", "user", "and round")}
    chosen = [
        CHATGPT,
        {"title": "broken", "mapping": {"a": 5}},
        {"title": "circle", "mapping": circle},
        {"title": "empty", "mapping": {}},
        {"kind": "ziggurat.chat", "format_version": 99, "messages": []},
        {"kind": "ziggurat.chat", "messages": [{"role": "user"}]},
        "text",
    ]
    found = import_file(store, ana, io.BytesIO(json.dumps(chosen).encode()))
    assert found.chats == 1
    assert len([entry for entry in found.skipped if "×" not in entry["why"]]) == 6


@pytest.mark.parametrize("piece", [1, 7, 64, 4096])
def test_a_file_is_read_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """The same as the decoder makes of the whole text: numbers, escapes, pairs of surrogates and words cut anywhere."""
    monkeypatch.setattr(json_entries, "PIECE", piece)
    documents: list[Any] = [
        [
            12345,
            -0.5e-3,
            True,
            None,
            'a \\ " \n 元宵 🏮',
            {"k": ["\u0000", {"x": []}]},
            [],
            {},
            "",
            "é" * 300,
        ],
        {"title": "🏮" * 50, "n": [1, 2, 3]},
        [],
        "alone",
        1e300,
    ]
    for document in documents:
        for text in (json.dumps(document), json.dumps(document, indent=9, ensure_ascii=False)):
            for data in (text.encode(), b"\xef\xbb\xbf  \n" + text.encode() + b"\n \n"):
                read = list(json_entries.entries(io.BytesIO(data)))
                if isinstance(document, list):
                    assert read == list(enumerate(document))
                else:
                    assert read == [(None, document)]


@pytest.mark.parametrize(
    "data",
    [
        b"[1 2]",
        b"[1,]",
        b"[1",
        b"[",
        b'["a',
        b"{} {}",
        b"[] x",
        b"[nul]",
        b'[{"a": }]',
        b"\xff",
        b'["\xe5\x85"]',
        b"",
    ],
)
@pytest.mark.parametrize("piece", [1, 4096])
def test_what_is_not_json_is_refused_as_the_decoder_refuses_it(
    monkeypatch: pytest.MonkeyPatch, data: bytes, piece: int
) -> None:
    monkeypatch.setattr(json_entries, "PIECE", piece)
    with pytest.raises(ValueError):
        json.loads(data.decode("utf-8"))
    with pytest.raises(Invalid):
        list(json_entries.entries(io.BytesIO(data)))


def test_a_broken_end_imports_nothing(store: Store, ana: Principal) -> None:
    whole = json.dumps([CHATGPT] * 40).encode()
    with pytest.raises(Invalid) as refused:
        import_file(store, ana, io.BytesIO(whole[:-30]))
    assert refused.value.code == "not_chats"
    assert chats.list_chats(store, ana).data == []
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w") as archive:
        archive.writestr("good.json", json.dumps([CHATGPT]))
        archive.writestr("broken.json", whole[:-30])
    found = import_file(store, ana, archived)
    assert found.chats == 1
    assert [one["what"] for one in found.skipped if "not JSON" in one["why"]] == ["broken.json"]


def test_one_conversation_may_not_fill_the_memory(
    store: Store, ana: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_entries, "PIECE", 1_000)
    monkeypatch.setattr(json_entries, "MAX_ENTRY_CHARS", 5_000)
    with pytest.raises(Invalid) as refused:
        import_file(store, ana, io.BytesIO(json.dumps([CHATGPT, {"x": "y" * 20_000}]).encode()))
    assert refused.value.code == "entry_too_large"
    assert chats.list_chats(store, ana).data == []


def test_chats_are_written_in_order_in_several_transactions(
    store: Store, ana: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ziggurat.product.imports.BATCH", 11)
    written, write = [0], store.write

    def counted(**options: Any) -> Any:
        written[0] += 1
        return write(**options)

    monkeypatch.setattr(store, "write", counted)
    found = import_file(
        store, ana, io.BytesIO(json.dumps([CHATGPT | {"title": f"t{i}"} for i in range(7)]).encode())
    )
    assert (found.chats, found.messages) == (7, 28)
    assert written == [3]
    assert [chats.get_chat(store, ana, one).title for one in found.ids] == [f"t{i}" for i in range(7)]


def test_a_zip_that_unpacks_to_too_much_is_refused(
    store: Store, ana: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ziggurat.product.imports.MAX_BYTES", 10_000)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", b" " * 20_000)
    with pytest.raises(Invalid) as refused:
        import_file(store, ana, file)
    assert refused.value.code == "too_large"


def test_a_chain_of_many_messages_is_no_deep_recursion(store: Store, ana: Principal) -> None:
    mapping = {str(i): node(str(i), str(i - 1) if i else None, "user", f"m{i}") for i in range(3_000)}
    found = import_file(store, ana, io.BytesIO(json.dumps({"title": "long", "mapping": mapping}).encode()))
    assert found.messages == 3_000
    (chat,) = chats.list_chats(store, ana).data
    assert chats.open_chat(store, ana, chat.id).messages[-1].content == "m2999"


def test_an_exported_chat_with_other_peoples_ids_takes_nothing_over(store: Store, ana: Principal) -> None:
    """Ids in a file only tell its messages apart."""
    theirs = a_chat(store, join(store), ("secret", "answer"))
    data = {
        "kind": "ziggurat.chat",
        "title": "x",
        "active_leaf": theirs.active_leaf_id,
        "messages": [{"id": "1", "parent": theirs.active_leaf_id, "role": "user", "content": "mine"}],
    }
    import_file(store, ana, io.BytesIO(json.dumps(data).encode()))
    (made,) = chats.list_chats(store, ana).data
    assert [m.content for m in chats.open_chat(store, ana, made.id).messages] == ["mine"]
    answered(store, ana, made.id, "more", "x")
