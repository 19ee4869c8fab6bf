"""Reads a generation's events as the page does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx


def follow(
    client: httpx.Client, chat_id: str, generation_id: str, after: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, event) until the last one."""
    path = f"/api/chats/{chat_id}/generations/{generation_id}/events"
    with client.stream("GET", path, headers={"last-event-id": str(after)}) as answer:
        assert answer.status_code == 200, answer.read()
        number = 0
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                yield number, json.loads(line[6:])


def ask(client: httpx.Client, chat_id: str, text: str, **more: Any) -> dict[str, Any]:
    """Begin a turn; the 202 answer."""
    answer = client.post(f"/api/chats/{chat_id}/turns", json={"text": text, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def finish(client: httpx.Client, chat_id: str, generation_id: str) -> dict[str, Any]:
    """The message of the last event."""
    *_, (_, last) = follow(client, chat_id, generation_id)
    return dict(last["message"])


def new_chat(client: httpx.Client, **fields: Any) -> str:
    made = client.post("/api/chats", json=fields)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])
