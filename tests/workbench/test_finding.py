"""Search, filters, sorting, and one act on all that match."""

from __future__ import annotations

import pytest
from tests.product.house import join
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take

from ziggurat.product.errors import Conflict, Invalid
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import finding, items


def test_text_tags_and_language_find_items_in_chinese_too(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    said = [{"role": "user", "content": '为什么天空是"蓝"的？'}]
    zh, en, _ = add(
        store,
        lead,
        project,
        an_entry(messages=said, lang="zh"),
        an_entry(1, tags=["a b", "中"]),
        an_entry(2),
    )

    def ids(**where: object) -> list[str]:
        return [one["id"] for one in finding.find(store, lead, project, where=where)["data"]]

    assert ids(text="天空") == ids(text='"蓝"') == ids(lang="zh") == [zh]
    assert ids(text="QUESTION 1") == ids(tag="中") == ids(tag="a b") == [en]
    assert ids(tag="a") == []
    assert ids(text="100%") == []
    with pytest.raises(Invalid):
        ids(colour="red")


def test_the_strongest_disagreement_comes_first_and_pages_go_on(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    same, apart, unanswered = add(store, lead, project, an_entry(0), an_entry(1), an_entry(2))
    for who, orders in ((ana, ((1, 2), (1, 2))), (bo, ((1, 2), (2, 1)))):
        for order in orders:
            rank(store, who, take(store, who, project), *order)
    first = finding.find(store, lead, project, sort="disagreement", limit=2)
    assert [one["id"] for one in first["data"]] == [apart, same]
    assert first["total"] == 3
    rest = finding.find(store, lead, project, sort="disagreement", limit=2, cursor=first["next"])
    assert ([one["id"] for one in rest["data"]], rest["next"]) == ([unanswered], None)
    assert finding.find(store, lead, project, where={"apart": 0.5})["total"] == 1
    assert finding.find(store, lead, project, where={"answered_by": ana.person_id})["total"] == 2


def test_a_bulk_act_reaches_all_that_match_and_not_only_a_page(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    add(store, lead, project, *(an_entry(n, lang="en" if n % 2 else "zh") for n in range(60)))
    where = {"lang": "en"}
    done = finding.act_on_all(store, lead, project, where=where, act="halt", expected=30)
    assert done == {"matched": 30, "changed": 30}
    assert finding.find(store, lead, project, where={"status": "halted"})["total"] == 30
    assert finding.act_on_all(store, lead, project, where=where, act="open")["changed"] == 30
    assert finding.act_on_all(store, lead, project, where={}, act="tag", value="x")["changed"] == 60
    with pytest.raises(Conflict):
        finding.act_on_all(store, lead, project, where=where, act="halt", expected=29)
    (ana,) = people(store, 1)
    given = finding.act_on_all(store, lead, project, where=where, act="assign", value=[ana.person_id])
    assert given == {"matched": 30, "changed": 30}


def test_what_a_reward_model_is_least_sure_of_is_given_out_first(store: Store) -> None:
    """Equal rewards: 1 bit; 2 apart: p = 0.881, 0.527 bits."""
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    sure, unsure = add(store, lead, project, an_entry(0), an_entry(1))
    assert [one["item_id"] for one in finding.to_score(store, lead, project)] == [sure, unsure]
    scores = {sure: [0.0, 2.0], unsure: [0.5, 0.5], "item_of_another": [1.0, 2.0]}
    assert finding.set_scores(store, lead, project, scores, first=True) == 2
    assert items.get_item(store, lead, sure).uncertainty == pytest.approx(0.527, abs=1e-3)
    found = finding.find(store, lead, project, sort="uncertainty")["data"]
    assert [one["id"] for one in found] == [unsure, sure]
    assert take(store, ana, project).item_id == unsure
    assert finding.to_score(store, lead, project) == []
    assert finding.uncertainty([0.0, 1e6]) == 0.0
