"""One authorisation function, tried cell by cell: each function of the rules by each role, on own and foreign things.

`ACTS` is every function that takes a principal; a test fails when one is missing here. What a role may do is written
down in `EXPECTED` apart from `rights.py`, so that a slip there shows.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from tests.product.house import answered, join

import ziggurat.product
from ziggurat.product import (
    audit,
    budgets,
    chats,
    consents,
    deletion,
    export,
    folders,
    generations,
    held,
    imports,
    judgements,
    keys,
    messages,
    people,
    personas,
    registration,
    rights,
    rules,
    search,
    sessions,
    shares,
    turns,
    workspaces,
)
from ziggurat.product.errors import Conflict, Forbidden, NotFound, TooMany
from ziggurat.product.objects import Role
from ziggurat.product.principal import Principal
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store

TALKERS = "owner admin developer labeller adjudicator reviewer review_lead member service"
PEOPLE = "owner admin developer labeller adjudicator reviewer review_lead member"
ALL = f"{TALKERS} guest"
ADMINS = "owner admin"
REVIEWERS = "owner admin reviewer review_lead"

Act = Callable[[Store, Principal, "Things"], Any]


class Things:
    """One of each kind of thing, owned by one person, and a rule and a held answer of the workspace."""

    def __init__(self, store: Store, owner: Principal, admin: Principal) -> None:
        self.owner = owner
        self.folder = folders.create_folder(store, owner, name="f").id
        self.persona = personas.create_persona(store, owner, name="p", system_prompt="s").id
        self.chat = chats.create_chat(store, owner).id
        self.user, self.answer = (m.id for m in answered(store, owner, self.chat, "q", "a"))
        again = turns.regenerate(store, owner, self.chat, self.answer, model="t")
        self.other_answer = again.answer.id
        self.ended = str(again.generation_id)
        generations.finish(store, self.ended, finish_reason="length", content="b")
        running = chats.create_chat(store, owner).id
        self.running = str(
            turns.begin_turn(store, owner, running, text="q", parent_id=None, model="t").generation_id
        )
        self.running_chat = running
        self.share = self.token = ""
        if rights.can(owner, "share"):
            share = shares.create_share(store, owner, self.chat)
            self.share, self.token = share.id, str(share.url).rpartition("/")[2]
        self.key = keys.create_key(store, owner, name="k")[0].id if rights.can(owner, "key.own") else ""
        self.rule = rules.create_rule(
            store, admin, {"kind": "words", "name": new_id("rule"), "words": ["x"], "action": "log"}
        ).id
        kept: dict[str, Any] = {"prompt": "q", "text": "a", "rule_id": None, "stage": "after"}
        self.held = held.hold(store, workspace_id=owner.workspace_id, **kept).id
        self.invitation = registration.invite(store, admin)[0].id
        self.person = owner.person_id
        with store.write() as conn:
            sessions.begin_session(
                conn, store, owner.workspace_id, owner.person_id, ip_prefix="", user_agent=""
            )
        self.session = sessions.list_sessions(store, owner)[0].id


ACTS: dict[str, tuple[Act, str, bool]] = {
    # name of the function: (how to call it, the roles that may, whether a foreign thing is 404 to them)
    "chats.list_chats": (lambda s, p, t: chats.list_chats(s, p), TALKERS, False),
    "chats.create_chat": (lambda s, p, t: chats.create_chat(s, p), TALKERS, False),
    "chats.get_chat": (lambda s, p, t: chats.get_chat(s, p, t.chat), TALKERS, True),
    "chats.open_chat": (lambda s, p, t: chats.open_chat(s, p, t.chat), TALKERS, True),
    "chats.change_chat": (lambda s, p, t: chats.change_chat(s, p, t.chat, {"title": "x"}), TALKERS, True),
    "chats.trash_chat": (lambda s, p, t: chats.trash_chat(s, p, t.chat), TALKERS, True),
    "chats.restore_chat": (lambda s, p, t: chats.restore_chat(s, p, t.chat), TALKERS, True),
    "chats.fork_chat": (lambda s, p, t: chats.fork_chat(s, p, t.chat, t.user), TALKERS, True),
    "messages.get_message": (lambda s, p, t: messages.get_message(s, p, t.chat, t.user), TALKERS, True),
    "messages.earlier": (lambda s, p, t: messages.earlier(s, p, t.chat, t.answer), TALKERS, True),
    "messages.tree": (lambda s, p, t: messages.tree(s, p, t.chat), TALKERS, True),
    "messages.conversation": (lambda s, p, t: messages.conversation(s, p, t.chat, t.user), TALKERS, True),
    "turns.begin_turn": (
        lambda s, p, t: turns.begin_turn(s, p, t.chat, text="x", parent_id=None, model="t"),
        TALKERS,
        True,
    ),
    "turns.regenerate": (lambda s, p, t: turns.regenerate(s, p, t.chat, t.answer, model="t"), TALKERS, True),
    "turns.edit_message": (
        lambda s, p, t: turns.edit_message(s, p, t.chat, t.user, text="y", run=False),
        TALKERS,
        True,
    ),
    "turns.continue_answer": (
        lambda s, p, t: turns.continue_answer(s, p, t.chat, t.other_answer),
        TALKERS,
        True,
    ),
    "turns.begin_pair": (
        lambda s, p, t: turns.begin_pair(s, p, t.chat, text="x", parent_id=None, models=("a", "b")),
        TALKERS,
        True,
    ),
    "generations.stop": (
        lambda s, p, t: generations.stop(s, p, t.running_chat, t.running, seen_chars=0),
        TALKERS,
        True,
    ),
    "generations.events_after": (
        lambda s, p, t: generations.events_after(s, p, t.chat, t.ended),
        TALKERS,
        True,
    ),
    "generations.get_generation": (
        lambda s, p, t: generations.get_generation(s, p, t.chat, t.ended),
        TALKERS,
        True,
    ),
    "generations.running": (lambda s, p, t: generations.running(s, p), ADMINS, False),
    "generations.cancel": (lambda s, p, t: generations.cancel(s, p, t.running), ADMINS, False),
    "folders.list_folders": (lambda s, p, t: folders.list_folders(s, p), TALKERS, False),
    "folders.create_folder": (
        lambda s, p, t: folders.create_folder(s, p, name="x", parent_id=t.folder),
        TALKERS,
        True,
    ),
    "folders.change_folder": (
        lambda s, p, t: folders.change_folder(s, p, t.folder, {"name": "x"}),
        TALKERS,
        True,
    ),
    "folders.delete_folder": (lambda s, p, t: folders.delete_folder(s, p, t.folder), TALKERS, True),
    "personas.list_personas": (lambda s, p, t: personas.list_personas(s, p), TALKERS, False),
    "personas.get_persona": (lambda s, p, t: personas.get_persona(s, p, t.persona), TALKERS, True),
    "personas.create_persona": (
        lambda s, p, t: personas.create_persona(s, p, name="x", system_prompt="y"),
        TALKERS,
        False,
    ),
    "personas.change_persona": (
        lambda s, p, t: personas.change_persona(s, p, t.persona, {"name": "x"}),
        TALKERS,
        True,
    ),
    "personas.delete_persona": (lambda s, p, t: personas.delete_persona(s, p, t.persona), TALKERS, True),
    "search.search": (lambda s, p, t: search.search(s, p, "x"), TALKERS, False),
    "judgements.judge": (lambda s, p, t: judgements.judge(s, p, t.chat, t.answer, value=1), TALKERS, True),
    "judgements.rewrite": (
        lambda s, p, t: judgements.rewrite(s, p, t.chat, t.answer, text="z"),
        TALKERS,
        True,
    ),
    "judgements.pick": (
        lambda s, p, t: judgements.pick(s, p, t.chat, shown=[t.answer, t.other_answer], winner="tie"),
        TALKERS,
        True,
    ),
    "judgements.report": (
        lambda s, p, t: judgements.report(s, p, t.chat, t.answer, kind="spam", reason=""),
        TALKERS,
        True,
    ),
    "judgements.list_judgements": (
        lambda s, p, t: judgements.list_judgements(s, p),
        "owner admin developer adjudicator review_lead",
        False,
    ),
    "people.me": (lambda s, p, t: people.me(s, p), ALL, False),
    "people.change_me": (lambda s, p, t: people.change_me(s, p, {"name": "x"}), ALL, False),
    "people.list_people": (lambda s, p, t: people.list_people(s, p), ADMINS, False),
    "people.change_person": (
        lambda s, p, t: people.change_person(s, p, t.person, {"name": "x"}),
        ADMINS,
        False,
    ),
    "registration.invite": (lambda s, p, t: registration.invite(s, p), ADMINS, False),
    "registration.list_invitations": (lambda s, p, t: registration.list_invitations(s, p), ADMINS, False),
    "registration.revoke_invitation": (
        lambda s, p, t: registration.revoke_invitation(s, p, t.invitation),
        ADMINS,
        False,
    ),
    "sessions.list_sessions": (lambda s, p, t: sessions.list_sessions(s, p), ALL, False),
    "sessions.end_session": (lambda s, p, t: sessions.end_session(s, p, t.session), ALL, True),
    "keys.create_key": (lambda s, p, t: keys.create_key(s, p, name="x"), "owner admin developer", False),
    "keys.list_keys": (lambda s, p, t: keys.list_keys(s, p), "owner admin developer", False),
    "consents.consents": (lambda s, p, t: consents.consents(s, p), ALL, False),
    "consents.set_consent": (lambda s, p, t: consents.set_consent(s, p, "publish", True), ALL, False),
    "shares.create_share": (lambda s, p, t: shares.create_share(s, p, t.chat), PEOPLE, True),
    "shares.list_shares": (lambda s, p, t: shares.list_shares(s, p), PEOPLE, False),
    "shares.revoke_share": (lambda s, p, t: shares.revoke_share(s, p, t.share), PEOPLE, True),
    "shares.continue_share": (
        lambda s, p, t: shares.continue_share(s, p, t.token) if t.token else chats.create_chat(s, p),
        TALKERS,
        False,
    ),
    "export.export_chat": (lambda s, p, t: export.export_chat(s, p, t.chat), TALKERS, True),
    "export.export_all": (lambda s, p, t: export.export_all(s, p, io.BytesIO()), TALKERS, False),
    "export.export_me": (lambda s, p, t: export.export_me(s, p, io.BytesIO()), ALL, False),
    "imports.import_file": (lambda s, p, t: imports.import_file(s, p, io.BytesIO(IMPORT)), TALKERS, False),
    "deletion.delete_chat": (lambda s, p, t: deletion.delete_chat(s, p, t.chat), TALKERS, True),
    "deletion.delete_message": (lambda s, p, t: deletion.delete_message(s, p, t.chat, t.user), TALKERS, True),
    "deletion.empty_trash": (lambda s, p, t: deletion.empty_trash(s, p), TALKERS, False),
    "audit.list_events": (lambda s, p, t: audit.list_events(s, p), ADMINS, False),
    "budgets.used_today": (lambda s, p, t: budgets.used_today(s, p, [t.person]), ADMINS, False),
    "budgets.usage": (lambda s, p, t: budgets.usage(s, p), ALL, False),
    "rules.list_rules": (lambda s, p, t: rules.list_rules(s, p), ADMINS, False),
    "rules.create_rule": (
        lambda s, p, t: rules.create_rule(
            s, p, {"kind": "words", "name": new_id("rule"), "words": ["x"], "action": "log"}
        ),
        ADMINS,
        False,
    ),
    "rules.change_rule": (lambda s, p, t: rules.change_rule(s, p, t.rule, {"enabled": False}), ADMINS, False),
    "rules.delete_rule": (lambda s, p, t: rules.delete_rule(s, p, t.rule), ADMINS, False),
    "held.list_held": (lambda s, p, t: held.list_held(s, p), REVIEWERS, False),
    "held.decide": (lambda s, p, t: held.decide(s, p, t.held, "refuse"), REVIEWERS, False),
    "workspaces.get_settings": (lambda s, p, t: workspaces.get_settings(s, p), ADMINS, False),
    "workspaces.change_settings": (lambda s, p, t: workspaces.change_settings(s, p, {}), ADMINS, False),
}
IMPORT = b'{"kind": "ziggurat.chat", "title": "x", "messages": [{"id": "1", "role": "user", "content": "x"}]}'
ELSEWHERE = {
    "keys.revoke_key": "tests of accounts: any key for an administrator, only one's own for a developer",
    "keys.import_key_file": "tests of accounts",
    "sessions.require_recent_login": "tests of accounts",
    "sessions.log_out": "one's own session",
    "sessions.change_password": "tests of accounts: the old password",
    "deletion.delete_account": "tests of deletion: the password",
    "budgets.check": "tests of budgets",
    "budgets.spend": "counts what was used",
    **dict.fromkeys(
        ("battles.begin", "battles.failed", "battles.get", "battles.mine", "battles.vote", "battles.written"),
        "tests of battles: one's own only",
    ),
    "leaderboard.leaderboard": "tests of battles: names and counts alone",
    **dict.fromkeys(
        ("feedback.give", "metrics.declare", "metrics.listed", "metrics.report"),
        "tests of feedback: another person's answer is unknown; who declares metrics",
    ),
    **dict.fromkeys(
        (f"uploads.{name}" for name in ("add", "checked", "content", "get", "listed", "remove")),
        "the matrix of routes with keys: another person's file is unknown",
    ),
}
"""Functions with a principal that are tried in another test, and why."""


SPOILS = {
    "turns.continue_answer",
    "generations.stop",
    "generations.cancel",
    "folders.delete_folder",
    "personas.delete_persona",
    "judgements.pick",
    "registration.revoke_invitation",
    "sessions.end_session",
    "shares.revoke_share",
    "shares.continue_share",
    "deletion.delete_chat",
    "deletion.delete_message",
    "deletion.empty_trash",
    "rules.change_rule",
    "held.decide",
}
"""Acts that need things that no act before has changed or ended."""


def functions() -> set[str]:
    """Every public function of the rules whose second parameter is the principal."""
    found = set()
    for info in pkgutil.iter_modules(ziggurat.product.__path__):
        module = importlib.import_module(f"ziggurat.product.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(function).parameters)
            public = not name.startswith("_") and function.__module__ == module.__name__
            if public and parameters[:2] == ["store", "principal"]:
                found.add(f"{info.name}.{name}")
    return found


def test_every_function_of_the_rules_is_in_the_matrix() -> None:
    assert functions() == set(ACTS) | set(ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("role", rights.ROLES)
def test_each_role_does_what_it_may_with_its_own_and_nothing_with_others(store: Store, role: Role) -> None:
    """Own: done, or Forbidden. Foreign: Forbidden to whoever may not do it at all, else the same 404 as for an unknown
    id; and it is unchanged afterwards."""
    boss = join(store, "owner")
    workspaces.change_settings(
        store, boss, {"limits": {"messages_per_minute": 10_000, "answers_at_once": 1_000}}
    )
    victim = join(store, "owner")
    theirs = Things(store, victim, boss)
    me, mine = victim, None
    for name, (act, allowed, private) in ACTS.items():
        if mine is None or name in SPOILS:
            me = join(store, role)
            mine = Things(store, me, boss) if rights.can(me, "chat") else theirs
        expected = role in allowed.split()
        if not private:
            assert outcome(act, store, me, mine) == ("done" if expected else "forbidden"), (name, role)
            continue
        before = chats.open_chat(store, victim, theirs.chat)
        found = outcome(act, store, me, theirs)
        assert found == ("not found" if expected else "forbidden"), (name, role)
        assert chats.open_chat(store, victim, theirs.chat) == before, name
        if expected and mine is not theirs:
            assert outcome(act, store, me, mine) == "done", (name, role)


def outcome(act: Act, store: Store, principal: Principal, things: Things) -> str:
    try:
        act(store, principal, things)
    except Forbidden:
        return "forbidden"
    except NotFound:
        return "not found"
    except (Conflict, TooMany) as error:
        return f"refused: {error}"
    return "done"


def test_the_same_role_of_another_workspace_reaches_nothing(store: Store) -> None:
    boss = join(store, "owner")
    theirs = Things(store, boss, boss)
    stranger = Principal(workspace_id="ws_other", person_id=boss.person_id, role="owner")
    for name, (act, _, private) in ACTS.items():
        if private and name != "sessions.end_session":
            assert outcome(act, store, stranger, theirs) == "not found", name


def test_a_key_may_do_what_its_scopes_say(store: Store) -> None:
    boss = join(store, "owner")
    theirs = Things(store, boss, boss)
    limited: dict[str, set[str]] = {"chat": set(), "admin:read": set(), "label": set(), "review": set()}
    for scope, done in limited.items():
        key = Principal(boss.workspace_id, boss.person_id, "owner", via="key", scopes=frozenset({scope}))
        reading = [
            n for n in ACTS if n.rpartition(".")[2].startswith(("list_", "get_", "me", "running", "usage"))
        ]
        done |= {name for name in reading if outcome(ACTS[name][0], store, key, theirs) == "done"}
    everybody = {"people.me", "sessions.list_sessions", "budgets.usage"}
    assert limited["chat"] - everybody == {
        "chats.list_chats",
        "chats.get_chat",
        "messages.get_message",
        "generations.get_generation",
        "folders.list_folders",
        "personas.list_personas",
        "personas.get_persona",
        "shares.list_shares",
    }
    assert limited["admin:read"] - everybody == {
        "generations.running",
        "people.list_people",
        "registration.list_invitations",
        "audit.list_events",
        "rules.list_rules",
        "workspaces.get_settings",
    }
    assert limited["label"] - everybody == {"judgements.list_judgements"}
    assert limited["review"] - everybody == {"held.list_held"}
