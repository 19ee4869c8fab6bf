"""Webhooks: the outbox, further tries, and signatures that a library checks."""

from __future__ import annotations

import json

import pytest
from standardwebhooks.webhooks import Webhook
from tests.product.house import join
from tests.stores import Clock
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take

from ziggurat.product.errors import Forbidden, Invalid
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import hooks


def test_a_message_is_held_while_it_is_sent_and_tried_again_later_and_later(
    store: Store, clock: Clock
) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    hook = hooks.create_hook(store, lead, url="https://example.org/in", events=["record.created"])
    (item,) = add(store, lead, project, an_entry())
    (one,) = hooks.due(store)
    assert (one.payload["event"], one.payload["item_id"], one.url) == ("record.created", item, hook["url"])
    assert hooks.due(store) == [], "another process does not send it too"
    hooks.failed(store, one, "no answer")
    assert hooks.due(store) == []
    clock.move(seconds=hooks.WAITS_S[0] + 1)
    (again,) = hooks.due(store)
    assert (again.id, again.attempts) == (one.id, 2)
    hooks.delivered(store, again.id)
    clock.move(days=1)
    assert hooks.due(store) == []
    (view,) = hooks.list_hooks(store, lead)
    assert view["last"][0]["delivered_at"] is not None
    assert "secret" not in view
    hooks.send_again(store, lead, one.id)
    assert len(hooks.due(store)) == 1


def test_it_is_given_up_after_the_last_wait_and_swept_after_a_week(store: Store, clock: Clock) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    hooks.create_hook(store, lead, url="http://127.0.0.1:9/x", project_id=project)
    add(store, lead, project, an_entry())
    for _ in range(len(hooks.WAITS_S) + 1):
        (one,) = hooks.due(store)
        hooks.failed(store, one, "refused")
        clock.move(days=1)
    assert hooks.due(store) == []
    assert hooks.list_hooks(store, lead, project_id=project)[0]["last"][0]["next_at"] is None
    hooks.sweep(store)
    assert hooks.list_hooks(store, lead)[0]["last"] == []


def test_each_event_reaches_the_hooks_that_want_it(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project, other = a_project(store, lead), a_project(store, lead)
    hooks.create_hook(store, lead, url="https://a.example", events=["answer.submitted", "item.completed"])
    hooks.create_hook(store, lead, url="https://b.example", project_id=other)
    add(store, lead, project, an_entry())
    rank(store, ana, take(store, ana, project), 1, 2)
    assert [(one.url, one.payload["event"]) for one in hooks.due(store)] == [
        ("https://a.example", "answer.submitted"),
        ("https://a.example", "item.completed"),
    ]


def test_the_signature_is_that_of_standard_webhooks(store: Store) -> None:
    lead = join(store, "owner")
    secret = hooks.create_hook(store, lead, url="https://example.org")["secret"]
    body, now = json.dumps({"event": "x"}).encode(), store.now() // 1_000_000
    headers = {
        "webhook-id": "delivery_1",
        "webhook-timestamp": str(now),
        "webhook-signature": hooks.signature(secret, "delivery_1", now, body),
    }
    assert Webhook(secret).verify(body, headers) == {"event": "x"}


def test_only_leads_make_webhooks_and_only_for_http(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    with pytest.raises(Forbidden):
        hooks.create_hook(store, ana, url="https://example.org")
    for url in ("ftp://example.org", "https://user:pw@example.org", "example.org", "https://"):
        with pytest.raises(Invalid):
            hooks.create_hook(store, lead, url=url)
    with pytest.raises(Invalid):
        hooks.create_hook(store, lead, url="https://example.org", events=["item.deleted"])
