"""Schemathesis against what programs use: whatever is sent, no fault, and nothing that is not described."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.needs import needs
from tests.service.conftest import _serving
from tests.service.fakes import FakeChat, saying

from ziggurat.service.server import create_app
from ziggurat.store.store import Store

schemathesis = needs("schemathesis")

from hypothesis import HealthCheck, settings  # noqa: E402 - after the check that all of it is there

FOLDER = tempfile.TemporaryDirectory()
atexit.register(FOLDER.cleanup)
STORE = Store.open(Path(FOLDER.name) / "ziggurat.db")
APP = create_app({"fake": FakeChat(saying("Yes."))}, store=STORE)
SCHEMA = schemathesis.openapi.from_dict(APP.openapi()).include(path_regex="^/v1/(feedback|files|fine_tuning)")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with _serving(APP) as where:
        yield where


@SCHEMA.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.slow
def test_no_answer_is_a_fault_or_undescribed(case: schemathesis.Case, address: str) -> None:
    response = case.call(base_url=address)
    assert response.status_code < 500, response.text[:500]
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    checks = [not_a_server_error, response_schema_conformance, status_code_conformance]
    case.validate_response(response, checks=checks)
