"""How the built page is served: one file at all its addresses, no inline scripts, no way out of its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from tests.service.conftest import Serving

from ziggurat.service.http import problems
from ziggurat.service.product.page import POLICY, add_page, is_page


@pytest.fixture
def address(serving: Serving, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>The page</title>")
    (folder / "assets" / "page-1a2b.js").write_text("export {};")
    (tmp_path / "secret.txt").write_text("what nobody may read")
    app = FastAPI()
    problems.install(app)
    add_page(app, folder)
    with serving(app) as found:
        yield found


@pytest.mark.parametrize(
    "path", ["/", "/c/chat_1", "/shared/abc", "/manage/people", "/climb/town/sft-1", "/login"]
)
def test_every_address_of_the_page_is_the_page(address: str, path: str) -> None:
    answer = httpx.get(address + path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert "<title>The page</title>" in answer.text
    assert answer.headers["content-security-policy"] == POLICY
    assert is_page(path)


@pytest.mark.parametrize("path", ["/settings", "/personas", "/archive", "/favicon.ico", "/sw.js", "/climber"])
def test_every_other_address_is_404(address: str, path: str) -> None:
    assert httpx.get(address + path).status_code == 404
    assert not is_page(path)


def test_no_inline_script_is_allowed() -> None:
    scripts = POLICY.split("script-src ")[1].split(";")[0]
    assert scripts == "'self'"


def test_assets_are_kept_for_ever_and_nothing_outside_is_sent(address: str) -> None:
    asset = httpx.get(f"{address}/assets/page-1a2b.js")
    assert asset.status_code == 200
    assert "immutable" in asset.headers["cache-control"]
    for path in ("../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "none.js"):
        answer = httpx.get(f"{address}/assets/{path}")
        assert answer.status_code == 404, path
        assert "may read" not in answer.text


def test_a_page_that_is_not_built_says_how(serving: Serving, tmp_path: Path) -> None:
    app = FastAPI()
    add_page(app, tmp_path)
    with serving(app) as address:
        answer = httpx.get(address)
    assert answer.status_code == 503
    assert "make page" in answer.text
