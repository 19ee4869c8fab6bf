"""Who may reach the server, under which name, and how it starts and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap

import httpx
import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, FakeRequest, echo

from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.service.access.guard import host_name, is_loopback
from ziggurat.service.http import listening
from ziggurat.service.http.listening import listen
from ziggurat.service.models.worker import ModelWorker
from ziggurat.service.options import ServeOptions
from ziggurat.service.server import create_app, serve


def app(**settings: object) -> object:
    return create_app({"m": FakeChat(echo)}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1", "localhost."])
def test_loopback_names_are_answered(serving: Serving, host: str) -> None:
    with serving(app()) as address:
        assert httpx.get(f"{address}/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a@localhost", ""],
)
def test_other_names_are_refused_against_dns_rebinding(serving: Serving, host: str) -> None:
    with serving(app()) as address:
        for path in ("/", "/api/models", "/v1/models", "/health"):
            response = httpx.get(f"{address}{path}", headers={"host": host})
            assert response.status_code == 403
            assert response.json()["error"]["code"] == "host_not_allowed"


def test_an_exposed_server_answers_to_addresses_and_to_the_names_it_was_given(serving: Serving) -> None:
    with serving(app(exposed=True, allowed_hosts=["tower.lan"])) as address:
        told = {
            host: httpx.get(f"{address}/health", headers={"host": host}).status_code
            for host in ("10.0.0.1:8000", "tower.lan", "evil.example")
        }
    assert told == {"10.0.0.1:8000": 200, "tower.lan": 200, "evil.example": 403}


def test_a_page_from_elsewhere_is_refused_and_gets_no_cors(serving: Serving) -> None:
    with serving(app()) as address:
        own = httpx.get(f"{address}/api/models", headers={"origin": address})
        foreign = httpx.get(f"{address}/api/models", headers={"origin": "http://evil.example"})
        opaque = httpx.get(f"{address}/api/models", headers={"origin": "null"})
        asked = httpx.options(f"{address}/api/chat", headers={"origin": "http://evil.example"})
    assert [r.status_code for r in (own, foreign, opaque, asked)] == [200, 403, 403, 403]
    assert not any(name.startswith("access-control") for r in (own, foreign, asked) for name in r.headers)


def test_every_answer_carries_the_security_headers_and_a_request_id(serving: Serving) -> None:
    with serving(app()) as address:
        alive = httpx.get(f"{address}/health")
        error = httpx.get(f"{address}/nowhere", headers={"x-request-id": "mine-1"})
        odd = httpx.get(f"{address}/health", headers={"x-request-id": "two words"})
    assert alive.headers["x-content-type-options"] == error.headers["x-content-type-options"] == "nosniff"
    assert error.headers["x-request-id"] == "mine-1"
    assert odd.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("authority", "name"),
    [("localhost:80", "localhost"), ("[::1]:80", "::1"), ("A.b.", "a.b"), ("[", ""), ("a/b", "")],
)
def test_host_names_are_read_from_authorities(authority: str, name: str) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("lan", False)],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_listening_beyond_loopback_needs_to_be_said() -> None:
    with pytest.raises(UsageError, match="--expose"):
        serve(ServeOptions(runs=["town/ppo"], host="0.0.0.0"))


def test_a_taken_port_is_an_error_when_asked_for_and_passed_over_when_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="--port"):
            listen("127.0.0.1", port)
        monkeypatch.setattr(listening, "DEFAULT_PORT", port)
        with listen("127.0.0.1", None) as other:
            assert port < other.getsockname()[1] < port + listening.PORTS_TO_TRY


def test_a_server_says_where_it_is_and_ends_quietly_on_ctrl_c() -> None:
    code = """
        from tests.service.fakes import FakeChat, FakeRequest, echo
        from ziggurat.service.http.listening import listen, run_app
        from ziggurat.service.server import create_app
        run_app(create_app({"m": FakeChat(echo)}), listen("127.0.0.1", 0), lambda where: print(where, flush=True))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p) + os.pathsep + os.getcwd()},
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert httpx.get(f"{address}/health").json()["status"] == "ok"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_worker_may_be_closed_twice_and_then_refuses(serving: Serving) -> None:
    chat = FakeChat(echo)
    worker = ModelWorker("m", chat, chat.desk, max_running=1, max_waiting=1, max_waiting_each=1)
    worker.close()
    worker.close()
    with pytest.raises(Exception, match="shutting down"):
        worker.submit(FakeRequest([], SamplingParams(), (), 0))


def test_a_bound_socket_is_given_back_when_a_run_is_not_found() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Exception, match="no/run"):
        serve(ServeOptions(runs=["no/run-1"], port=port))
    listen("127.0.0.1", port).close()


def test_a_name_that_is_none_is_said_before_torch_is_loaded() -> None:
    code = "import sys, ziggurat.service.server; print({'torch', 'llguidance'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
