"""Import of chats: our own export, ChatGPT's, Open WebUI's; as JSON or as a zip with such files.

What cannot be read is left out and named; the rest is kept. A file is never held in memory as a whole: one conversation
is parsed at a time, and a few are written in one transaction. Only texts are taken: images and files of other products
are named in `skipped`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, BinaryIO

from ziggurat.product.chats import insert_chat
from ziggurat.product.common import MAX_NAME, MAX_PROMPT, MAX_TEXT, clean_json
from ziggurat.product.copies import add_tree
from ziggurat.product.errors import Invalid
from ziggurat.product.foreign import ImportedChat, chats_of, holds_chats
from ziggurat.product.json_entries import entries
from ziggurat.product.objects import Imported
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store

MAX_BYTES = 512 * 1024**2
"""Of a file, and of all files in a zip together once they are unpacked."""
MAX_FILES = 50_000
MAX_MESSAGES = 50_000
"""In one chat."""
BATCH = 100
"""Chats and messages in one transaction; it takes a few tenths of a second, in which others who write wait."""
MAX_SKIPPED = 1_000
"""Lines of `skipped`; more are counted in the last one."""


def import_file(store: Store, principal: Principal, file: BinaryIO) -> Imported:
    """Read the chats of a file, from its beginning, into mine.

    Each document is read twice, conversation by conversation: first to see that all are whole, then to import them.

    Raises:
        Invalid: the file is too large, or is no such file; then nothing was imported.
    """
    require(principal, "chat")
    if (size := file.seek(0, os.SEEK_END)) > MAX_BYTES:
        raise Invalid(f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read.", code="too_large")
    skipped: list[dict[str, str]] = []
    written = _Writer(store, principal)
    for document in list(_documents(file, skipped)):
        with document.open() as content:
            for chat in chats_of(document.name, entries(content), skipped, among_chats=document.has_chats):
                written.add(chat, skipped)
    written.flush()
    if not written.found and not skipped:
        raise Invalid(
            "this file holds no chat of Ziggurat, ChatGPT or Open WebUI; export one there as JSON or zip.",
            code="not_chats",
        )
    if len(skipped) > MAX_SKIPPED:
        more = len(skipped) - MAX_SKIPPED
        skipped = [*skipped[:MAX_SKIPPED], {"what": f"{more:,} more", "why": "the list is too long."}]
    return Imported(ids=written.ids, chats=len(written.ids), messages=written.messages, skipped=skipped)


@dataclass(frozen=True)
class _Document:
    """A JSON document that was read once to its end."""

    name: str
    open: Callable[[], AbstractContextManager[BinaryIO]]
    has_chats: bool


def _documents(file: BinaryIO, skipped: list[dict[str, str]]) -> Iterator[_Document]:
    """The JSON documents of a file."""
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":

        def from_start() -> AbstractContextManager[BinaryIO]:
            file.seek(0)
            return nullcontext(file)

        with from_start() as content:
            yield _Document("the file", from_start, holds_chats(entries(content)))
        return
    try:
        archive = zipfile.ZipFile(file)
        infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Invalid(f"the zip cannot be read ({error}); export it again.", code="not_chats") from None
    wanted = [info for info in infos if info.filename.endswith(".json") and not info.is_dir()]
    if len(infos) > MAX_FILES or sum(info.file_size for info in wanted) > MAX_BYTES:
        raise Invalid(
            f"the zip unpacks to more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes; split it.",
            code="too_large",
        )
    left = [MAX_BYTES]
    for info in wanted:
        unpack = partial(archive.open, info)
        try:
            with unpack() as member:
                whole = holds_chats(entries(_Bounded(member, left)))  # type: ignore[arg-type]
        except Invalid as error:
            if error.code == "too_large":
                raise
            skipped.append({"what": clean_json(info.filename)[:200], "why": str(error)})
        except (
            zipfile.BadZipFile,
            OSError,
            RuntimeError,
            NotImplementedError,
            EOFError,
            zlib.error,
        ) as error:
            skipped.append(
                {"what": clean_json(info.filename)[:200], "why": f"it cannot be unpacked ({error})."}
            )
        else:
            yield _Document(info.filename, unpack, whole)  # type: ignore[arg-type]


class _Bounded:
    """A file of a zip, whose directory may say less than what it unpacks to."""

    def __init__(self, file: IO[bytes], left: list[int]) -> None:
        self._file, self._left = file, left

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left[0] -= len(data)
        if self._left[0] < 0:
            raise Invalid(f"the zip unpacks to more than {MAX_BYTES:,} bytes; split it.", code="too_large")
        return data


class _Writer:
    """Writes chats, several in one transaction: each costs the disk a few milliseconds."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self.store, self.principal = store, principal
        self.ids: list[str] = []
        self.messages = 0
        self._waiting: list[tuple[dict[str, Any], list[dict[str, Any]], Any]] = []
        self._size = 0

    @property
    def found(self) -> bool:
        return bool(self.ids)

    def add(self, chat: ImportedChat, skipped: list[dict[str, str]]) -> None:
        values, nodes = _row(chat, skipped)
        self._waiting.append((values, nodes, chat.leaf))
        self._size += 1 + len(nodes)
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        if not waiting:
            return
        with self.store.write() as conn:
            for values, nodes, leaf in waiting:
                chat_id = insert_chat(conn, self.store, self.principal, **values)
                add_tree(conn, self.store, self.principal, chat_id, nodes, leaf=leaf)
                self.ids.append(chat_id)
                self.messages += len(nodes)


def _row(chat: ImportedChat, skipped: list[dict[str, str]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The values of a chat and its messages, cut to what is kept; what was cut is named in `skipped`."""
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
    kept = [clean_json(node) | {"content": clean_json(node["content"])[:MAX_TEXT]} for node in nodes]
    return values, kept
