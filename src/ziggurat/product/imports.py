"""Import of chats: our own export, ChatGPT's, Open WebUI's; as JSON or as a zip with such files.

What cannot be read is left out and named; the rest is kept. Each chat is one transaction. Only texts are taken: images
and files of other products are named in `skipped`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from ziggurat.product.chats import insert_chat
from ziggurat.product.common import MAX_NAME, MAX_PROMPT, MAX_TEXT, clean_json
from ziggurat.product.copies import add_tree
from ziggurat.product.errors import Invalid
from ziggurat.product.foreign import ImportedChat, chats_of
from ziggurat.product.objects import Imported
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store

MAX_BYTES = 512 * 1024**2
"""Of a file, and of all files in a zip together once they are unpacked."""
MAX_FILES = 50_000
MAX_MESSAGES = 50_000
"""In one chat."""
MAX_SKIPPED = 1_000
"""Lines of `skipped`; more are counted in the last one."""


def import_file(store: Store, principal: Principal, data: bytes) -> Imported:
    """Read a file's chats into mine.

    Raises:
        Invalid: the file is too large, or is no such file; then nothing was imported.
    """
    require(principal, "chat")
    if len(data) > MAX_BYTES:
        raise Invalid(f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are read.", code="too_large")
    skipped: list[dict[str, str]] = []
    ids, total = list[str](), 0
    found = False
    for name, document in _documents(data, skipped):
        for chat in chats_of(name, document, skipped):
            found = True
            chat_id, count = _add(store, principal, chat, skipped)
            ids.append(chat_id)
            total += count
    if not found and not skipped:
        raise Invalid(
            "this file holds no chat of Ziggurat, ChatGPT or Open WebUI; export one there as JSON or zip.",
            code="not_chats",
        )
    if len(skipped) > MAX_SKIPPED:
        more = len(skipped) - MAX_SKIPPED
        skipped = [*skipped[:MAX_SKIPPED], {"what": f"{more:,} more", "why": "the list is too long."}]
    return Imported(ids=ids, chats=len(ids), messages=total, skipped=skipped)


def _documents(data: bytes, skipped: list[dict[str, str]]) -> Iterator[tuple[str, Any]]:
    """Each JSON document with the name of its file."""
    if not data.startswith(b"PK\x03\x04"):
        yield "the file", _parsed(data)
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Invalid(f"the zip cannot be read ({error}); export it again.", code="not_chats") from None
    wanted = [info for info in infos if info.filename.endswith(".json") and not info.is_dir()]
    if len(infos) > MAX_FILES or sum(info.file_size for info in wanted) > MAX_BYTES:
        raise Invalid(
            f"the zip unpacks to more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes; split it.",
            code="too_large",
        )
    read = 0
    for info in wanted:
        try:
            with archive.open(info) as file:
                content = file.read(MAX_BYTES - read + 1)
            read += len(content)
            if read > MAX_BYTES:
                raise Invalid(
                    f"the zip unpacks to more than {MAX_BYTES:,} bytes; split it.", code="too_large"
                )
            yield info.filename, _parsed(content)
        except Invalid as error:
            if error.code == "too_large":
                raise
            skipped.append({"what": clean_json(info.filename)[:200], "why": str(error)})
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
            skipped.append(
                {"what": clean_json(info.filename)[:200], "why": f"it cannot be unpacked ({error})."}
            )


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"this is not JSON ({str(error)[:200]}).", code="not_chats") from None


def _add(
    store: Store, principal: Principal, chat: ImportedChat, skipped: list[dict[str, str]]
) -> tuple[str, int]:
    """One chat in one transaction; returns its id and its number of messages."""
    nodes = chat.nodes
    title = " ".join(str(clean_json(chat.title)).split())[:MAX_NAME]
    if len(nodes) > MAX_MESSAGES:
        skipped.append(
            {"what": title, "why": f"of {len(nodes):,} messages the first {MAX_MESSAGES:,} were kept."}
        )
        nodes = nodes[:MAX_MESSAGES]
    cut = sum(len(node["content"]) > MAX_TEXT for node in nodes)
    if cut:
        skipped.append({"what": title, "why": f"{cut} messages were cut to {MAX_TEXT:,} characters."})
    system = str(clean_json(chat.system_prompt))[:MAX_PROMPT] if chat.system_prompt else None
    values: dict[str, Any] = {
        "title": title,
        "titled": True,
        "system_prompt": system,
        "archived": chat.archived,
    }
    values |= {"pinned": chat.pinned, "model": chat.model, "settings": chat.settings}
    values |= {name: at for name in ("created_at", "updated_at") if (at := getattr(chat, name)) is not None}
    with store.write() as conn:
        chat_id = insert_chat(conn, store, principal, **values)
        kept = [clean_json(node) | {"content": clean_json(node["content"])[:MAX_TEXT]} for node in nodes]
        add_tree(conn, store, principal, chat_id, kept, leaf=chat.leaf)
    return chat_id, len(nodes)
