"""Set-up, registration, logins, sessions, keys: who is who, and what happens to those who guess."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.product.house import a_chat, join
from tests.stores import Clock

from ziggurat.errors import DataError
from ziggurat.product import chats, keys, passwords, people, registration, rights, sessions, workspaces
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthorized
from ziggurat.product.objects import Person, Role
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables import metadata
from ziggurat.store.tables.people import passwords as password_table

PASSWORD = "correct horse battery"


def set_up(store: Store) -> Person:
    token = registration.setup_token(store)
    assert token is not None
    return registration.set_up(store, token=token, email="Ana@Example.org", name="Ana", password=PASSWORD)


def logged_in(store: Store, email: str = "ana@example.org") -> tuple[Principal, str]:
    _, cookie, _ = sessions.log_in(store, email=email, password=PASSWORD)
    found = sessions.principal_of(store, cookie)
    assert found is not None
    return found[0], cookie


def test_the_set_up_token_works_once(store: Store) -> None:
    assert registration.needs_setup(store)
    old, token = registration.setup_token(store), registration.setup_token(store)
    given = {"email": "ana@example.org", "name": "Ana", "password": PASSWORD}
    for wrong in ("", "x", str(old)):
        with pytest.raises(Forbidden):
            registration.set_up(store, token=wrong, **given)
    person = registration.set_up(store, token=str(token), **given)
    assert person.role == "owner"
    assert not registration.needs_setup(store)
    assert registration.setup_token(store) is None
    with pytest.raises(Conflict):
        registration.set_up(store, token=str(token), **given | {"email": "eve@example.org"})


def test_the_person_of_local_mode_becomes_the_owner_with_all_chats(store: Store) -> None:
    local = people.local_principal(store)
    chat = a_chat(store, local, ("Hello", "Hi"))
    person = set_up(store)
    assert person.id == local.person_id
    principal, _ = logged_in(store)
    assert [c.id for c in chats.list_chats(store, principal).data] == [chat.id]
    assert people.local_principal(store).person_id == person.id


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(store: Store) -> None:
    set_up(store)
    answers = []
    for email in ("ana@example.org", "nobody@example.org", "no address"):
        with pytest.raises(Unauthorized) as refused:
            sessions.log_in(store, email=email, password="wrong wrong wrong")
        answers.append((str(refused.value), refused.value.code))
    assert len(set(answers)) == 1


def test_an_unknown_address_is_compared_with_a_hash_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is argon2's, so the number of its calls is what must be equal."""
    set_up(store)
    passwords._nobody()
    calls: list[str] = []
    verify = passwords.HASHER.verify
    monkeypatch.setattr(
        passwords,
        "HASHER",
        type("Counting", (), {"verify": lambda self, *a: calls.append("x") or verify(*a)})(),
    )
    for email in ("ana@example.org", "nobody@example.org"):
        with pytest.raises(Unauthorized):
            sessions.log_in(store, email=email, password="wrong wrong wrong")
    assert len(calls) == 2


def test_the_password_is_kept_as_argon2id_with_owasps_minimum(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a program of its own has it: the tests' own hasher is cheaper (conftest.py)."""
    fresh = importlib.util.module_from_spec(passwords.__spec__)
    passwords.__spec__.loader.exec_module(fresh)
    monkeypatch.setattr(passwords, "HASHER", fresh.HASHER)
    set_up(store)
    with store.read() as conn:
        phc = conn.execute(select(password_table.c.phc)).scalar_one()
    assert phc.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_passwords_are_compared_in_normal_form_and_may_be_of_any_script(store: Store) -> None:
    assert passwords.fits(passwords.hash_password("pássword pássword"), "pa\u0301ssword pa\u0301ssword")
    assert passwords.fits(passwords.hash_password("一二三四五六七八九十甲乙"), "一二三四五六七八九十甲乙")
    for weak in ("short", " " * 12, "x" * 1_025):
        with pytest.raises(Invalid):
            passwords.hash_password(weak)


def test_five_guesses_a_minute_and_then_the_wait_grows(store: Store, clock: Clock) -> None:
    set_up(store)

    def guess(password: str = "wrong wrong wrong") -> None:
        sessions.log_in(store, email="ana@example.org", password=password)

    for _ in range(5):
        with pytest.raises(Unauthorized):
            guess()
    with pytest.raises(TooMany) as first:
        guess(PASSWORD)
    clock.move(seconds=first.value.retry_after_s + 1)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            guess()
    with pytest.raises(TooMany) as second:
        guess(PASSWORD)
    assert second.value.retry_after_s > first.value.retry_after_s
    clock.move(seconds=second.value.retry_after_s + 1)
    guess(PASSWORD)
    guess(PASSWORD)


def test_one_network_cannot_try_many_accounts(store: Store) -> None:
    set_up(store)
    for i in range(20):
        with pytest.raises(Unauthorized):
            sessions.log_in(store, email=f"p{i}@example.org", password="x" * 12, ip_prefix="192.0.2")
    with pytest.raises(TooMany):
        sessions.log_in(store, email="ana@example.org", password=PASSWORD, ip_prefix="192.0.2")
    sessions.log_in(store, email="ana@example.org", password=PASSWORD, ip_prefix="198.51.100")


@pytest.mark.parametrize("act", ["register", "setup"])
def test_failures_to_join_cost_no_hash_once_they_are_too_many_and_lock_no_logins(
    store: Store, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    set_up(store)
    here: dict[str, Any] = {"name": "", "password": PASSWORD, "ip_prefix": "192.0.2"}
    calls: list[str] = []
    counting = type("Counting", (), {"hash": lambda self, text: calls.append("x") or "phc"})()

    def join_here() -> None:
        if act == "setup":
            registration.set_up(store, token="wrong", email="eve@example.org", **here)
        else:
            registration.register(store, email="eve@example.org", **here)

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "HASHER", counting)
        for _ in range(20):
            with pytest.raises((Forbidden, Conflict)):
                join_here()
        assert len(calls) == 20
        with pytest.raises(TooMany):
            join_here()
        assert len(calls) == 20
    sessions.log_in(store, email="ana@example.org", password=PASSWORD, ip_prefix="192.0.2")


def test_logins_that_succeed_are_no_attempts(store: Store) -> None:
    set_up(store)
    for _ in range(25):
        sessions.log_in(store, email="ana@example.org", password=PASSWORD, ip_prefix="192.0.2")


def test_a_cookie_ends_after_a_week_of_rest_and_after_a_month(store: Store, clock: Clock) -> None:
    set_up(store)
    _, cookie = logged_in(store)
    clock.move(days=7.1)
    assert sessions.principal_of(store, cookie) is None
    _, cookie = logged_in(store)
    for _ in range(5):
        clock.move(days=6)
        found = sessions.principal_of(store, cookie)
        if found is None:
            break
        cookie = found[1] or cookie
    assert found is None


def test_a_cookie_is_exchanged_and_the_old_one_ends(store: Store, clock: Clock) -> None:
    set_up(store)
    _, cookie = logged_in(store)
    clock.move(days=1.1)
    found = sessions.principal_of(store, cookie)
    assert found is not None
    fresh = found[1]
    assert fresh not in (None, cookie)
    again = sessions.principal_of(store, cookie)
    assert again is not None  # a request that was on its way
    assert again[1] is None
    clock.move(seconds=61)
    assert sessions.principal_of(store, cookie) is None
    assert sessions.principal_of(store, str(fresh)) is not None


def test_no_secret_stands_in_the_store(store: Store) -> None:
    set_up(store)
    principal, cookie = logged_in(store)
    _, secret = keys.create_key(store, principal, name="ci")
    _, invitation = registration.invite(store, principal)
    with store.read() as conn:
        everything = "".join(str(conn.execute(select(table)).all()) for table in metadata.sorted_tables)
    for hidden in (PASSWORD, cookie, secret, invitation):
        assert hidden not in everything


def test_csrf_is_asked_of_cookies_only(store: Store) -> None:
    set_up(store)
    principal, _ = logged_in(store)
    sessions.check_csrf(principal, principal.csrf)
    for wrong in (None, "", "x", "é"):
        with pytest.raises(Forbidden):
            sessions.check_csrf(principal, wrong)
    sessions.check_csrf(people.local_principal(store), None)


def test_logging_out_and_ending_a_session_kill_it_on_the_server(store: Store) -> None:
    set_up(store)
    principal, cookie = logged_in(store)
    other, other_cookie = logged_in(store)
    assert [s.current for s in sessions.list_sessions(store, principal)].count(True) == 1
    sessions.end_session(store, principal, str(other.session_id))
    assert sessions.principal_of(store, other_cookie) is None
    sessions.log_out(store, principal)
    assert sessions.principal_of(store, cookie) is None


def test_a_changed_password_ends_the_other_sessions(store: Store) -> None:
    set_up(store)
    principal, cookie = logged_in(store)
    _, other = logged_in(store)
    with pytest.raises(Forbidden):
        sessions.change_password(store, principal, old="wrong wrong wrong", new="another long password")
    sessions.change_password(store, principal, old=PASSWORD, new="another long password")
    assert sessions.principal_of(store, other) is None
    assert sessions.principal_of(store, cookie) is not None
    sessions.log_in(store, email="ana@example.org", password="another long password")


def test_registration_is_open_by_invitation_or_closed(store: Store) -> None:
    set_up(store)
    owner, _ = logged_in(store)

    def register(email: str, invitation: str | None = None) -> Person:
        return registration.register(store, email=email, name="", password=PASSWORD, invitation=invitation)

    with pytest.raises(Forbidden):
        register("bo@example.org")
    _, secret = registration.invite(store, owner, email="bo@example.org", role="reviewer")
    with pytest.raises(Forbidden):
        register("eve@example.org", secret)
    assert register("bo@example.org", secret).role == "reviewer"
    with pytest.raises(Forbidden):
        register("bob@example.org", secret)
    workspaces.change_settings(store, owner, {"registration": "open"})
    assert register("cy@example.org").role == "member"
    with pytest.raises(Conflict):
        register("CY@example.org")
    invitation, secret = registration.invite(store, owner)
    registration.revoke_invitation(store, owner, invitation.id)
    with pytest.raises(Forbidden):
        register("di@example.org", secret)
    workspaces.change_settings(store, owner, {"registration": "closed"})
    _, secret = registration.invite(store, owner)
    with pytest.raises(Forbidden):
        register("di@example.org", secret)


def test_a_newcomer_is_registered_with_a_plan_and_a_budget(store: Store) -> None:
    set_up(store)
    workspaces.change_settings(store, logged_in(store)[0], {"registration": "open"})

    def register(**allowance: Any) -> Person:
        return registration.register(store, email="bo@example.org", name="", password=PASSWORD, **allowance)

    for wrong in ({"plan": "gold"}, {"budget": -1}):
        with pytest.raises(Invalid):
            register(**wrong)
    made = register(plan="free", budget=100)
    assert (made.plan, made.budget) == ("free", 100)


def test_an_expired_invitation_is_refused(store: Store, clock: Clock) -> None:
    set_up(store)
    owner, _ = logged_in(store)
    _, secret = registration.invite(store, owner, days=1)
    clock.move(days=1.1)
    with pytest.raises(Forbidden):
        registration.register(store, email="bo@example.org", name="", password=PASSWORD, invitation=secret)


def test_a_disabled_person_and_a_changed_role_bind_at_once(store: Store) -> None:
    set_up(store)
    owner, _ = logged_in(store)
    workspaces.change_settings(store, owner, {"registration": "open"})
    bo = registration.register(store, email="bo@example.org", name="Bo", password=PASSWORD)
    _, cookie = logged_in(store, "bo@example.org")
    people.change_person(store, owner, bo.id, {"role": "developer"})
    assert sessions.principal_of(store, cookie) is None
    principal, _ = logged_in(store, "bo@example.org")
    _, secret = keys.create_key(store, principal, name="ci")
    assert keys.principal_of_key(store, secret) is not None
    people.change_person(store, owner, bo.id, {"status": "disabled"})
    assert keys.principal_of_key(store, secret) is None
    with pytest.raises(Unauthorized):
        sessions.log_in(store, email="bo@example.org", password=PASSWORD)


def test_the_last_owner_stays_and_only_owners_make_owners(store: Store) -> None:
    set_up(store)
    owner, _ = logged_in(store)
    admin = join(store, "admin")
    with pytest.raises(Conflict):
        people.change_person(store, owner, owner.person_id, {"role": "member"})
    with pytest.raises(Forbidden):
        people.change_person(store, admin, admin.person_id, {"role": "owner"})
    with pytest.raises(Forbidden):
        people.change_person(store, admin, owner.person_id, {"status": "disabled"})
    with pytest.raises(Forbidden):
        registration.invite(store, admin, role="owner")
    people.change_person(store, owner, admin.person_id, {"role": "owner"})
    people.change_person(store, owner, owner.person_id, {"role": "member"})


def test_a_key_has_the_rights_of_its_scopes_and_its_person(store: Store, clock: Clock) -> None:
    owner = join(store, "owner")
    made, secret = keys.create_key(
        store, owner, name="ci", scopes=["chat"], expires_at="2100-01-01T00:00:00Z"
    )
    found = keys.principal_of_key(store, secret)
    assert found is not None
    principal, key = found
    assert key.id == made.id
    assert made.prefix == secret[:8]
    assert rights.can(principal, "chat")
    assert not rights.can(principal, "audit.read")
    assert not rights.can(principal, "key.own")
    _, powerful = keys.create_key(store, join(store, "developer"), name="x", scopes=["admin"])
    found = keys.principal_of_key(store, powerful)
    assert found is not None
    assert not rights.can(found[0], "person.write")  # a scope gives nothing that the role has not
    assert not rights.can(found[0], "chat")
    clock.move(days=40_000)
    assert keys.principal_of_key(store, secret) is None
    keys.revoke_key(store, owner, made.id)
    assert keys.principal_of_key(store, "zig-unknown") is None


@pytest.mark.parametrize(
    ("role", "left"),
    [
        ("admin", {"chat", "embeddings", "fine_tune", "review", "admin:read", "admin"}),
        ("developer", {"chat", "embeddings", "fine_tune", "admin:read", "admin"}),
        ("reviewer", {"chat", "embeddings", "review"}),
        ("member", {"chat", "embeddings"}),
        ("guest", set()),
    ],
)
def test_the_key_of_somebody_who_lost_a_role_loses_its_power(
    store: Store, role: Role, left: set[str]
) -> None:
    boss, dev = join(store, "owner"), join(store, "admin")
    scopes = ["chat", "embeddings", "fine_tune", "review", "admin:read", "admin"]
    _, secret = keys.create_key(store, dev, name="ci", scopes=scopes)
    people.change_person(store, boss, dev.person_id, {"role": role})
    found = keys.principal_of_key(store, secret)
    assert found is not None
    assert set(found[0].scopes or ()) == left
    people.change_person(store, boss, dev.person_id, {"status": "disabled"})
    assert keys.principal_of_key(store, secret) is None


def test_a_revoked_key_is_refused_and_others_are_not_mine_to_revoke(store: Store) -> None:
    owner, dev = join(store, "owner"), join(store, "developer")
    mine, secret = keys.create_key(store, dev, name="ci")
    theirs, _ = keys.create_key(store, owner, name="ops")
    with pytest.raises(NotFound):
        keys.revoke_key(store, dev, theirs.id)
    assert {k.id for k in keys.list_keys(store, owner, everyone=True)} == {mine.id, theirs.id}
    keys.revoke_key(store, owner, mine.id)
    assert keys.principal_of_key(store, secret) is None
    with pytest.raises(Forbidden):
        keys.create_key(store, join(store, "member"), name="no")


def test_the_key_file_of_before_is_taken_over(store: Store, tmp_path: Path) -> None:
    from ziggurat.service.access.keys import new_key

    file = tmp_path / "keys.jsonl"
    secret = new_key(file, "ana", requests_per_minute=7)
    admin = new_key(file, "root", admin=True)
    owner = join(store, "owner")
    new = keys.import_key_file(store, owner, file)
    assert [(k.name, k.limits["requests_per_minute"]) for k in new] == [("ana", 7), ("root", 60)]
    assert keys.import_key_file(store, owner, file) == []
    found, root = keys.principal_of_key(store, secret), keys.principal_of_key(store, admin)
    assert found is not None
    assert root is not None
    assert not rights.can(found[0], "model.write")
    assert rights.can(root[0], "model.write")
    file.write_text(file.read_text() + '{"name": "x"}\n')
    with pytest.raises(DataError, match="line 3"):
        keys.import_key_file(store, owner, file)


@pytest.mark.parametrize("wrong", ["", "x", "a@b", "a b@c.de", "a@b@c.de", "a@.de", 5, "a\n@c.de"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid):
        people.normal_email(wrong)


def test_addresses_are_compared_without_case(store: Store) -> None:
    assert people.normal_email(" Ana@EXAMPLE.org ") == "ana@example.org"
