"""The calls of two other chat pages, replayed: Open WebUI's and chat-ui's, as their sources make them.

Open WebUI asks `/models` with its key to verify a connection, streams with fields of its own, and asks for titles and
tags in separate calls that are not streamed. chat-ui learns models only from `/models` and streams by OpenAI's client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat

from ziggurat.service.server import create_app

ANSWER = ["Mira lives ", "by the canal."]
TITLE = '{"title": "Where Mira lives"}'


def answer(messages: Any, params: Any) -> list[str]:
    return [TITLE] if "### Task" in messages[-1].content else ANSWER


@pytest.fixture
def address(serving: Serving) -> Iterator[str]:
    with serving(create_app({"town/ppo-1": FakeChat(answer)})) as found:
        yield found


def chunks(answered: httpx.Response) -> list[dict[str, Any]]:
    lines = [line[6:] for line in answered.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_open_webui_verifies_a_connection_and_chats(address: str) -> None:
    headers = {"Authorization": "Bearer any", "X-OpenWebUI-User-Name": "Ana", "X-OpenWebUI-User-Role": "user"}
    listed = httpx.get(f"{address}/v1/models", headers=headers).json()
    (model,) = [one["id"] for one in listed["data"]]
    body = {
        "stream": True,
        "model": model,
        "messages": [{"role": "user", "content": "Where does Mira live?"}],
        "stream_options": {"include_usage": True},
        "features": {"web_search": False, "code_interpreter": False},
        "variables": {"{{USER_NAME}}": "Ana"},
        "session_id": "5f3c",
        "chat_id": "0b8e",
        "background_tasks": {"title_generation": True, "tags_generation": True},
    }
    streamed = chunks(httpx.post(f"{address}/v1/chat/completions", json=body, headers=headers))
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in streamed if c["choices"])
    assert text == "".join(ANSWER)
    assert [c["choices"][0]["finish_reason"] for c in streamed if c["choices"]][-1] == "stop"
    assert streamed[-1]["usage"]["completion_tokens"] > 0


def test_open_webui_asks_for_a_title_without_a_stream(address: str) -> None:
    task = "### Task:\nGenerate a concise title with an emoji.\n### Chat History:\n<chat_history>...</chat_history>"
    body = {
        "model": "town/ppo-1",
        "messages": [{"role": "user", "content": task}],
        "stream": False,
        "max_completion_tokens": 1000,
        "metadata": {"task": "title_generation"},
    }
    answered = httpx.post(
        f"{address}/v1/chat/completions", json=body, headers={"Authorization": "Bearer any"}
    )
    assert answered.status_code == 200, answered.text
    assert json.loads(answered.json()["choices"][0]["message"]["content"])["title"] == "Where Mira lives"


def test_chat_ui_learns_the_models_and_streams(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="sk-")
    (model,) = client.models.list().data
    stream = client.chat.completions.create(
        model=model.id,
        messages=[
            {"role": "system", "content": "You are kind."},
            {"role": "user", "content": [{"type": "text", "text": "Where does Mira live?"}]},
        ],
        stream=True,
        max_tokens=512,
        temperature=0.7,
        top_p=0.95,
        stop=["</s>"],
        frequency_penalty=0.0,
    )
    parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(parts) == "".join(ANSWER)
