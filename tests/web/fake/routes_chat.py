"""Turns, answers, judgements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from tests.web.fake.answers import answer_to, cut
from tests.web.fake.basics import Refused, missing
from tests.web.fake.house import MODELS


def turn_routes(app: FastAPI, house: Any) -> None:
    def offered(chat: dict[str, Any], body: dict[str, Any]) -> None:
        """Refuse a model that is not served, be it asked for or the chat's own."""
        house.asked.append(body)
        if (body.get("model") or chat["model"]) not in [one["name"] for one in MODELS]:
            raise Refused(404, "model_not_found", "There is no such model.")

    def answer_under(chat_id: str, parent: str, model: str | None) -> dict[str, Any]:
        return house.new_message(
            chat_id, "assistant", "", parent, model=model or house.chat(chat_id)["model"]
        )

    def begun(chat_id: str, question: dict[str, Any], model: str | None, **more: Any) -> JSONResponse:
        answer = answer_under(chat_id, question["id"], model)
        generation = house.begin(chat_id, question["content"], answer)
        return JSONResponse({"answer": house.shown(answer), "generation_id": generation.id, **more}, 202)

    @app.post("/api/chats/{chat_id}/turns")
    async def turn(chat_id: str, request: Request) -> JSONResponse:
        body = await request.json()
        offered(house.chat(chat_id), body)
        if house.refuse_turns > 0:
            house.refuse_turns -= 1
            raise Refused(503, "busy", "Too many answers are being written just now.")
        user = house.new_message(chat_id, "user", body["text"], body.get("parent_id"))
        return begun(chat_id, user, body.get("model"), user=house.shown(user))

    @app.post("/api/chats/{chat_id}/messages/{mid}/regenerate")
    async def regenerate(chat_id: str, mid: str, request: Request) -> JSONResponse:
        body = await request.json()
        offered(house.chat(chat_id), body)
        question = house.message(chat_id, house.message(chat_id, mid)["parent_id"])
        return begun(chat_id, question, body.get("model"))

    @app.post("/api/chats/{chat_id}/messages/{mid}/edit")
    async def edit(chat_id: str, mid: str, request: Request) -> JSONResponse:
        body, old = await request.json(), house.message(chat_id, mid)
        if body["run"]:
            offered(house.chat(chat_id), body)
        new = house.new_message(
            chat_id, old["role"], body["text"], old["parent_id"], edited=True, model=old["model"]
        )
        if old["role"] == "user" and body["run"]:
            return begun(chat_id, new, body.get("model"), user=house.shown(new))
        return JSONResponse({"message": house.shown(new)})

    @app.post("/api/chats/{chat_id}/messages/{mid}/continue")
    async def go_on(chat_id: str, mid: str) -> JSONResponse:
        answer = house.message(chat_id, mid)
        answer["content"] += " "
        generation = house.begin(chat_id, "on", answer)
        generation.answer = "And this is continued."
        generation.events.append({"type": "text", "text": answer["content"]})
        return JSONResponse({"answer": house.shown(answer), "generation_id": generation.id}, 202)

    @app.post("/api/chats/{chat_id}/pair")
    async def pair(chat_id: str, request: Request) -> JSONResponse:
        body, chat = await request.json(), house.chat(chat_id)
        offered(chat, {})
        user = house.new_message(chat_id, "user", body["text"], body.get("parent_id"))
        answers = [
            answer_under(chat_id, user["id"], name)
            for name in body.get("models") or [chat["model"], "town/ppo-2"]
        ]
        for answer in answers:
            answer["pair_id"] = f"pair_{answers[0]['id']}"
        generations = [house.begin(chat_id, user["content"], answer) for answer in answers]
        house.hidden |= {answer["id"] for answer in answers}
        shown = [house.shown(answer) for answer in answers]
        return JSONResponse(
            {"user": house.shown(user), "answers": shown, "generation_ids": [g.id for g in generations]}, 202
        )

    @app.get("/api/chats/{chat_id}/generations/{gid}/events")
    async def events(chat_id: str, gid: str, request: Request, after: int | None = None) -> StreamingResponse:
        generation = house.generations.get(gid)
        if generation is None or generation.chat != chat_id:
            raise missing()
        last = request.headers.get("last-event-id")
        return StreamingResponse(
            house.events(generation, int(last) if last else after), media_type="text/event-stream"
        )

    @app.post("/api/chats/{chat_id}/generations/{gid}/stop")
    async def stop(chat_id: str, gid: str, request: Request) -> dict[str, Any]:
        house.chat(chat_id)
        return {"message": house.stop(house.generations[gid], (await request.json())["seen_chars"])}

    @app.post("/api/chat")
    async def temporary(request: Request) -> StreamingResponse:
        body = await request.json()
        house.temporary.append(body)
        text, _ = answer_to(body["messages"][-1]["content"])

        async def written() -> AsyncIterator[str]:
            pieces = cut(text)
            for piece in pieces:
                yield f"data: {json.dumps({'text': piece})}\n\n"
                await asyncio.sleep(house.delay_s)
            done = {"finish_reason": "stop", "usage": {"prompt_tokens": 9, "completion_tokens": len(pieces)},
                    "seed": 3, "dropped_messages": 0, "tokens_per_s": 99.0}  # fmt: skip
            yield f"data: {json.dumps({'done': done})}\n\n"

        return StreamingResponse(written(), media_type="text/event-stream")


def judging_routes(app: FastAPI, house: Any) -> None:
    @app.put("/api/chats/{chat_id}/messages/{mid}/judgement")
    async def judge(chat_id: str, mid: str, request: Request) -> dict[str, Any]:
        message, body = house.message(chat_id, mid), await request.json()
        value = {"value": body["value"], "reasons": body.get("reasons", []), "comment": body.get("comment")}
        message["judgement"] = value if body["value"] else None
        return {"judgement": message["judgement"]}

    @app.post("/api/chats/{chat_id}/messages/{mid}/rewrite")
    async def rewrite(chat_id: str, mid: str, request: Request) -> dict[str, Any]:
        house.rewrites.append({"message": mid, **await request.json()})
        return {"id": house.ids.new("judgement")}

    @app.post("/api/chats/{chat_id}/messages/{mid}/report")
    async def report(chat_id: str, mid: str, request: Request) -> dict[str, Any]:
        house.reports.append({"message": mid, **await request.json()})
        return {"id": house.ids.new("report")}

    @app.post("/api/chats/{chat_id}/picks")
    async def pick(chat_id: str, request: Request) -> dict[str, Any]:
        body = await request.json()
        house.picks.append(body)
        for one in body["shown"]:
            house.hidden.discard(one)
        if body["winner"] in body["shown"]:
            house.chat(chat_id)["active_leaf_id"] = body["winner"]
        return {"messages": [house.shown(house.message(chat_id, m)) for m in body["shown"]]}

    @app.get("/api/chats/{chat_id}/messages/{mid}/why")
    async def why(chat_id: str, mid: str) -> dict[str, Any]:
        message = house.message(chat_id, mid)
        tokens = []
        for i, piece in enumerate(cut(message["content"])[:120]):
            logprob = -0.05 - (i % 5) * 0.8
            tops = [(piece, logprob), (" or", logprob - 1), (" perhaps", logprob - 2)]
            tokens.append(
                {"text": piece, "logprob": logprob, "top": [{"text": t, "logprob": p} for t, p in tops]}
            )
        prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in house.path(mid)[:-1])
        return {
            "prompt": prompt,
            "tokens": tokens,
            "curl": "curl http://127.0.0.1:8000/v1/chat/completions -d '{}'",
            "seed": 7,
        }

    @app.get("/api/flywheel/explain/{mid}")
    async def origin(mid: str) -> dict[str, Any]:
        """Of an answer whose question says "release"; any other was written by a model without one."""
        message = house.messages[mid]
        question = house.messages[message["parent_id"]]["content"]
        at = "2026-11-29T10:00:00Z"
        release = {"name": "assistant-2", "created_at": at, "scores": {"win_rate": 0.61}}
        version = {
            "id": "dsv_1",
            "ref": "feedback/v1",
            "known": True,
            "created_at": at,
            "records": 240,
            "people": 12,
            "kinds": {"comparison": 240},
            "withdrawn": 3,
            "advice": None,
        }
        wrote = "release" in question
        return {
            "answer": {"id": mid, "kind": "message", "model": message["model"], "question": question},
            "release": release if wrote else None,
            "lineage": [release, {**release, "name": "assistant-1"}] if wrote else [],
            "versions": [version] if wrote else [],
            "examples": 0,
            "may_read_judgements": True,
        }

    @app.get("/api/flywheel/datasets/{version}/judgements")
    async def behind(version: str, q: str = "") -> dict[str, Any]:
        record = {
            "prompt": [{"role": "user", "content": f"Like: {q}"}],
            "completions": ["The worse one.", "The better one."],
            "ranks": [2, 1],
        }
        one = {
            "judgement_id": "judgement_1",
            "kind": "comparison",
            "source": "ranking",
            "split": "train",
            "weight": 0.87,
            "person": "p-0123456789abcdef",
            "judged_at": "2026-11-28T10:00:00Z",
            "score": 0.9,
            "record": record,
        }
        return {"version": version, "records": 240, "withdrawn": 3, "data": [one]}
