"""The tree of a chat under any sequence of acts, against a plain model of it in Python."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.product.house import join

from ziggurat.product import chats, deletion, generations, messages, people, turns
from ziggurat.product.objects import Message, Turn
from ziggurat.store.store import Store

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["say", "again", "edit", "switch", "delete", "root", "fork"]), st.integers(0, 1_000)
    ),
    max_size=14,
)


class Model:
    """Parents and contents by id, in the order of their making."""

    def __init__(self) -> None:
        self.parent: dict[str, str | None] = {}
        self.content: dict[str, str] = {}
        self.leaf: str | None = None

    def add(self, message: Message) -> None:
        self.parent[message.id], self.content[message.id] = message.parent_id, message.content
        self.leaf = message.id

    def children(self, of: str | None) -> list[str]:
        return [key for key, parent in self.parent.items() if parent == of]

    def down(self, key: str) -> str:
        while below := self.children(key):
            key = below[-1]
        return key

    def path(self, key: str | None) -> list[str]:
        path = []
        while key is not None:
            path.append(key)
            key = self.parent[key]
        return path[::-1]

    def delete(self, key: str) -> None:
        parent, gone = self.parent[key], [key]
        while gone:
            one = gone.pop()
            gone += self.children(one)
            del self.parent[one], self.content[one]
        if self.leaf not in self.parent:
            rest = self.children(None)
            self.leaf = self.down(parent) if parent is not None else self.down(rest[-1]) if rest else None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_any_sequence_of_acts_keeps_the_tree(store: Store, acts: list[tuple[str, int]]) -> None:
    join(store, "owner")
    ana = people.local_principal(store)
    chat = chats.create_chat(store, ana).id
    model = Model()
    for number, (act, choice) in enumerate(acts):
        ids = list(model.parent)
        some = ids[choice % len(ids)] if ids else None
        if act in ("say", "root") or some is None:
            parent = None if act == "root" else model.leaf
            finish(
                store,
                model,
                turns.begin_turn(store, ana, chat, text=f"q{number}", parent_id=parent, model="t"),
            )
        elif act == "again" and model.parent[some] is not None and model.content[some].startswith("a"):
            finish(store, model, turns.regenerate(store, ana, chat, some, model="t"))
        elif act == "edit":
            edited = turns.edit_message(store, ana, chat, some, text=f"e{number}", run=False)
            assert isinstance(edited, Message)
            model.add(edited)
        elif act == "switch":
            model.leaf = model.down(some)
            assert chats.change_chat(store, ana, chat, {"active_leaf_id": some}).active_leaf_id == model.leaf
        elif act == "delete":
            deletion.delete_message(store, ana, chat, some)
            model.delete(some)
        elif act == "fork":
            forked = chats.fork_chat(store, ana, chat, some)
            said = [m.content for m in chats.open_chat(store, ana, forked.id).messages]
            assert said == [model.content[key] for key in model.path(some)]
        compare(store, ana, chat, model)


def finish(store: Store, model: Model, turn: Turn) -> None:
    if turn.user is not None:
        model.add(turn.user)
    text = f"a{len(model.parent)}"
    model.add(generations.finish(store, str(turn.generation_id), finish_reason="stop", content=text))


def compare(store: Store, ana: object, chat: str, model: Model) -> None:
    from ziggurat.product.principal import Principal

    assert isinstance(ana, Principal)
    opened = chats.open_chat(store, ana, chat)
    assert opened.chat.active_leaf_id == model.leaf
    assert [m.id for m in opened.messages] == model.path(model.leaf)
    for position, message in enumerate(opened.messages):
        assert message.position == position
        assert message.siblings == model.children(message.parent_id)
        assert message.content == model.content[message.id]
    nodes = messages.tree(store, ana, chat).messages
    assert {node.id: node.parent_id for node in nodes} == model.parent
