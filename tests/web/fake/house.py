"""All that the fake server remembers: chats, messages, running answers, and what the tests look at afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tests.web.fake.administration import Admin
from tests.web.fake.answers import answer_to, calls_of, cut, finish_of
from tests.web.fake.basics import Ids, frame, missing, stamp

MODELS: list[dict[str, Any]] = [
    {"name": "smollm2", "stage": None, "parameters": 134_515_008, "context": 2048, "is_base": False,
     "description": "SmolLM2-135M-Instruct", "licence": "Apache-2.0", "run": None, "upstream": None},
    {"name": "town/ppo-2", "stage": "ppo", "parameters": 3_600_000, "context": 256, "is_base": False,
     "description": "", "licence": None, "run": "town/ppo-2", "upstream": None},
    {"name": "town/sft-1", "stage": "sft", "parameters": 3_600_000, "context": 256, "is_base": False,
     "description": "", "licence": None, "run": "town/sft-1", "upstream": None},
    {"name": "town/pretrain-1", "stage": "pretrain", "parameters": 3_600_000, "context": 256, "is_base": True,
     "description": "", "licence": None, "run": "town/pretrain-1", "upstream": None},
]  # fmt: skip
EXAMPLES = [
    {"text": "Where does Mira live?", "kind": "known", "lang": "en"},
    {"text": "What is Mira's favourite colour?", "kind": "unknown", "lang": "en"},
    {"text": "米拉住在哪里？", "kind": "known", "lang": "zh"},
]


@dataclass
class Generation:
    id: str
    chat: str
    message: dict[str, Any]
    answer: str
    reasoning: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    task: asyncio.Task[None] | None = None

    def push(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.over = self.over or event["type"] in ("done", "error")
        self.changed.set()
        self.changed = asyncio.Event()


class House:
    """All state: people, chats, messages, generations, and a log of what was asked for."""

    def __init__(self, *, mode: str = "local", delay_s: float = 0.01) -> None:
        self.ids = Ids()
        self.mode, self.delay_s = mode, delay_s
        self.needs_setup = mode == "setup"
        if mode == "setup":
            self.mode = "accounts"
        self.logged_in = mode == "local"
        self.registration = "open"
        self.preferences: dict[str, Any] = {}
        self.consents: dict[str, bool] = {}
        self.chats: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.generations: dict[str, Generation] = {}
        self.folders: dict[str, dict[str, Any]] = {}
        self.personas: dict[str, dict[str, Any]] = {}
        self.shares: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()  # answers of a pair, until one is picked
        self.picks: list[dict[str, Any]] = []
        self.rewrites: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.languages: list[str] = []  # the accept-language of each request of the API
        self.asked: list[dict[str, Any]] = []  # the bodies of turns, regenerations, edits and pairs
        self.temporary: list[dict[str, Any]] = []
        self.refuse_turns = 0
        self.cuts = 0
        self.gate_open = (
            True  # a question with `gated` is answered to its second piece, and on when this is true
        )
        self.silent = False  # every event stream ends without its last event
        self.role = "owner"
        self.answers: dict[str, str] = {}  # a word of the question -> the answer
        self.letters = False  # write letter by letter
        self.climbs: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.admin = Admin()

    def cut_streams(self) -> None:
        """Break every event stream once, as a lost network does."""
        self.cuts += 1

    # -- chats ---------------------------------------------------------------------------------------------

    def chat(self, chat_id: str) -> dict[str, Any]:
        if chat_id not in self.chats:
            raise missing()
        return self.chats[chat_id]

    def message(self, chat_id: str, message_id: str) -> dict[str, Any]:
        found = self.messages.get(message_id)
        if found is None or found["chat_id"] != chat_id:
            raise missing()
        return found

    def new_chat(self, **given: Any) -> dict[str, Any]:
        now = stamp()
        chat = {
            "id": self.ids.new("chat"), "title": "", "model": MODELS[0]["name"], "folder_id": None, "persona_id": None,
            "system_prompt": None, "settings": {}, "data_use": False, "pinned": False, "archived": False,
            "deleted_at": None, "active_leaf_id": None, "created_at": now, "updated_at": now,
        }  # fmt: skip
        chat |= {name: value for name, value in given.items() if name in chat and value is not None}
        self.chats[chat["id"]] = chat
        return chat

    def new_message(
        self, chat_id: str, role: str, content: str, parent: str | None, **given: Any
    ) -> dict[str, Any]:
        message = {
            "id": self.ids.new("msg"), "chat_id": chat_id, "parent_id": parent, "role": role, "content": content,
            "reasoning": None, "tool_calls": None, "model": None, "state": "complete",
            "finish_reason": None, "usage": None,
            "settings": None, "seed": None, "judgement": None, "guard": None,
            "lang": "zh" if any("\u4e00" <= c <= "\u9fff" for c in content) else "en", "edited": False,
            "created_at": stamp(),
        } | given  # fmt: skip
        self.messages[message["id"]] = message
        self.chats[chat_id]["active_leaf_id"] = message["id"]
        self.chats[chat_id]["updated_at"] = stamp()
        return message

    def children(self, chat_id: str, parent: str | None) -> list[dict[str, Any]]:
        return [m for m in self.messages.values() if m["chat_id"] == chat_id and m["parent_id"] == parent]

    def shown(self, message: dict[str, Any]) -> dict[str, Any]:
        siblings = [m["id"] for m in self.children(message["chat_id"], message["parent_id"])]
        hidden = {"model": None} if message["id"] in self.hidden else {}
        return message | hidden | {"siblings": siblings, "position": len(self.path(message["id"])) - 1}

    def path(self, leaf: str | None) -> list[dict[str, Any]]:
        path: list[dict[str, Any]] = []
        while leaf is not None:
            path.append(self.messages[leaf])
            leaf = self.messages[leaf]["parent_id"]
        return path[::-1]

    def newest_leaf(self, message_id: str) -> str:
        chat = self.messages[message_id]["chat_id"]
        while below := self.children(chat, message_id):
            message_id = below[-1]["id"]
        return message_id

    # -- generations ---------------------------------------------------------------------------------------

    def begin(self, chat_id: str, question: str, answer: dict[str, Any]) -> Generation:
        text, thought = answer_to(question)
        text = next((told for word, told in self.answers.items() if word in question), text)
        generation = Generation(self.ids.new("gen"), chat_id, answer, text, thought)
        answer["state"] = "running"
        self.generations[generation.id] = generation
        generation.task = asyncio.get_running_loop().create_task(self._write(generation, question))
        return generation

    async def _write(self, generation: Generation, question: str) -> None:
        message, pieces = (
            generation.message,
            list(generation.answer) if self.letters else cut(generation.answer),
        )
        delay = 0.12 if "slow" in question else self.delay_s
        began = time.monotonic()
        for piece in cut(generation.reasoning):
            generation.push({"type": "reasoning", "text": piece})
            message["reasoning"] = (message["reasoning"] or "") + piece
            await asyncio.sleep(delay)
        if "held" in question:
            await asyncio.sleep(0.5)
            self._hold(generation, question)
            return
        for i, piece in enumerate(pieces):
            while "gated" in question and i == 2 and not self.gate_open:
                await asyncio.sleep(0.02)
            if generation.over:
                return
            if "fail" in question and i == 2:
                message["state"] = "failed"
                error = {
                    "message": "The model stopped.",
                    "type": "server_error",
                    "param": None,
                    "code": "model_failed",
                }
                generation.push({"type": "error", "error": error, "message": self.shown(message)})
                return
            message["content"] += piece
            generation.push({"type": "text", "text": piece})
            await asyncio.sleep(delay)
        took = max(time.monotonic() - began, 1e-6)
        message |= {
            "state": "complete",
            "finish_reason": finish_of(question, message["content"]), "tool_calls": calls_of(question),
            "seed": 7,
            "usage": {
                "prompt_tokens": 21, "completion_tokens": len(pieces), "tokens_per_s": round(len(pieces) / took, 1),
                "ttft_ms": 42.0, "context": 2048, "dropped_messages": 0,
            },
        }  # fmt: skip
        chat = self.chats.get(generation.chat)
        if chat is None:
            return
        if not chat["title"]:
            chat["title"] = " ".join(question.split()[:6])[:40] or "Chat"
        chat["updated_at"] = stamp()
        generation.push({
            "type": "done", "message": self.shown(message),
            "chat": {"title": chat["title"], "active_leaf_id": chat["active_leaf_id"]},
        })  # fmt: skip

    def _hold(self, generation: Generation, question: str) -> None:
        """Keep the answer for a person; its message stays empty until then."""
        message, held = generation.message, self.ids.new("held")
        message |= {
            "state": "held", "finish_reason": "content_filter",
            "guard": {"layer": "rule", "action": "hold", "rule": "rule_1"},
        }  # fmt: skip
        self.admin.held[held] = {
            "id": held, "prompt": question, "text": generation.answer, "rule_id": "rule_1",
            "message_id": message["id"], "created_at": stamp(),
        }  # fmt: skip
        generation.push({"type": "held", "text": "Somebody here reads this answer first."})
        generation.push({"type": "done", "message": self.shown(message)})

    def decide(self, held_id: str, decision: str) -> dict[str, Any]:
        held = self.admin.held.pop(held_id)
        message, released = self.messages.get(held.get("message_id", "")), decision == "release"
        if message is not None:
            message |= {
                "content": held["text"] if released else "", "state": "complete",
                "finish_reason": "stop" if released else "content_filter",
            }  # fmt: skip
        return held | {"decision": decision}

    def stop(self, generation: Generation, seen: int) -> dict[str, Any]:
        if not generation.over:
            generation.message |= {
                "content": generation.message["content"][:seen], "state": "stopped", "finish_reason": "stop",
            }  # fmt: skip
            chat = self.chats[generation.chat]
            chat["title"] = chat["title"] or "Stopped"
            generation.push({
                "type": "done", "message": self.shown(generation.message),
                "chat": {"title": chat["title"], "active_leaf_id": chat["active_leaf_id"]},
            })  # fmt: skip
        return self.shown(generation.message)

    async def events(self, generation: Generation, after: int | None) -> AsyncIterator[str]:
        at, cuts = 0, self.cuts
        if after is not None:
            at = after
        elif generation.events:
            at = len(generation.events)
            for kind in ("reasoning", "text"):
                text = "".join(e["text"] for e in generation.events if e["type"] == kind)
                if text:
                    yield frame(at, {"type": kind, "text": text})
            if generation.events[-1]["type"] in ("done", "error", "held"):
                yield frame(at, generation.events[-1])
        while True:
            changed = generation.changed
            while at < len(generation.events):
                if self.cuts != cuts:
                    raise ConnectionResetError
                if self.silent and generation.events[at]["type"] in ("done", "error"):
                    return
                at += 1
                yield frame(at, generation.events[at - 1])
            if generation.over:
                return
            try:
                await asyncio.wait_for(changed.wait(), 2.0)
            except TimeoutError:
                yield ": waiting\n\n"


class Door:
    """Stands for the house that is open now, so that one running server can serve one house after the other."""

    def __init__(self, house: House) -> None:
        object.__setattr__(self, "house", house)

    def open(self, house: House) -> None:
        object.__setattr__(self, "house", house)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "house"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "house"), name, value)
