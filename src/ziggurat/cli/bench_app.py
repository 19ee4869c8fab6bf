"""What the chat product itself costs: `ziggurat bench app` fills a store, starts a server on it, and measures it.

The server asks an upstream of this process that answers at once, so that no model is measured. Times to the first text
are the server's own: from the arrival of a turn to its first event. Beside them: how fast this machine's SQLite reads a
page of a chat, in the same process, without a server.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from ziggurat.errors import RunError
from ziggurat.product import chats, people, registration, sessions
from ziggurat.product.chats import insert_chat
from ziggurat.product.copies import add_tree
from ziggurat.product.principal import Principal
from ziggurat.service.product.house import COOKIE
from ziggurat.store.store import Store

PASSWORD = "a password of the benchmark"  # noqa: S105 - of people who exist for a minute
WORDS = [
    "canal",
    "baker",
    "lantern",
    "market",
    "bridge",
    "运河",
    "面包师",
    "灯笼",
    "市场",
    "桥",
    "letter",
    "garden",
    "river",
    "morning",
    "window",
]
REPEATS = 15
STARTS_WITHIN_S = 60.0


@dataclass(frozen=True)
class Plan:
    """How much there is, and for how long it is asked."""

    people: int = 50
    every_s: float = 10.0
    seconds: float = 60.0
    chats: int = 50_000
    messages: int = 100_000
    long_chat: int = 10_000


QUICK = Plan(people=5, every_s=1.0, seconds=5.0, chats=500, messages=1_000, long_chat=500)


@dataclass
class Found:
    """Milliseconds, but for the memory."""

    first_text_p50_ms: float = 0.0
    first_text_p95_ms: float = 0.0
    answers: int = 0
    refused: int = 0
    open_long_chat_ms: float = 0.0
    list_chats_ms: float = 0.0
    search_ms: float = 0.0
    search_zh_ms: float = 0.0
    sqlite_page_ms: float = 0.0
    """The same page of the long chat, read by the rules in this process."""
    memory_mib: float = 0.0
    """Of the server's process, at its end."""
    notes: list[str] = field(default_factory=list)


TARGETS = {
    "first_text_p95_ms": 30.0,
    "open_long_chat_ms": 200.0,
    "list_chats_ms": 100.0,
    "search_ms": 150.0,
    "search_zh_ms": 150.0,
    "memory_mib": 250.0,
}


def measure(plan: Plan) -> dict[str, Any]:
    """Fill, serve, ask. Raises RunError if the server does not start."""
    with tempfile.TemporaryDirectory(prefix="ziggurat-bench-") as folder:
        os.environ["ZIGGURAT_HOME"] = folder
        store = Store.open(Path(folder) / "ziggurat.db")
        owner, cookies = settle(store, plan)
        chat_id = fill(store, owner, plan)
        page_ms = _median_ms(lambda: chats.open_chat(store, owner, chat_id))
        store.close()
        found = asyncio.run(_served(folder, plan, cookies, chat_id))
        found.sqlite_page_ms = page_ms
    return {"plan": asdict(plan), "found": asdict(found), "targets": TARGETS}


def settle(store: Store, plan: Plan) -> tuple[Principal, list[str]]:
    """An owner and the other people; their session cookies, the owner's first."""
    token = registration.setup_token(store)
    assert token is not None
    registration.set_up(store, token=token, email="p0@bench.example", name="p0", password=PASSWORD)
    cookies, principals = list[str](), list[Principal]()
    for number in range(plan.people):
        email = f"p{number}@bench.example"
        if number:
            _, secret = registration.invite(store, principals[0], email=email)
            registration.register(store, email=email, name=email, password=PASSWORD, invitation=secret)
        _, cookie, _ = sessions.log_in(store, email=email, password=PASSWORD, ip_prefix=f"10.0.{number}")
        cookies.append(cookie)
        known = sessions.principal_of(store, cookie)
        assert known is not None
        principals.append(known[0])
    people.me(store, principals[0])
    return principals[0], cookies


def fill(store: Store, owner: Principal, plan: Plan) -> str:
    """The chats and messages of the plan, all the owner's; the id of the long one."""
    each = max(1, (plan.messages - plan.long_chat) // plan.chats)
    with store.write() as conn:
        for number in range(plan.chats - 1):
            chat_id = insert_chat(conn, store, owner, title=f"Chat {number} {_words(number, 3)}")
            add_tree(conn, store, owner, chat_id, _messages(each, number))
        long_id = insert_chat(conn, store, owner, title="The long one")
        add_tree(conn, store, owner, long_id, _messages(plan.long_chat, 7))
    return long_id


def _words(seed: int, count: int) -> str:
    return " ".join(WORDS[(seed * 7 + i * 5 + seed // (i + 1)) % len(WORDS)] for i in range(count))


def _messages(count: int, seed: int) -> list[dict[str, Any]]:
    return [
        {
            "key": i,
            "parent": i - 1 if i else None,
            "role": "assistant" if i % 2 else "user",
            "content": f"{_words(seed + i, 30)}.",
        }
        for i in range(count)
    ]


# --- the server -----------------------------------------------------------------------------------------------------


async def _served(folder: str, plan: Plan, cookies: Sequence[str], chat_id: str) -> Found:
    upstream = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    command = [sys.executable, "-m", "ziggurat", "serve", "--upstream", f"fake=http://127.0.0.1:{port}/v1"]
    process = subprocess.Popen(
        [*command, "--accounts", "--port", "0"],
        env={**os.environ, "ZIGGURAT_HOME": folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = await asyncio.wait_for(asyncio.to_thread(_address, process), STARTS_WITHIN_S)
        found = await _asked(address, plan, cookies, chat_id)
        found.memory_mib = psutil.Process(process.pid).memory_info().rss / 2**20
        return found
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
        upstream.close()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"http://\S+", line):
            return match.group(0)
    raise RunError("the server of the benchmark did not start; run it by hand to see why.")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that answers each request at once, with 40 pieces."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if length is not None:
                await reader.readexactly(int(length.group(1)))
            if b"/models" in head.partition(b"\r\n")[0]:
                body = json.dumps({"object": "list", "data": [{"id": "fast", "object": "model"}]}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                    % len(body)
                )
                writer.write(body)
            else:
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                    + PIECES
                )
                await writer.drain()
                writer.close()
                return
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


PIECES = (
    b"".join(_chunk({"content": f"word{i} "}) for i in range(40)) + _chunk({}, "stop") + b"data: [DONE]\n\n"
)


# --- those who ask --------------------------------------------------------------------------------------------------


async def _asked(address: str, plan: Plan, cookies: Sequence[str], chat_id: str) -> Found:
    found = Found()
    async with httpx.AsyncClient(base_url=address, timeout=30, cookies={COOKIE: cookies[0]}) as owner:
        found.open_long_chat_ms = await _median_get(owner, f"/api/chats/{chat_id}")
        found.list_chats_ms = await _median_get(owner, "/api/chats")
        found.search_ms = await _median_get(owner, "/api/search?q=lantern+bridge")
        found.search_zh_ms = await _median_get(owner, "/api/search?q=运河")
    firsts: list[float] = []
    until = time.monotonic() + plan.seconds
    talks = [_talk(address, plan, cookie, i, until, firsts, found) for i, cookie in enumerate(cookies)]
    await asyncio.gather(*talks)
    found.answers = len(firsts)
    if len(firsts) >= 2:
        found.first_text_p50_ms = round(statistics.median(firsts), 1)
        found.first_text_p95_ms = round(statistics.quantiles(firsts, n=20)[-1], 1)
    return found


async def _talk(
    address: str, plan: Plan, cookie: str, number: int, until: float, firsts: list[float], found: Found
) -> None:
    """One person: a message every so often, each answer followed to its end."""
    async with httpx.AsyncClient(base_url=address, timeout=30, cookies={COOKIE: cookie}) as client:
        csrf = (await client.get("/api/me")).json()["csrf"]
        client.headers["x-csrf-token"] = csrf
        chat_id = (await client.post("/api/chats", json={"model": "fake/fast"})).json()["id"]
        parent: str | None = None
        await asyncio.sleep(plan.every_s * number / plan.people)
        while time.monotonic() < until:
            began = time.monotonic()
            asked = await client.post(
                f"/api/chats/{chat_id}/turns", json={"text": _words(number, 12), "parent_id": parent}
            )
            if asked.status_code != 202:
                found.refused += 1
                found.notes = sorted({*found.notes, asked.json()["error"]["message"]})
                await asyncio.sleep(plan.every_s)
                continue
            begun = asked.json()
            parent = begun["answer"]["id"]
            path = f"/api/chats/{chat_id}/generations/{begun['generation_id']}/events"
            async with client.stream("GET", path) as events:
                async for line in events.aiter_lines():
                    if line.startswith("data: ") and (done := json.loads(line[6:]))["type"] == "done":
                        firsts.append(float(done["message"]["usage"]["first_text_ms"]))
            await asyncio.sleep(max(0.0, plan.every_s - (time.monotonic() - began)))


async def _median_get(client: httpx.AsyncClient, path: str) -> float:
    times = []
    for _ in range(REPEATS):
        mark = time.perf_counter()
        (await client.get(path)).raise_for_status()
        times.append((time.perf_counter() - mark) * 1000)
    return round(statistics.median(times), 1)


def _median_ms(act: Any) -> float:
    times = []
    for _ in range(REPEATS):
        mark = time.perf_counter()
        act()
        times.append((time.perf_counter() - mark) * 1000)
    return round(statistics.median(times), 1)
