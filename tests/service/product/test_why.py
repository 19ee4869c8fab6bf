"""Why this answer: the command that asks for it again works as it is, with a key where the server needs one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from tests.service.product.events import ask, finish, new_chat
from tests.service.product.test_matrix import entered
from tests.service.tiny import MODEL, tiny_chat

from ziggurat.product import registration
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.store.store import Store

Open = Callable[..., httpx.Client]
SETTINGS = {"temperature": 0.7, "max_tokens": 12, "seed": 11}


def explained(client: httpx.Client) -> tuple[dict[str, Any], str]:
    """(why, the answer that it is about)."""
    chat_id = new_chat(client)
    begun = ask(client, chat_id, 'Good morning, Ana\'s "baker"!', settings=SETTINGS)
    message = finish(client, chat_id, begun["generation_id"])
    answer = client.get(f"/api/chats/{chat_id}/messages/{message['id']}/why")
    assert answer.status_code == 200, answer.text
    return answer.json(), message["content"]


def run_in_a_shell(command: str, tmp_path: Path, **variables: str) -> httpx.Response:
    """What a shell makes of the command, sent: `curl` is a script that writes down its arguments."""
    script = tmp_path / "curl"
    script.write_text('#!/bin/sh\nfor one in "$@"; do printf "%s\\0" "$one"; done\n')
    script.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
    said = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=True).stdout
    url, *options = said.split("\0")[:-1]
    given = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in given if option == "-H")
    (data,) = [value for option, value in given if option == "-d"]
    return httpx.post(url, headers=headers, content=data.encode(), timeout=30)


def repeats(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_on_this_machine_alone_the_command_needs_no_key(open_house: Open, tmp_path: Path) -> None:
    why, text = explained(open_house({MODEL: tiny_chat()}))
    assert why["needs_key"] is False
    assert "Authorization" not in why["curl"]
    assert repeats(run_in_a_shell(why["curl"], tmp_path)) == text


def test_with_accounts_the_command_takes_the_key_from_the_shell(open_house: Open, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "ziggurat.db")
    token = registration.setup_token(store)
    store.close()
    client = open_house({MODEL: tiny_chat()}, accounts=True)
    owner = entered(str(client.base_url), "/api/setup", "owner@house.example", token=str(token))
    owner.client.headers["x-csrf-token"] = owner.csrf
    why, text = explained(owner.client)
    assert why["needs_key"] is True
    made = owner.send("post", "/api/me/keys", {"name": "mine", "scopes": ["chat"]}).json()
    assert made["secret"] not in json.dumps(why)
    assert repeats(run_in_a_shell(why["curl"], tmp_path, ZIGGURAT_KEY=made["secret"])) == text
    assert run_in_a_shell(why["curl"], tmp_path, ZIGGURAT_KEY="zig-wrong").status_code == 401
    owner.client.close()


def test_a_file_of_keys_needs_one_too(open_house: Open, tmp_path: Path) -> None:
    secret = new_key(tmp_path / "keys.jsonl", "ana")
    client = open_house({MODEL: tiny_chat()}, keyring=Keyring(tmp_path / "keys.jsonl"))
    why, text = explained(client)
    assert why["needs_key"] is True
    assert repeats(run_in_a_shell(why["curl"], tmp_path, ZIGGURAT_KEY=secret)) == text
