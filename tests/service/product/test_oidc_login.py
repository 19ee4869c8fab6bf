"""The whole way to a provider of OpenID Connect and back, with a small provider on loopback."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from tests.needs import needs
from tests.service.conftest import Serving
from tests.service.product.test_matrix import entered

from ziggurat.product import registration
from ziggurat.service.product.oidc import Elsewhere
from ziggurat.store.store import Store

needs("joserfc")
from joserfc import jwt  # noqa: E402
from joserfc.jwk import ECKey  # noqa: E402

KEY = ECKey.generate_key("P-256", {"kid": "1"})


class Provider:
    """Logs everybody in as `person`; remembers the codes that it gave."""

    def __init__(self) -> None:
        self.person: dict[str, Any] = {"sub": "42", "email": "ana@house.example", "email_verified": True}
        self.codes: dict[str, dict[str, str]] = {}
        self.app = FastAPI()
        self.app.add_api_route("/.well-known/openid-configuration", self.describe)
        self.app.add_api_route("/keys", lambda: {"keys": [KEY.as_dict(private=False)]})
        self.app.add_api_route("/authorize", self.authorize)
        self.app.add_api_route("/token", self.token, methods=["POST"])

    async def describe(self, request: Request) -> Response:
        here = str(request.base_url).rstrip("/")
        places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return JSONResponse({"issuer": here, **{name: here + path for name, path in places.items()}})

    async def authorize(self, request: Request) -> Response:
        code = secrets.token_hex(8)
        self.codes[code] = dict(request.query_params)
        asked = request.query_params
        return RedirectResponse(f"{asked['redirect_uri']}?state={asked['state']}&code={code}", 302)

    async def token(self, request: Request) -> Response:
        form = {name: value[0] for name, value in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(form["code"])
        assert form["client_secret"] == "quiet"
        now, here = int(time.time()), str(request.base_url).rstrip("/")
        said = {"iss": here, "aud": asked["client_id"], "nonce": asked["nonce"], "iat": now, "exp": now + 60}
        token = jwt.encode({"alg": "ES256", "kid": "1"}, said | self.person, KEY, algorithms=["ES256"])
        return JSONResponse({"id_token": token, "token_type": "Bearer"})


@pytest.fixture
def provider(serving: Serving) -> Iterator[tuple[Provider, str]]:
    made = Provider()
    with serving(made.app) as address:
        yield made, address


@pytest.fixture
def house(
    open_house: Callable[..., httpx.Client], provider: tuple[Provider, str], monkeypatch: pytest.MonkeyPatch
) -> httpx.Client:
    """A server whose owner let people register, and that knows the provider."""
    token: list[str] = []
    opened = Store.open

    def remembering(*args: Any, **kwargs: Any) -> Store:
        store = opened(*args, **kwargs)
        token.append(registration.setup_token(store) or "")
        return store

    monkeypatch.setattr(Store, "open", remembering)
    client = open_house(accounts=True, elsewhere=Elsewhere(provider[1], "ziggurat", "quiet"))
    owner = entered(str(client.base_url), "/api/setup", "owner@house.example", token=token[0])
    owner.send("put", "/api/admin/settings", {"registration": "open"})
    owner.client.close()
    return client


def test_one_logs_in_elsewhere_and_is_known_here(house: httpx.Client) -> None:
    assert house.get("/api/me").json()["oidc"] == "127.0.0.1"
    back = house.get("/api/oidc/start", follow_redirects=True)
    assert urlsplit(str(back.url)).path == "/"
    me = house.get("/api/me").json()
    assert me["person"]["email"] == "ana@house.example"
    assert house.get("/api/chats").status_code == 200


def test_a_code_of_another_browser_is_refused(house: httpx.Client) -> None:
    started = house.get("/api/oidc/start")
    there = httpx.get(started.headers["location"])
    back = there.headers["location"]
    with httpx.Client() as other:
        refused = other.get(back)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "oidc_state")


def test_an_address_that_is_not_verified_opens_no_account(
    house: httpx.Client, provider: tuple[Provider, str]
) -> None:
    provider[0].person = {"sub": "43", "email": "ben@house.example", "email_verified": False}
    refused = house.get("/api/oidc/start", follow_redirects=True)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "unverified_email")
    assert house.get("/api/me").json()["person"] is None


def test_a_provider_that_does_not_answer_is_one_sentence(open_house: Callable[..., httpx.Client]) -> None:
    client = open_house(accounts=True, elsewhere=Elsewhere("http://127.0.0.1:9", "ziggurat"))
    answer = client.get("/api/oidc/start")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "oidc_down")
