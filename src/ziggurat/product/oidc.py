"""The rules of OpenID Connect (Core 1.0) without its HTTP: authorization code with PKCE (RFC 7636), state and nonce.

The routes fetch the provider's documents and carry what is made here:

    flow = begin(store, provider, redirect_uri)       redirect the browser to flow.url, keep flow.state in a cookie
    body = token_request(store, provider, state, cookie_state, code)    POST it to provider.token_endpoint
    who = claims(provider, id_token, keys, body.nonce, now)             then `identities.log_in_with`

Needs the package joserfc (extra `oidc`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict
from sqlalchemy import delete, insert, select

from ziggurat.errors import ConfigError
from ziggurat.product.errors import Forbidden
from ziggurat.product.tokens import new_token, token_hash
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import secrets as kept

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures with a public key; `none` and shared secrets are refused."""
FLOW_S = 600
LEEWAY_S = 60
PREFIX = "oidc:"


class Provider(BaseModel):
    """A provider, from its discovery document and the administrator's settings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str
    client_id: str
    client_secret: str = ""
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    scopes: str = "openid email profile"


class Flow(NamedTuple):
    url: str
    state: str


class TokenRequest(NamedTuple):
    form: dict[str, str]
    nonce: str


def begin(store: Store, provider: Provider, redirect_uri: str) -> Flow:
    """Where to send the browser. State, nonce and verifier wait in the store for FLOW_S."""
    state, nonce, verifier = new_token(), new_token(), new_token()
    value = json.dumps(
        {"nonce": nonce, "verifier": verifier, "redirect_uri": redirect_uri, "iss": provider.issuer}
    )
    with store.write() as conn:
        old = store.now() - FLOW_S * SECOND
        conn.execute(delete(kept).where(kept.c.name.startswith(PREFIX), kept.c.created_at < old))
        conn.execute(insert(kept).values(name=_name(state), value=value, created_at=store.now()))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": provider.scopes,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    sign = "&" if "?" in provider.authorization_endpoint else "?"
    return Flow(f"{provider.authorization_endpoint}{sign}{urlencode(asked)}", state)


def _name(state: str) -> str:
    return PREFIX + token_hash(state)[:48]


def token_request(store: Store, provider: Provider, state: str, cookie_state: str, code: str) -> TokenRequest:
    """What to POST to the token endpoint; a state works once, in the browser that began.

    Raises:
        Forbidden: the state is unknown, old, of another browser or another provider.
    """
    same = secrets.compare_digest(state.encode("utf-8", "replace"), cookie_state.encode("utf-8", "replace"))
    with store.write() as conn:
        row = conn.execute(select(kept).where(kept.c.name == _name(state))).first()
        conn.execute(delete(kept).where(kept.c.name == _name(state)))
    found: dict[str, str] = json.loads(row.value) if row else {}
    fresh = row is not None and store.now() - row.created_at <= FLOW_S * SECOND
    if not (same and fresh and found["iss"] == provider.issuer):
        raise Forbidden("this login was not begun here or took too long; begin again.", code="oidc_state")
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": found["redirect_uri"],
        "client_id": provider.client_id,
        "code_verifier": found["verifier"],
    }
    if provider.client_secret:
        form["client_secret"] = provider.client_secret
    return TokenRequest(form, found["nonce"])


def claims(
    provider: Provider, id_token: str, keys: Mapping[str, Any], nonce: str, now_s: int
) -> dict[str, Any]:
    """What a provider says about a person, once its signature, issuer, audience, time and nonce are right.

    keys: the provider's JWKS.

    Raises:
        Forbidden: one of them is not; the reason is in the message.
        ConfigError: joserfc is not installed.
    """
    try:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
    except ModuleNotFoundError:
        raise ConfigError(
            "logging in elsewhere needs the package joserfc; install it: pip install 'ziggurat[oidc]'."
        ) from None
    try:
        token = jwt.decode(id_token, KeySet.import_key_set(dict(keys)), algorithms=ALGORITHMS)  # type: ignore[arg-type]
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _refused(f"its signature is not right ({type(error).__name__})") from None
    said: dict[str, Any] = dict(token.claims)
    audience = said.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if said.get("iss") != provider.issuer:
        raise _refused("another issuer signed it")
    if provider.client_id not in audiences or (len(audiences) > 1 and said.get("azp") != provider.client_id):
        raise _refused("it is for another application")
    if not _is_time(said.get("exp")) or said["exp"] <= now_s - LEEWAY_S:
        raise _refused("it has expired")
    if not _is_time(said.get("iat")) or said["iat"] > now_s + LEEWAY_S:
        raise _refused("it is from the future")
    if not secrets.compare_digest(str(said.get("nonce") or "").encode(), nonce.encode()):
        raise _refused("its nonce is of another login")
    if not isinstance(said.get("sub"), str) or not said["sub"]:
        raise _refused("it names nobody")
    return said


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(why: str) -> Forbidden:
    return Forbidden(f"the provider's answer is not accepted: {why}.", code="oidc_token")
