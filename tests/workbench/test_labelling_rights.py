"""Every rule of labelling by every role: who may do it at all, and that another workspace's things do not exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import insert
from tests.product.house import join
from tests.workbench.labellers import a_project, add, an_entry, take

from ziggurat.product.errors import Forbidden, NotFound, ProductError
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ROLES
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import workspaces
from ziggurat.workbench.labelling import (
    answering,
    assigning,
    comments,
    guidelines,
    habits,
    items,
    members,
    progress,
    projects,
    queue,
    sources,
)

LABEL = "owner admin labeller adjudicator reviewer review_lead"
READ = "owner admin developer adjudicator review_lead"
LEAD = "owner admin review_lead"
RANKS = {"ranks": {"c1": 1, "c2": 2}}
Act = Callable[[Store, Principal, str, str, str], Any]
ACTS: dict[str, tuple[str, Act]] = {
    "mine": (LABEL, lambda s, p, *_: projects.mine(s, p)),
    "habits": (LABEL, lambda s, p, *_: habits.get_habits(s, p)),
    "change_habits": (LABEL, lambda s, p, *_: habits.change_habits(s, p, {"blur": True})),
    "guidelines": (LABEL, lambda s, p, at, *_: guidelines.guidelines(s, p, at)),
    "acknowledge": (LABEL, lambda s, p, at, *_: guidelines.acknowledge(s, p, at, 1)),
    "next": (LABEL, lambda s, p, at, *_: queue.next_item(s, p, at)),
    "submit": (LABEL, lambda s, p, _at, item, _who: answering.submit(s, p, item, RANKS)),
    "draft": (LABEL, lambda s, p, _at, item, _who: answering.save_draft(s, p, item, RANKS)),
    "suggest": (LABEL, lambda s, p, _at, item, _who: answering.suggestion(s, p, item, first_choice=RANKS)),
    "skip": (LABEL, lambda s, p, _at, item, _who: answering.skip(s, p, item, reason="unclear")),
    "discard": (LABEL, lambda s, p, _at, item, _who: answering.discard(s, p, item)),
    "opened": (LABEL, lambda s, p, _at, item, _who: answering.opened(s, p, item)),
    "comment": (LABEL, lambda s, p, at, *_: comments.comment(s, p, at, text="t")),
    "comments": (LABEL, lambda s, p, at, *_: comments.list_comments(s, p, at)),
    "mentionable": (LABEL, lambda s, p, at, *_: comments.mentionable(s, p, at)),
    "my_mentions": (LABEL, lambda s, p, *_: comments.my_mentions(s, p)),
    "my_answers": (LABEL, lambda s, p, at, *_: progress.my_answers(s, p, at)),
    "leave": (LABEL, lambda s, p, at, *_: members.leave(s, p, at)),
    "list": (READ, lambda s, p, *_: projects.list_projects(s, p)),
    "get": (READ, lambda s, p, at, *_: projects.get_project(s, p, at)),
    "versions": (READ, lambda s, p, at, *_: projects.versions(s, p, at)),
    "items": (READ, lambda s, p, at, *_: items.list_items(s, p, at)),
    "item": (READ, lambda s, p, _at, item, _who: items.get_item(s, p, item)),
    "progress": (READ, lambda s, p, at, *_: progress.of_project(s, p, at)),
    "people": (READ, lambda s, p, at, *_: progress.people_of(s, p, at)),
    "candidates": (READ, lambda s, p, at, *_: progress.candidates(s, p, at)),
    "tests": (READ, lambda s, p, at, *_: progress.tests_to_grade(s, p, at)),
    "create": (LEAD, lambda s, p, *_: projects.create_project(s, p, name="n", task="ranking")),
    "change": (LEAD, lambda s, p, at, *_: projects.change_project(s, p, at, {"name": "n"})),
    "delete": (LEAD, lambda s, p, at, *_: projects.delete_project(s, p, at)),
    "write": (LEAD, lambda s, p, at, *_: guidelines.write_guidelines(s, p, at, texts={"en": "t"})),
    "add": (LEAD, lambda s, p, at, *_: items.add_items(s, p, at, [an_entry(7)])),
    "from_chats": (LEAD, lambda s, p, at, *_: sources.from_chats(s, p, at)),
    "change_item": (LEAD, lambda s, p, _at, item, _who: items.change_item(s, p, item, {"priority": 1})),
    "assign": (LEAD, lambda s, p, at, i, who: assigning.assign(s, p, at, item_ids=[i], person_ids=[who])),
    "add_member": (LEAD, lambda s, p, at, _item, who: members.add_member(s, p, at, who)),
    "change_member": (LEAD, lambda s, p, at, _i, who: members.change_member(s, p, at, who, {"skills": []})),
    "flag": (LEAD, lambda s, p, at, _item, who: members.flag(s, p, at, who, reason="spam")),
    "purge": (LEAD, lambda s, p, at, _item, who: members.purge(s, p, at, who)),
    "grade": (LEAD, lambda s, p, *_: members.grade(s, p, "answer_x", mark=5)),
}
OF_THE_ASKER = {"mine", "habits", "change_habits", "my_mentions", "list", "create"}


def test_each_role_may_do_what_it_is_for_and_nothing_else(store: Store) -> None:
    lead = join(store, "owner")
    everyone = {role: join(store, role) for role in ROLES}
    project = a_project(store, lead)
    (item,) = add(store, lead, project, an_entry())
    take(store, everyone["labeller"], project)
    wrong = []
    for name, (roles, act) in ACTS.items():
        for role, principal in everyone.items():
            try:
                act(store, principal, project, item, everyone["labeller"].person_id)
                may = True
            except Forbidden:
                may = False
            except ProductError:
                may = True  # the right was there; the state of things is another matter
            if may != (role in roles.split()):
                wrong.append((name, role, may))
    assert wrong == []


def test_things_of_another_workspace_do_not_exist(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    (item,) = add(store, lead, project, an_entry())
    elsewhere = new_id("ws")
    with store.write() as conn:
        row = {"id": elsewhere, "name": "B", "settings": {}, "rules_version": 0, "created_at": store.now()}
        conn.execute(insert(workspaces).values(row))
    stranger = join(store, "owner", workspace_id=elsewhere)
    for name, (_roles, act) in ACTS.items():
        if name in OF_THE_ASKER:
            continue
        try:
            act(store, stranger, project, item, lead.person_id)
            found = "something"
        except NotFound:
            found = ""
        assert found == "", name
    assert projects.list_projects(store, stranger) == [] or project not in str(
        projects.list_projects(store, stranger)
    )
    assert projects.mine(store, stranger) == []
