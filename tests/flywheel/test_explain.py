"""From an answer to the judgements behind it: for whoever got the answer, and for those with the right."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.flywheel.people import a_member, a_talk
from tests.flywheel.test_withdrawal import PLAIN, a_release
from tests.product.house import join

from ziggurat.flywheel.dataset import building
from ziggurat.flywheel.explain import explain, judgements_behind
from ziggurat.product import consents, judgements
from ziggurat.product.errors import Forbidden, NotFound
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import messages


@pytest.fixture
def owner(quick_store: Store, ziggurat_home: Path) -> Principal:
    return join(quick_store, "owner")


def written_by(store: Store, message_id: str, release: str) -> None:
    with store.write() as conn:
        hashes = {"weights": "w", "release": release}
        conn.execute(messages.update().where(messages.c.id == message_id).values(hashes=hashes))


def test_two_steps_from_an_answer_to_the_judgements(quick_store: Store, owner: Principal) -> None:
    ana, bo = a_member(quick_store), a_member(quick_store)
    for member, asked, said in (
        (ana, "When does the ferry leave?", "At noon."),
        (bo, "Who bakes bread?", "Bo."),
    ):
        chat_id, (answer,) = a_talk(quick_store, member, (asked, said))
        judgements.judge(quick_store, member, chat_id, answer.id, value=1)
    version = building.build(quick_store, owner, settings=PLAIN)
    a_release(quick_store, owner, "assistant-2", version)
    _, (mine,) = a_talk(quick_store, ana, ("When is the next ferry?", "At six."))
    written_by(quick_store, mine.id, "assistant-2")
    found = explain(quick_store, ana, mine.id)
    assert found["release"]["name"] == "assistant-2"
    assert found["release"]["scores"] == {"win rate": 0.6}
    (data,) = found["versions"]
    assert (data["ref"], data["records"], data["people"], data["withdrawn"]) == ("feedback/v1", 2, 2, 0)
    assert not found["may_read_judgements"]
    with pytest.raises(Forbidden):
        judgements_behind(quick_store, ana, data["id"])
    behind = judgements_behind(quick_store, owner, data["id"], question=found["answer"]["question"])
    assert [one["record"]["completion"] for one in behind["data"]] == ["At noon."]
    assert behind["data"][0]["person"].startswith("p-")
    consents.set_consent(quick_store, ana, "improve_model", False)
    behind = judgements_behind(quick_store, owner, data["id"])
    assert (behind["withdrawn"], [one["record"]["completion"] for one in behind["data"]]) == (1, ["Bo."])
    assert explain(quick_store, ana, mine.id)["versions"][0]["withdrawn"] == 1


def test_an_answer_of_no_release_says_so_and_another_persons_is_not_there(
    quick_store: Store, owner: Principal
) -> None:
    ana = a_member(quick_store)
    _, (mine,) = a_talk(quick_store, ana, ("Hm?", "Yes."))
    found = explain(quick_store, ana, mine.id)
    assert (found["release"], found["versions"], found["answer"]["model"]) == (None, [], "tiny")
    for who, answer in ((owner, mine.id), (ana, "msg_none")):
        with pytest.raises(NotFound):
            explain(quick_store, who, answer)
