"""Logging in elsewhere: what of a provider's answer is believed, and whose account it opens."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.needs import needs
from tests.product.house import join
from tests.product.test_accounts import PASSWORD, set_up
from tests.stores import Clock

from ziggurat.product import audit, keys, oidc, people, registration, sessions, workspaces
from ziggurat.product.errors import Conflict, Forbidden, Unauthorized
from ziggurat.product.identities import log_in_with
from ziggurat.store.store import Store

needs("joserfc")
from joserfc import jwt  # noqa: E402
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey  # noqa: E402

PROVIDER = oidc.Provider(
    issuer="https://id.example.org",
    client_id="ziggurat",
    client_secret="s",
    authorization_endpoint="https://id.example.org/authorize",
    token_endpoint="https://id.example.org/token",
    jwks_uri="https://id.example.org/keys",
)
KEY = ECKey.generate_key("P-256", {"kid": "1"})
KEYS: dict[str, Any] = {"keys": [KEY.as_dict(private=False)]}
CALLBACK = "https://chat.example.org/api/oidc/callback"


def token(key: Any = KEY, algorithm: str = "ES256", **changes: Any) -> str:
    now = int(time.time())
    said = {
        "iss": PROVIDER.issuer,
        "aud": "ziggurat",
        "sub": "42",
        "nonce": "n",
        "iat": now,
        "exp": now + 300,
    }
    return jwt.encode({"alg": algorithm, "kid": "1"}, said | changes, key, algorithms=[algorithm])


def test_a_right_token_is_believed() -> None:
    assert oidc.claims(PROVIDER, token(), KEYS, "n", int(time.time()))["sub"] == "42"
    rsa = RSAKey.generate_key(2048, {"kid": "1"})
    keys = KeySet([rsa]).as_dict(private=False)
    assert oidc.claims(PROVIDER, token(rsa, "RS256", aud=["ziggurat"]), dict(keys), "n", int(time.time()))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: token(ECKey.generate_key("P-256", {"kid": "1"})), "signature"),
        (lambda: token(OctKey.import_key("x" * 32), "HS256"), "signature"),
        (lambda: token().rpartition(".")[0] + ".", "signature"),
        (lambda: "not.a.token", "signature"),
        (lambda: token(iss="https://evil.example.org"), "another issuer"),
        (lambda: token(aud="other"), "another application"),
        (lambda: token(aud=["ziggurat", "other"]), "another application"),
        (lambda: token(exp=1), "expired"),
        (lambda: token(exp=None), "expired"),
        (lambda: token(iat=9_999_999_999), "future"),
        (lambda: token(nonce="of another"), "nonce"),
        (lambda: token(nonce=None), "nonce"),
        (lambda: token(sub=""), "nobody"),
    ],
)
def test_a_wrong_token_is_refused(made: Any, reason: str) -> None:
    with pytest.raises(Forbidden, match=reason):
        oidc.claims(PROVIDER, made(), KEYS, "n", int(time.time()))


def test_an_unsigned_token_is_refused() -> None:
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    with pytest.raises(Forbidden, match="signature"):
        oidc.claims(PROVIDER, f"{head}.{token().split('.')[1]}.", KEYS, "n", int(time.time()))


def test_a_flow_has_pkce_and_its_state_works_once_in_its_browser(store: Store) -> None:
    flow = oidc.begin(store, PROVIDER, CALLBACK)
    asked = {name: value[0] for name, value in parse_qs(urlsplit(flow.url).query).items()}
    assert (asked["state"], asked["code_challenge_method"]) == (flow.state, "S256")
    body = oidc.token_request(store, PROVIDER, flow.state, flow.state, "code")
    digest = hashlib.sha256(body.form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
    assert (body.nonce, body.form["redirect_uri"]) == (asked["nonce"], CALLBACK)
    with pytest.raises(Forbidden):
        oidc.token_request(store, PROVIDER, flow.state, flow.state, "code")


def test_a_state_of_another_browser_provider_or_of_yesterday_is_refused(store: Store, clock: Clock) -> None:
    other = PROVIDER.model_copy(update={"issuer": "https://other.example.org"})
    for provider, cookie, wait in ((PROVIDER, "", 0), (other, None, 0), (PROVIDER, None, 601)):
        flow = oidc.begin(store, PROVIDER, CALLBACK)
        clock.move(seconds=wait)
        with pytest.raises(Forbidden):
            oidc.token_request(store, provider, flow.state, flow.state if cookie is None else cookie, "c")


def ana(store: Store, **changes: Any) -> Any:
    given: dict[str, Any] = {"provider": PROVIDER.issuer, "subject": "42", "email": "ana@example.org"}
    return log_in_with(store, **given | {"email_verified": True} | changes)[0]


def test_a_verified_address_opens_the_account_and_the_subject_does_so_later(store: Store) -> None:
    owner = set_up(store)
    with pytest.raises(Forbidden):
        ana(store, email_verified=False)
    assert ana(store).id == owner.id
    assert ana(store, email="changed@example.org", email_verified=False).id == owner.id
    with pytest.raises(Forbidden):
        ana(store, subject="43", email=None)


def test_a_newcomer_needs_an_allowed_domain_or_open_registration(store: Store) -> None:
    set_up(store)
    owner = people.local_principal(store)
    with pytest.raises(Forbidden):
        ana(store, email="bo@team.example", subject="2")
    workspaces.change_settings(store, owner, {"oidc_domains": ["team.example"]})
    bo = ana(store, email="bo@team.example", subject="2", name="Bo", locale="zh-CN")
    assert (bo.role, bo.name, bo.locale) == ("member", "Bo", "zh-CN")
    for address in ("eve@other.example", "eve@nota-team.example", "eve@sub.team.example"):
        with pytest.raises(Forbidden):
            ana(store, email=address, subject=address)
    workspaces.change_settings(store, owner, {"oidc_domains": [], "registration": "open"})
    assert ana(store, email="cy@any.example", subject="3").role == "member"


def test_a_disabled_account_stays_closed_and_an_unowned_server_too(store: Store) -> None:
    with pytest.raises(Conflict):
        ana(store)
    set_up(store)
    owner = people.local_principal(store)
    bo = join(store)
    workspaces.change_settings(store, owner, {"registration": "open"})
    made = registration.register(store, email="bo@example.org", name="", password=PASSWORD)
    people.change_person(store, owner, made.id, {"status": "disabled"})
    with pytest.raises(Forbidden, match="disabled"):
        ana(store, email="bo@example.org", subject="9")
    assert bo.role == "member"


def test_whoever_registered_the_address_of_another_is_locked_out_by_the_providers_login(store: Store) -> None:
    set_up(store)
    owner = people.local_principal(store)
    workspaces.change_settings(store, owner, {"registration": "open"})
    eve = registration.register(store, email="bo@example.org", name="", password=PASSWORD)
    people.change_person(store, owner, eve.id, {"role": "developer"})
    _, cookie, _ = sessions.log_in(store, email="bo@example.org", password=PASSWORD)
    found = sessions.principal_of(store, cookie)
    assert found is not None
    _, secret = keys.create_key(store, found[0], name="ci")
    assert ana(store, email="bo@example.org", subject="9").id == eve.id
    with pytest.raises(Unauthorized):
        sessions.log_in(store, email="bo@example.org", password=PASSWORD)
    assert sessions.principal_of(store, cookie) is None
    assert keys.principal_of_key(store, secret) is None
    link = next(event for event in audit.list_events(store, owner).data if event.action == "identity.link")
    assert link.detail == {"passwords": 1, "sessions": 1, "keys": 1}
    _, cookie, _ = log_in_with(
        store, provider=PROVIDER.issuer, subject="9", email="bo@example.org", email_verified=True
    )
    ana(store, email="bo@example.org", subject="9")  # a later login ends nothing
    assert sessions.principal_of(store, cookie) is not None
