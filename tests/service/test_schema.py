"""Schemathesis against our own OpenAPI description: whatever is sent, no 5xx and nothing that is not described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.needs import needs
from tests.service.conftest import _serving
from tests.service.test_moderations import Harsh
from tests.service.tiny import MODEL, tiny_chat

from ziggurat.safety.moderator import Moderator
from ziggurat.service.http.limits import Limits
from ziggurat.service.server import create_app

schemathesis = needs("schemathesis")

from hypothesis import HealthCheck, settings  # noqa: E402 - after the check that all of it is there

APP = create_app({MODEL: tiny_chat()}, limits=Limits(max_tokens=8), moderator=Moderator([Harsh()]))
SCHEMA = schemathesis.openapi.from_dict(APP.openapi())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with _serving(APP) as where:
        yield where


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_no_answer_is_a_fault_or_undescribed(case: schemathesis.Case, address: str) -> None:
    if isinstance(case.body, dict) and case.body.get("model") is not None:
        case.body["model"] = MODEL
    response = case.call(base_url=address)
    assert response.status_code < 500 or response.status_code == 503, response.text[:500]
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
    case.validate_response(response, checks=[*checks, status_code_conformance])


GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Good morning!"}], "max_tokens": 4},
    "/v1/completions": {"prompt": "Good morning", "max_tokens": 4},
    "/v1/responses": {"input": "Good morning!", "max_output_tokens": 4},
    "/api/chat": {"messages": [{"role": "user", "content": "Good morning!"}], "max_tokens": 4},
}


def test_every_endpoint_that_writes_is_known_by_a_good_request() -> None:
    """Those that may stream are those that write."""
    paths = APP.openapi()["paths"]
    answers = {
        path: str(known["post"]["responses"]["200"]) for path, known in paths.items() if "post" in known
    }
    assert {path for path, told in answers.items() if "text/event-stream" in told} == set(GOOD)


@pytest.mark.parametrize(
    ("path", "stream"), [(p, s) for p in GOOD for s in (False, True) if s or p != "/api/chat"]
)
def test_a_good_request_is_answered_as_described(path: str, stream: bool, address: str) -> None:
    """A server that refused everything would pass all that is sent at random."""
    how = {} if path == "/api/chat" else {"stream": stream}  # the page's own always streams
    body = {"model": MODEL, **GOOD[path], **how}
    case = SCHEMA[path]["POST"].Case(body=body, media_type="application/json")
    response = case.call_and_validate(base_url=address)
    assert response.status_code == 200, response.text[:500]
    assert response.headers["content-type"][0].startswith("text/event-stream") == stream
    assert 'data: {"error"' not in response.text


def test_the_description_knows_every_body_and_no_422() -> None:
    described = APP.openapi()
    assert "422" not in json.dumps(described)
    for path in (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/moderations",
        "/tokenize",
        "/api/chat",
    ):
        assert "requestBody" in described["paths"][path]["post"]
        assert "429" in described["paths"][path]["post"]["responses"]
