"""Chats in the forms of our own export, of ChatGPT's and of Open WebUI's, as trees of texts.

ChatGPT: `conversations.json`, a list of conversations with a `mapping` of nodes (id, parent, message), where hidden and
empty nodes join the visible ones. Open WebUI: a list of {title, chat: {history: {messages, currentId}}}.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ziggurat.product.calls import readable
from ziggurat.product.export import CHAT_FORMAT, CHAT_KIND
from ziggurat.product.objects import Settings
from ziggurat.store.clock import SECOND, from_iso

ROLES = ("user", "assistant")
YEAR_3000_S = 32_503_680_000
MAX_DEPTH = 100
"""Objects and lists in one another, in a chat of our own form. The page's writer of JSON ends at 255."""
Skipped = list[dict[str, str]]


@dataclass
class ImportedChat:
    """`nodes`: parents before children, with key, parent, role, content and what else `copies.add_tree` takes."""

    title: str
    nodes: list[dict[str, Any]]
    leaf: Any = None
    system_prompt: str | None = None
    model: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    pinned: bool = False
    archived: bool = False
    created_at: int | None = None
    updated_at: int | None = None


def holds_chats(entries: Iterable[tuple[int | None, Any]]) -> bool:
    """Whether a document holds a chat of a known form; it is read to its end.

    Raises:
        Invalid: those of `json_entries.entries`.
    """
    return sum(_reader(item) is not None for _, item in entries) > 0


def chats_of(
    name: str, entries: Iterable[tuple[int | None, Any]], skipped: Skipped, *, among_chats: bool
) -> Iterator[ImportedChat]:
    """The chats of one document, as `json_entries.entries` reads it; of a list, what is of no known form is named in
    `skipped` if it lies among chats."""
    for at, item in entries:
        read = _reader(item)
        where = name if at is None else f"{name}, entry {at + 1}"
        if read is None:
            if at is not None and among_chats:
                skipped.append({"what": where, "why": "it is not a chat of a known form."})
            continue
        try:
            chat = read(item, skipped)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            skipped.append({"what": where, "why": f"it is damaged ({type(error).__name__}: {error})"[:300]})
            continue
        if chat.nodes:
            yield chat
        else:
            skipped.append({"what": str(chat.title)[:200] or where, "why": "it holds no text."})


def _reader(item: Any) -> Callable[[Any, Skipped], ImportedChat] | None:
    if not isinstance(item, Mapping):
        return None
    if item.get("kind") == CHAT_KIND:
        return _own
    if isinstance(item.get("mapping"), Mapping):
        return _chatgpt
    chat = item.get("chat")
    if isinstance(chat, Mapping) and isinstance(chat.get("history") or chat.get("messages"), Mapping | list):
        return _open_webui
    return None


def ordered(nodes: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    """Parents before children, siblings in the order of the mapping; what hangs on a circle is left out."""
    children: dict[Any, list[Any]] = {}
    for key, node in nodes.items():
        parent = node["parent"] if node["parent"] in nodes else None
        node["parent"] = parent
        children.setdefault(parent, []).append(key)
    found, waiting = [], children.get(None, [])[::-1]
    while waiting:
        key = waiting.pop()
        found.append(nodes[key])
        waiting += children.get(key, [])[::-1]
    return found


def _own(item: Mapping[str, Any], _skipped: Skipped) -> ImportedChat:
    if item.get("format_version", 1) > CHAT_FORMAT:
        raise ValueError("a newer Ziggurat wrote it; upgrade this one")
    if _is_deep(item):
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    nodes = {}
    for message in item["messages"]:
        if message["role"] not in (*ROLES, "system", "tool") or not isinstance(message["content"], str):
            raise ValueError("a message is not one")
        node = {name: message[name] for name in _TEXTS if isinstance(message.get(name), str)}
        node |= {name: message[name] for name in _OBJECTS if isinstance(message.get(name), dict)}
        node |= {
            "key": message["id"],
            "parent": message.get("parent"),
            "edited": message.get("edited") is True,
        }
        if calls := readable(message.get("tool_calls")):
            node["tool_calls"] = calls
        if isinstance(seed := message.get("seed"), int) and abs(seed) < 2**63:
            node["seed"] = int(seed)
        if node.get("state") not in ("complete", "stopped", "interrupted", "failed"):
            node["state"] = "complete"
        node["settings"] = _settings(message.get("settings"))
        node["created_at"] = _time(message.get("created_at"))
        nodes[message["id"]] = node
    return ImportedChat(
        title=str(item.get("title") or ""),
        nodes=ordered(nodes),
        leaf=item.get("active_leaf"),
        system_prompt=_text(item.get("system_prompt")),
        model=_text(item.get("model")),
        settings=_settings(item.get("settings")),
        pinned=item.get("pinned") is True,
        archived=item.get("archived") is True,
        created_at=_time(item.get("created_at")),
        updated_at=_time(item.get("updated_at")),
    )


def _is_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return inside is not None and (levels == 0 or any(_is_deep(one, levels - 1) for one in inside))


_TEXTS = ("role", "content", "reasoning", "model", "state", "finish_reason", "lang")
_OBJECTS = ("usage", "guard", "hashes")


def _settings(value: Any) -> dict[str, Any]:
    try:
        return Settings.model_validate(value or {}).model_dump(exclude_none=True)
    except ValidationError:
        return {}


def _chatgpt(item: Mapping[str, Any], skipped: Skipped) -> ImportedChat:
    mapping: Mapping[str, Any] = item["mapping"]
    title = str(item.get("title") or "")
    shown: dict[str, dict[str, Any]] = {}
    left_out: dict[str, int] = {}
    for key, node in mapping.items():
        message = (node or {}).get("message")
        content = _chatgpt_text(message, left_out) if isinstance(message, Mapping) else ""
        if content and isinstance(message, Mapping):
            meta = message.get("metadata") or {}
            shown[key] = {
                "key": key,
                "parent": None,
                "role": message["author"]["role"],
                "content": content,
                "model": _text(meta.get("model_slug")),
                "created_at": _time(message.get("create_time")),
            }
    for key, node in shown.items():  # a parent may come after its child in the file
        node["parent"] = _visible_parent(mapping, key, shown)
    skipped += [{"what": title, "why": f"{number} × {what}"} for what, number in left_out.items()]
    leaf = item.get("current_node")
    if leaf not in shown and leaf in mapping:
        leaf = _visible_parent(mapping, str(leaf), shown)
    return ImportedChat(
        title=title,
        nodes=ordered(shown),
        leaf=leaf,
        pinned=item.get("is_starred") is True,
        archived=item.get("is_archived") is True,
        created_at=_time(item.get("create_time")),
        updated_at=_time(item.get("update_time")),
    )


def _chatgpt_text(message: Mapping[str, Any], left_out: dict[str, int]) -> str:
    """The text of a message that its reader saw; what is left out is counted."""
    role, content = (message.get("author") or {}).get("role"), message.get("content") or {}
    if (message.get("metadata") or {}).get("is_visually_hidden_from_conversation") or role == "system":
        return ""
    kind = content.get("content_type")
    found = content.get("parts")
    parts: list[Any] = found if isinstance(found, list) else []
    texts = [part for part in parts if isinstance(part, str) and part.strip()]
    if (
        role not in ROLES
        or kind not in ("text", "multimodal_text")
        or message.get("recipient", "all") != "all"
    ):
        if texts or kind not in ("text", "multimodal_text"):
            name = f"{role} {kind}" if role in ROLES else f"output of a tool ({kind})"
            left_out[name] = left_out.get(name, 0) + 1
        return ""
    for part in parts:
        if isinstance(part, Mapping):
            name = f"attachment ({part.get('content_type', 'unknown')})"
            left_out[name] = left_out.get(name, 0) + 1
    return "\n\n".join(texts)


def _visible_parent(mapping: Mapping[str, Any], key: str, shown: Mapping[str, Any]) -> str | None:
    """The nearest node above that is shown."""
    seen = {key}
    parent = (mapping[key] or {}).get("parent")
    while parent is not None and parent not in shown:
        if parent in seen or parent not in mapping:
            return None
        seen.add(parent)
        parent = (mapping[parent] or {}).get("parent")
    return parent


def _open_webui(item: Mapping[str, Any], skipped: Skipped) -> ImportedChat:
    chat = item["chat"]
    history: Mapping[str, Any] = chat.get("history") or {}
    said: Mapping[Any, Any] = history.get("messages") or {}
    leaf = history.get("currentId")
    if not said:  # an old export holds a list only
        listed = chat["messages"]
        said = {at: {**message, "parentId": at - 1 if at else None} for at, message in enumerate(listed)}
        leaf = len(listed) - 1
    nodes: dict[Any, dict[str, Any]] = {}
    system, files = None, 0
    for key, message in said.items():
        content = message.get("content")
        files += len(message.get("files") or [])
        if message.get("role") == "system" and isinstance(content, str):
            system = content
        if message.get("role") in ROLES and isinstance(content, str):
            nodes[key] = {
                "key": key,
                "parent": message.get("parentId"),
                "role": message["role"],
                "content": content,
                "model": _text(message.get("model")),
                "created_at": _time(message.get("timestamp")),
            }
    title = str(item.get("title") or chat.get("title") or "")
    if files:
        skipped.append({"what": title, "why": f"{files} × attached file"})
    models = chat.get("models") or []
    return ImportedChat(
        title=title,
        nodes=ordered(nodes),
        leaf=leaf,
        system_prompt=system or _text((chat.get("params") or {}).get("system")) or _text(chat.get("system")),
        model=_text(models[0]) if models else None,
        pinned=item.get("pinned") is True,
        archived=item.get("archived") is True,
        created_at=_time(item.get("created_at")),
        updated_at=_time(item.get("updated_at")),
    )


def _text(value: Any) -> str | None:
    return value[:32_000] if isinstance(value, str) and value.strip() else None


def _time(value: Any) -> int | None:
    """Microseconds from seconds, milliseconds, microseconds, nanoseconds or ISO; None where it is no time."""
    if isinstance(value, str):
        try:
            return from_iso(value)
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    seconds = float(value)
    while seconds > YEAR_3000_S:
        seconds /= 1_000
    return int(seconds * SECOND)
