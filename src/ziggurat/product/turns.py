"""What a person does to a chat that a model answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def begin_turn(
    store: Store,
    principal: Principal,
    chat_id: str,
    *,
    text: str,
    parent_id: str | None,
    model: str,
    settings: Mapping[str, Any] | None = None,
    client_id: str | None = None,
) -> Turn:
    """Add the user's message and an empty running answer. The same `client_id` again answers what was begun (`repeated`)."""
    raise NotImplementedError


def regenerate(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    model: str,
    settings: Mapping[str, Any] | None = None,
) -> Turn:
    """A sibling of an answer, running."""
    raise NotImplementedError


def edit_message(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    text: str,
    run: bool,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Turn | Message:
    """A sibling with another text. A user's message with `run` gets a running answer (Turn); otherwise the saved Message."""
    raise NotImplementedError


def continue_answer(store: Store, principal: Principal, chat_id: str, message_id: str) -> Turn:
    """Go on with an answer that ended by `length`: the same message runs again."""
    raise NotImplementedError


def begin_pair(
    store: Store,
    principal: Principal,
    chat_id: str,
    *,
    text: str,
    parent_id: str | None,
    models: tuple[str, str],
    settings: Mapping[str, Any] | None = None,
    chosen_how: Mapping[str, Any] | None = None,
) -> Pair:
    """Two running answers to one new message, models hidden until the pick. chosen_how: {method, probability}."""
    raise NotImplementedError
