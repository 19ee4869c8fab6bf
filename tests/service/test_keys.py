"""Keys: who may ask, how much of it, and what they are told when it is too much."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, saying, wait_until

from ziggurat.cli.main import run
from ziggurat.errors import DataError, UsageError
from ziggurat.service.access.keys import Bucket, Key, Keyring, duration, hash_of, new_key, read_keys
from ziggurat.service.options import ServeOptions
from ziggurat.service.server import create_app, serve


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(echo)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


@pytest.fixture
def key(file: Path) -> str:
    return new_key(file, "ana", requests_per_minute=5, tokens_per_minute=400, concurrent=1)


@pytest.fixture
def address(serving: Serving, chat: FakeChat, file: Path, key: str) -> Iterator[str]:
    with serving(create_app({"m": chat}, keyring=Keyring(file))) as where:
        yield where


def post(address: str, key: str | None, **changes: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"bearer {key}"}
    content = {"model": "m", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 5, **changes}
    return httpx.post(f"{address}/v1/chat/completions", json=content, headers=headers)


def test_without_a_key_nothing_but_health(address: str, key: str) -> None:
    for path in ("/v1/models", "/tokenizer_info", "/api/models", "/openapi.json", "/metrics"):
        refused = httpx.get(f"{address}{path}")
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        assert refused.headers["x-request-id"]
    assert [httpx.get(f"{address}{p}").status_code for p in ("/health", "/ready", "/version")] == [200] * 3
    assert httpx.get(f"{address}/health").json() == {"status": "ok"}, "and no detail"
    assert httpx.get(f"{address}/ready").json() == {"status": "ready"}
    assert post(address, key + "x").status_code == 401
    assert post(address, key).status_code == 200


def test_what_each_model_is_doing_is_for_admins(address: str, key: str, file: Path) -> None:
    def ask(secret: str) -> httpx.Response:
        return httpx.get(f"{address}/admin/health", headers={"authorization": f"bearer {secret}"})

    assert (httpx.get(f"{address}/admin/health").status_code, ask(key).status_code) == (401, 403)
    told = ask(new_key(file, "ops", admin=True)).json()
    assert told["models"] == {"m": {"running": 0, "waiting": 0, "failed": False}}


def test_every_answer_says_what_is_left_and_the_sixth_in_a_minute_is_refused(address: str, key: str) -> None:
    told = [post(address, key) for _ in range(5)]
    assert [response.status_code for response in told] == [200] * 5
    assert told[0].headers["x-ratelimit-limit-requests"] == "5"
    assert told[0].headers["x-ratelimit-remaining-requests"] == "4"
    refused = post(address, key)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_tokens_are_reserved_and_what_was_not_written_is_given_back(address: str, key: str) -> None:
    assert post(address, key, max_tokens=399).status_code == 200
    left = int(
        httpx.get(f"{address}/v1/models", headers={"authorization": f"Bearer {key}"}).headers[
            "x-ratelimit-remaining-tokens"
        ]
    )
    assert left > 380


def test_more_answers_at_once_than_allowed_are_refused(address: str, key: str, chat: FakeChat) -> None:
    chat.answer, chat.gate = saying("slow"), threading.Semaphore(0)
    first = threading.Thread(target=post, args=(address, key))
    first.start()
    wait_until(lambda: len(chat.requests) == 1)
    second = post(address, key)
    chat.gate.release()
    first.join()
    assert second.status_code == 429
    assert "1 requests answered at once" in second.json()["error"]["message"]
    chat.gate = None
    assert post(address, key).status_code == 200


def test_a_line_taken_out_is_a_key_revoked_and_a_broken_file_changes_nothing(
    address: str, key: str, file: Path
) -> None:
    other = new_key(file, "ben")
    assert post(address, other).status_code == 200
    file.write_text("{ broken")
    assert post(address, other).status_code == 200
    file.write_text(Key(name="ana", sha256=hash_of(key)).model_dump_json())
    assert post(address, other).status_code == 401
    assert post(address, key).status_code == 200


def test_the_file_holds_no_secret_and_is_nobody_elses(file: Path, key: str) -> None:
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(DataError, match="key named ana"):
        new_key(file, "ana")


def test_keys_share_no_cached_prompts(serving: Serving, chat: FakeChat, file: Path, key: str) -> None:
    other = new_key(file, "ben")
    with serving(create_app({"m": chat}, keyring=Keyring(file))) as address:
        for secret in (key, other):
            assert post(address, secret).status_code == 200
    mine, theirs = (params.cache_salt for _, params in chat.requests)
    assert mine
    assert theirs
    assert mine != theirs


def test_a_broken_line_is_named(file: Path) -> None:
    file.write_text('{"name": "ana"}\n')
    with pytest.raises(DataError, match=r"line 1: this line is not a key"):
        read_keys(file)
    file.write_text("")
    with pytest.raises(DataError, match="holds no key"):
        Keyring(file)


def test_the_command_prints_a_key_that_works(
    file: Path, serving: Serving, chat: FakeChat, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["key", "new", "ana", "--file", str(file)]) == 0
    secret = capsys.readouterr().out.strip()
    with serving(create_app({"m": chat}, keyring=Keyring(file))) as address:
        assert post(address, secret).status_code == 200


def test_listening_elsewhere_needs_keys() -> None:
    with pytest.raises(UsageError, match="--keys FILE"):
        serve(ServeOptions(runs=["town/ppo"], host="0.0.0.0"))


def test_buckets_refill_evenly() -> None:
    now = [0.0]
    bucket = Bucket(60, lambda: now[0])
    bucket.take(60)
    assert bucket.seconds_until(1) == 1
    now[0] = 0.5
    assert bucket.seconds_until(1) == 0.5
    now[0] = 600
    assert bucket.level() == 60
    assert bucket.seconds_until(61) == 0  # more than a minute's worth needs a full bucket
    bucket.take(61)
    assert bucket.seconds_until(1) == 2


@pytest.mark.parametrize(("seconds", "told"), [(0, "0s"), (0.2, "1s"), (59.5, "1m0s"), (361, "6m1s")])
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told
