"""Folders, personas, shares, rules, held answers, budgets, settings, masking, the audit."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.product.house import a_chat, answered, join
from tests.stores import Clock

from ziggurat.product import (
    audit,
    budgets,
    chats,
    folders,
    generations,
    held,
    keys,
    messages,
    people,
    personas,
    rules,
    search,
    shares,
    turns,
    workspaces,
)
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound, TooMany
from ziggurat.product.mask import masked, outgoing
from ziggurat.product.principal import Principal
from ziggurat.store import audit as chain
from ziggurat.store.store import Store


@pytest.fixture
def owner(store: Store) -> Principal:
    return join(store, "owner")


def test_a_deleted_folder_gives_its_chats_to_the_one_around_it(store: Store, owner: Principal) -> None:
    outer = folders.create_folder(store, owner, name="outer")
    inner = folders.create_folder(store, owner, name="inner", parent_id=outer.id)
    deep = folders.create_folder(store, owner, name="deep", parent_id=inner.id)
    chat = chats.create_chat(store, owner, folder_id=inner.id)
    assert [c.id for c in chats.list_chats(store, owner, folder_id=inner.id).data] == [chat.id]
    folders.delete_folder(store, owner, inner.id)
    assert chats.get_chat(store, owner, chat.id).folder_id == outer.id
    assert {f.id: f.parent_id for f in folders.list_folders(store, owner)} == {
        outer.id: None,
        deep.id: outer.id,
    }


def test_a_folder_never_lies_inside_itself(store: Store, owner: Principal) -> None:
    outer = folders.create_folder(store, owner, name="outer")
    inner = folders.create_folder(store, owner, name="inner", parent_id=outer.id)
    for parent in (inner.id, outer.id):
        with pytest.raises(Invalid):
            folders.change_folder(store, owner, outer.id, {"parent_id": parent})
    with pytest.raises(NotFound):
        folders.change_folder(store, owner, inner.id, {"parent_id": "folder_x"})


def test_a_persona_has_versions_and_a_chat_keeps_its_own(store: Store, owner: Principal) -> None:
    persona = personas.create_persona(
        store, owner, name="Guide", system_prompt="Be brief.", settings={"temperature": 0}
    )
    chat = chats.create_chat(store, owner, persona_id=persona.id)
    _, answer = answered(store, owner, chat.id, "q", "a")
    assert answer.settings == {"temperature": 0}
    changed = personas.change_persona(store, owner, persona.id, {"system_prompt": "Be long."})
    assert (changed.version, changed.settings) == (2, {"temperature": 0})
    said = messages.conversation(store, owner, chat.id, answer.id)
    assert said[0] == {"role": "system", "content": "Be brief."}
    chats.change_chat(store, owner, chat.id, {"persona_id": persona.id})
    assert messages.conversation(store, owner, chat.id, answer.id)[0]["content"] == "Be long."
    chats.change_chat(store, owner, chat.id, {"persona_id": None})
    assert messages.conversation(store, owner, chat.id, answer.id)[0]["role"] == "user"


def test_two_chats_with_two_personas_never_mix(store: Store, owner: Principal) -> None:
    local = people.local_principal(store)
    made = []
    for name in ("Ana", "Bo"):
        persona = personas.create_persona(store, local, name=name, system_prompt=f"You are {name}.")
        made.append(chats.create_chat(store, local, persona_id=persona.id))
    for i in range(20):
        for chat in made:
            answered(store, local, chat.id, f"{i}", "a")
    for chat, name in zip(made, ("Ana", "Bo"), strict=True):
        leaf = str(chats.get_chat(store, local, chat.id).active_leaf_id)
        said = messages.conversation(store, local, chat.id, leaf)
        assert [m["content"] for m in said if m["role"] == "system"] == [f"You are {name}."]
        assert len(said) == 41


def test_a_shared_persona_is_used_by_all_and_changed_by_its_maker(store: Store, owner: Principal) -> None:
    member = join(store)
    persona = personas.create_persona(store, owner, name="Guide", system_prompt="x", shared=True)
    (seen,) = personas.list_personas(store, member)
    assert (seen.id, seen.mine) == (persona.id, False)
    chats.create_chat(store, member, persona_id=persona.id)
    with pytest.raises(NotFound):
        personas.change_persona(store, member, persona.id, {"name": "mine"})
    with pytest.raises(Forbidden):
        personas.create_persona(store, member, name="x", system_prompt="x", shared=True)
    private = personas.create_persona(store, owner, name="P", system_prompt="x")
    with pytest.raises(NotFound):
        chats.create_chat(store, member, persona_id=private.id)


def test_a_share_is_a_snapshot_that_can_be_revoked(store: Store, owner: Principal) -> None:
    chat = a_chat(store, owner, ("q", "a"))
    share = shares.create_share(store, owner, chat.id)
    token = str(share.url).removeprefix("/shared/")
    assert len(token) >= 43  # 256 bits
    answered(store, owner, chat.id, "later", "unseen")
    seen = shares.view_share(store, token)
    assert [m["content"] for m in seen.messages] == ["q", "a"]
    assert seen.messages[1]["ai_generated"]
    assert owner.person_id not in str(seen)
    guest = join(store)
    copy = shares.continue_share(store, guest, token)
    assert [m.content for m in chats.open_chat(store, guest, copy.id).messages] == ["q", "a"]
    assert search.search(store, guest, "q")
    with pytest.raises(NotFound):
        shares.revoke_share(store, guest, share.id)
    shares.revoke_share(store, owner, share.id)
    (listed,) = shares.list_shares(store, owner)
    assert (listed.views, listed.url) == (1, None)
    assert listed.revoked_at is not None
    for wrong in (token, "x", ""):
        with pytest.raises(NotFound):
            shares.view_share(store, wrong)


def test_an_unknown_link_does_not_wait_for_the_writer(
    store: Store, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = shares.create_share(store, owner, a_chat(store, owner, ("q", "a")).id)
    writes: list[object] = []
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda self, **how: writes.append(how) or write(self, **how))
    with pytest.raises(NotFound):
        shares.view_share(store, "guessed")
    assert writes == []
    shares.view_share(store, str(share.url).removeprefix("/shared/"))
    assert len(writes) == 1
    assert [one.views for one in shares.list_shares(store, owner)] == [1]


def test_an_expired_share_leads_nowhere(store: Store, owner: Principal, clock: Clock) -> None:
    chat = a_chat(store, owner, ("q", "a"))
    with pytest.raises(Invalid):
        shares.create_share(store, owner, chat.id, expires_at="2020-01-01T00:00:00Z")
    share = shares.create_share(store, owner, chat.id, expires_at="2100-01-01T00:00:00Z")
    clock.move(days=40_000)
    with pytest.raises(NotFound):
        shares.view_share(store, str(share.url).removeprefix("/shared/"))


RULE: dict[str, Any] = {"kind": "pattern", "name": "rude", "pattern": r"\bidiot\b", "action": "block"}


def test_a_rule_binds_by_its_version_in_another_process(store: Store, owner: Principal) -> None:
    other = Store(store.url)
    try:
        before = rules.version(other)
        rule = rules.create_rule(store, owner, RULE)
        assert rules.version(other) == before + 1
        assert [r.pattern for r in rules.enabled_rules(other)] == [RULE["pattern"]]
        changed = rules.change_rule(store, owner, rule.id, {"enabled": False})
        assert (changed.version, rules.version(other)) == (2, before + 2)
        assert rules.enabled_rules(other) == []
        rules.delete_rule(store, owner, rule.id)
        assert rules.version(other) == before + 3
    finally:
        other.close()
    actions = [event.action for event in audit.list_events(store, owner).data]
    assert actions == ["rule.delete", "rule.change", "rule.create"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"kind": "regex"}, "kind"),
        ({"action": "shout"}, "action"),
        ({"pattern": None}, "pattern"),
        ({"kind": "words"}, "words"),
        ({"kind": "policy"}, "topic"),
        ({"action": "answer"}, "templates"),
        ({"templates": {"en": "no"}}, "templates"),
        ({"colour": 1}, "colour"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(store: Store, owner: Principal, change: Any, param: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.create_rule(store, owner, RULE | change)
    assert refused.value.param == param
    assert rules.version(store) == 0


def test_two_rules_of_a_workspace_never_have_one_name(store: Store, owner: Principal) -> None:
    rude = rules.create_rule(store, owner, RULE)
    other = rules.create_rule(store, owner, RULE | {"name": "other"})
    for act in (
        lambda: rules.create_rule(store, owner, RULE | {"name": " rude "}),
        lambda: rules.change_rule(store, owner, other.id, {"name": "rude"}),
    ):
        with pytest.raises(Conflict) as refused:
            act()
        assert (refused.value.code, refused.value.param) == ("name_taken", "name")
    assert rules.change_rule(store, owner, rude.id, {"name": "rude", "enabled": False}).name == "rude"
    rules.delete_rule(store, owner, rude.id)
    rules.change_rule(store, owner, other.id, {"name": "rude"})


def test_the_guard_may_refuse_a_pattern_that_it_cannot_compile(store: Store, owner: Principal) -> None:
    def check(rule: Any) -> None:
        if rule["pattern"] == "(":
            raise Invalid("the pattern does not compile.", param="pattern")

    rule = rules.create_rule(store, owner, RULE, check=check)
    with pytest.raises(Invalid):
        rules.change_rule(store, owner, rule.id, {"pattern": "("}, check=check)
    assert rules.enabled_rules(store) == [rule]


@pytest.mark.parametrize("decision", ["release", "refuse"])
def test_a_held_answer_waits_for_a_person(store: Store, owner: Principal, decision: Any) -> None:
    member = join(store)
    chat = chats.create_chat(store, member)
    turn = turns.begin_turn(store, member, chat.id, text="q", parent_id=None, model="tiny")
    kept = held.hold(
        store,
        workspace_id=member.workspace_id,
        prompt="q",
        text="the answer",
        rule_id=None,
        stage="after",
        chat_id=chat.id,
        message_id=turn.answer.id,
        person_id=member.person_id,
    )
    done = generations.finish(
        store, str(turn.generation_id), finish_reason="stop", content="the answer", held=True
    )
    assert (done.content, done.state) == ("", "held")
    assert search.search(store, member, "answer") == []
    with pytest.raises(Forbidden):
        held.list_held(store, member)
    assert [h.id for h in held.list_held(store, owner).data] == [kept.id]
    held.decide(store, owner, kept.id, decision)
    seen = messages.get_message(store, member, chat.id, turn.answer.id)
    expected = ("the answer", "stop") if decision == "release" else ("", "content_filter")
    assert (seen.content, seen.finish_reason, seen.state) == (*expected, "complete")
    assert bool(search.search(store, member, "answer")) == (decision == "release")
    with pytest.raises(Conflict):
        held.decide(store, owner, kept.id, "release")


HELD = {"prompt": "q", "text": "the answer", "rule_id": None, "stage": "after"}


def test_a_held_message_and_its_text_are_kept_together_or_not_at_all(
    store: Store, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies between the two would leave a message that nobody can release."""
    chat = chats.create_chat(store, owner)
    turn = turns.begin_turn(store, owner, chat.id, text="q", parent_id=None, model="tiny")
    generation = str(turn.generation_id)

    def finish(**held: Any) -> Any:
        return generations.finish(store, generation, finish_reason="stop", content="", held=HELD | held)

    def die(*given: Any, **named: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(generations, "_end", die)
        finish()
    with pytest.raises(Invalid):
        finish(colour=1)
    assert held.list_held(store, owner).data == []
    assert messages.get_message(store, owner, chat.id, turn.answer.id).state == "running"
    assert finish().state == "held"
    finish()  # a second end adds nothing
    (kept,) = held.list_held(store, owner).data
    assert (kept.text, kept.message_id, kept.chat_id) == ("the answer", turn.answer.id, chat.id)
    held.decide(store, owner, kept.id, "release")
    assert messages.get_message(store, owner, chat.id, turn.answer.id).content == "the answer"


def test_a_chat_goes_on_below_a_held_answer_when_it_is_released(store: Store, owner: Principal) -> None:
    chat = chats.create_chat(store, owner)
    turn = turns.begin_turn(store, owner, chat.id, text="q", parent_id=None, model="tiny")
    generations.finish(store, str(turn.generation_id), finish_reason="length", held=HELD)
    for act in (
        lambda: turns.begin_turn(store, owner, chat.id, text="x", parent_id=turn.answer.id, model="tiny"),
        lambda: turns.continue_answer(store, owner, chat.id, turn.answer.id),
    ):
        with pytest.raises(Conflict, match="waits for a person") as refused:
            act()
        assert refused.value.code == "answer_held"
    held.decide(store, owner, held.list_held(store, owner).data[0].id, "release")
    turns.begin_turn(store, owner, chat.id, text="x", parent_id=turn.answer.id, model="tiny")


def test_a_days_budget_ends_and_refills(store: Store, owner: Principal, clock: Clock) -> None:
    member = join(store)
    workspaces.change_settings(
        store, owner, {"plans": {"free": {"tokens_per_day": 100}}, "default_plan": "free"}
    )
    budgets.check(store, member, 100)
    with pytest.raises(TooMany) as refused:
        budgets.check(store, member, 101)
    assert refused.value.code == "budget"
    budgets.spend(store, member, prompt_tokens=60, completion_tokens=40)
    with pytest.raises(TooMany):
        budgets.check(store, member)
    used = budgets.usage(store, member)
    assert (used["tokens"], used["requests"], used["tokens_per_day"]) == (100, 1, 100)
    people.change_person(store, owner, member.person_id, {"budget": 150})
    budgets.check(store, member, 50)
    assert budgets.used_today(store, owner, [owner.person_id, member.person_id]) == {
        owner.person_id: 0,
        member.person_id: 100,
    }
    clock.move(days=1)
    assert budgets.used_today(store, owner, [member.person_id]) == {member.person_id: 0}
    budgets.check(store, member, 150)
    budgets.check(store, people.local_principal(store), 10**9)


def test_a_person_has_a_plan_and_a_budget_which_the_list_shows(store: Store, owner: Principal) -> None:
    member = join(store)
    plans = {"team": {"tokens_per_day": 70, "requests_per_day": 2}}
    workspaces.change_settings(store, owner, {"plans": plans})

    def allowed() -> tuple[Any, ...]:
        used = budgets.usage(store, member)
        return used["plan"], used["tokens_per_day"], used["requests_per_day"]

    changed = people.change_person(store, owner, member.person_id, {"plan": "team"})
    assert (changed.plan, changed.budget, allowed()) == ("team", None, ("team", 70, 2))
    changed = people.change_person(store, owner, member.person_id, {"budget": 5})
    assert (changed.plan, changed.budget, allowed()) == ("team", 5, ("team", 5, 2))
    assert changed in people.list_people(store, owner).data
    wrongs: tuple[dict[str, Any], ...] = ({"plan": "gold"}, {"plan": []}, {"budget": -1}, {"budget": {}})
    for wrong in wrongs:
        with pytest.raises(Invalid) as refused:
            people.change_person(store, owner, member.person_id, wrong)
        assert refused.value.param in wrong
    people.change_person(store, owner, member.person_id, {"plan": None, "budget": None})
    assert allowed() == ("paid", None, None)


def test_a_key_has_a_budget_of_its_own(store: Store, owner: Principal) -> None:
    _, secret = keys.create_key(store, owner, name="ci", limits={"tokens_per_day": 10})
    found = keys.principal_of_key(store, secret)
    assert found is not None
    budgets.spend(store, found[0], prompt_tokens=10, completion_tokens=0)
    with pytest.raises(TooMany, match="this API key"):
        budgets.check(store, found[0])
    budgets.check(store, owner)


def test_settings_are_checked_and_recorded(store: Store, owner: Principal) -> None:
    changed = workspaces.change_settings(store, owner, {"limits": {"answers_at_once": 9}})
    assert changed["limits"] == {"answers_at_once": 9, "messages_per_minute": 20}
    for wrong in ({"colour": 1}, {"registration": "maybe"}, {"default_plan": "gold"}, {"retention_days": 0}):
        with pytest.raises(Invalid):
            workspaces.change_settings(store, owner, wrong)
    assert workspaces.get_settings(store, owner) == changed
    (event,) = audit.list_events(store, owner).data
    assert (event.action, event.detail) == ("settings.change", {"settings": ["limits"]})


def test_plans_are_merged_and_null_removes_one(store: Store, owner: Principal) -> None:
    before = workspaces.get_settings(store, owner)["plans"]
    team = {"tokens_per_day": 5, "requests_per_day": None}
    changed = workspaces.change_settings(store, owner, {"plans": {"team": {"tokens_per_day": 5}}})
    assert changed["plans"] == before | {"team": team}
    changed = workspaces.change_settings(store, owner, {"plans": {"free": None}})
    assert changed["plans"] == {"paid": before["paid"], "team": team}
    with pytest.raises(Invalid) as refused:
        workspaces.change_settings(store, owner, {"plans": {"paid": None}})
    assert refused.value.param == "default_plan"
    with pytest.raises(Invalid):
        workspaces.change_settings(store, owner, {"plans": {"team": {"tokens": 5}}})
    assert workspaces.get_settings(store, owner) == changed


PRIVATE = [
    ("write to ana.b+c@mail.example.org please", "write to [email] please"),
    ("我的手机是13812345678。", "我的手机是[phone]。"),
    ("call +49 30 901820 now", "call [phone] now"),
    ("call (212) 555-0123 now", "call [phone] now"),
    ("身份证11010519491231002X", "身份证[id]"),
    ("ssn 123-45-6789.", "ssn [id]."),
    ("card 4111 1111 1111 1111, thanks", "card [card], thanks"),
    ("pi is 3.14159265358979323846", "pi is 3.14159265358979323846"),
    ("order 4111 1111 1111 1112", "order 4111 1111 1111 1112"),
    ("110105194912310021 is no id", "110105194912310021 is no id"),
    ("in 2026-11-30 at 14:30, 1,000,000 people", "in 2026-11-30 at 14:30, 1,000,000 people"),
    ("a@b is no address", "a@b is no address"),
]


@pytest.mark.parametrize(("said", "sent"), PRIVATE)
def test_private_data_is_masked_and_other_numbers_are_not(said: str, sent: str) -> None:
    assert masked(said).text == sent


def test_what_leaves_the_house_follows_the_policy(store: Store, owner: Principal) -> None:
    said = [
        {"role": "user", "content": [{"type": "text", "text": "I am a@example.org"}]},
        {"role": "user", "content": "data:image/png;base64,4111111111111111"},
    ]
    sent = outgoing(store, owner.workspace_id, said)
    assert sent[0]["content"][0]["text"] == "I am [email]"
    assert sent[1] == said[1]
    workspaces.change_settings(store, owner, {"masking": {"policy": "refuse"}})
    with pytest.raises(Invalid) as refused:
        outgoing(store, owner.workspace_id, said)
    assert refused.value.code == "private_data"
    workspaces.change_settings(store, owner, {"masking": {"policy": "off"}})
    assert outgoing(store, owner.workspace_id, said) == said


def test_the_audit_is_append_only_and_its_chain_shows_a_change(store: Store, owner: Principal) -> None:
    for i in range(3):
        workspaces.change_settings(store, owner, {"retention_days": i + 1})
    assert audit.verify(store) is None
    verified = audit.Verified()
    assert verified.broken(store) is None
    for statement in ("UPDATE audit_event SET action = 'x'", "DELETE FROM audit_event"):
        with pytest.raises(DBAPIError), store.write() as conn:
            conn.execute(text(statement))
    with store.write() as conn:  # by somebody who may change the schema
        if store.kind == "sqlite":
            conn.execute(text("DROP TRIGGER audit_event_no_update"))
        else:
            conn.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))
        conn.execute(text("UPDATE audit_event SET action = 'x' WHERE seq = 2"))
    assert "entry 2" in str(audit.verify(store))
    assert verified.broken(store) is None, "what was verified is not read again"
    assert "entry 2" in str(verified.broken(store, whole=True))
    assert "entry 2" in str(verified.broken(store)), "a chain that is broken stays so"


def test_of_a_verified_chain_only_what_is_new_is_read(
    store: Store, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    hashed = chain.entry_hash
    for i in range(50):
        workspaces.change_settings(store, owner, {"retention_days": i + 1})
    monkeypatch.setattr(chain, "entry_hash", lambda row: read.append(row["seq"]) or hashed(row))
    verified = audit.Verified()
    assert verified.broken(store) is None
    assert len(read) == read[-1] >= 50
    read.clear()
    assert verified.broken(store) is None
    assert read == []
    workspaces.change_settings(store, owner, {"retention_days": 99})
    read.clear()  # writing an entry hashes it too
    assert verified.broken(store) is None
    assert len(read) == 1


def cut_short(store: Store) -> int:
    """Delete the last entry, as somebody could who may change the schema; returns its number."""
    with store.write() as conn:
        if store.kind == "sqlite":
            conn.execute(text("DROP TRIGGER audit_event_no_delete"))
        else:
            conn.execute(text("ALTER TABLE audit_event DISABLE TRIGGER USER"))
        last, _ = chain.head(conn)
        conn.execute(text(f"DELETE FROM audit_event WHERE seq = {last}"))
    return last


def test_a_chain_that_was_cut_short_or_written_anew_is_noticed(store: Store, owner: Principal) -> None:
    for i in range(3):
        workspaces.change_settings(store, owner, {"retention_days": i + 1})
    verified = audit.Verified()
    assert verified.broken(store) is None
    last = cut_short(store)
    for whole in (False, False, True, False):
        said = str(verified.broken(store, whole=whole))
        assert f"entry {last}: it was changed from outside" in said, (
            "what is left holds in itself, and is broken"
        )
    workspaces.change_settings(store, owner, {"retention_days": 9})
    assert f"entry {last}" in str(verified.broken(store, whole=True)), "another entry has taken its number"


def test_a_chain_that_was_cut_short_is_noticed_by_reading_it_whole(store: Store, owner: Principal) -> None:
    workspaces.change_settings(store, owner, {"retention_days": 1})
    verified = audit.Verified()
    assert verified.broken(store) is None
    last = cut_short(store)
    assert f"entry {last}" in str(verified.broken(store, whole=True))
    assert audit.verify(store) is None, "only who has seen the last entry can know"
