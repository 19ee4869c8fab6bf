"""Conversation trees: prompt, review, growth, ranking, export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.product.house import join
from tests.workbench.labellers import people, take

from ziggurat.corpus.load import load_comparisons
from ziggurat.flywheel.exchange.export import export
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers
from ziggurat.workbench.labelling import answering, items, members, queue, reviewing
from ziggurat.workbench.labelling import tree_leading as trees
from ziggurat.workbench.labelling.tree_states import STATES, accepted

SMALL = {"depth": 1, "children": 2, "goal": 3, "prompt_reviews": 2, "reply_reviews": 2, "rankings": 2}


def state(store: Store, lead: Principal, tree: str) -> str:
    return str(trees.get_tree(store, lead, tree)["state"])


def do(store: Store, who: Principal, project: str, value: Any) -> str:
    task = take(store, who, project)
    answering.submit(store, who, task.item_id, value(task) if callable(value) else value)
    return task.item_id


def review(spam: bool = False, lang: bool = False) -> dict[str, Any]:
    return {"labels": {"spam": spam, "lang_mismatch": lang, "quality": 4}}


def write(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": text}]}


def planted(store: Store, **settings: Any) -> tuple[Principal, list[Principal], dict[str, str], str]:
    lead, labellers = join(store, "owner"), people(store, 4)
    steps = trees.create_tree_projects(store, lead, name="talks")
    (tree,) = trees.plant(store, lead, steps, ["Why is the sky blue?"], lang="en", settings=SMALL | settings)
    return lead, labellers, steps, tree


def grown(store: Store) -> tuple[Principal, dict[str, str], str]:
    """A whole tree: one prompt, two answers, both accepted, ranked by two people."""
    lead, (ana, bo, cy, di), steps, tree = planted(store)
    for who in (ana, bo):
        do(store, who, steps["review"], review())
    for who, text in ((ana, "Because of scattering."), (bo, "It is painted.")):
        do(store, who, steps["reply"], write(text))
    for who in (cy, di, cy, di):
        do(store, who, steps["review"], review())
    better = "Because of scattering."
    for who in (cy, di):
        do(
            store,
            who,
            steps["rank"],
            lambda task: {
                "ranks": {one["id"]: 1 if one["content"] == better else 2 for one in task.completions}
            },
        )
    return lead, steps, tree


def test_a_tree_grows_from_a_prompt_to_ranked_answers(store: Store) -> None:
    lead, (ana, bo, cy, di), steps, tree = planted(store)
    assert state(store, lead, tree) == "initial_prompt_review"
    assert queue.next_item(store, ana, steps["reply"])["task"] is None
    for who in (ana, bo):
        do(store, who, steps["review"], review())
    assert state(store, lead, tree) == "growing"
    do(store, ana, steps["reply"], write("Because of scattering."))
    do(store, bo, steps["reply"], write("It is painted."))
    shown = take(store, ana, steps["review"])
    assert "scattering" not in str(shown.completions), "nobody reviews their own text"
    answering.skip(store, ana, shown.item_id, reason="unclear")
    for who in (cy, di, cy, di):
        do(store, who, steps["review"], review())
    assert state(store, lead, tree) == "ranking"
    assert queue.next_item(store, ana, steps["rank"])["task"] is None, "nobody ranks their own text"
    for who in (cy, di):
        do(
            store,
            who,
            steps["rank"],
            lambda task: {"ranks": {c: n for n, c in enumerate(sorted(task.shown), 1)}},
        )
    found = trees.get_tree(store, lead, tree)
    assert found["state"] == "ready_for_export"
    assert sorted(one["rank"] for one in found["nodes"] if one["role"] == "assistant") == [0, 1]
    (row,) = trees.list_trees(store, lead, steps["reply"])
    assert (row["nodes"], row["accepted"], row["goal"]) == (3, 3, 3)


def test_a_bad_prompt_ends_the_tree_and_a_bad_reply_stays_out(store: Store) -> None:
    """Acceptance is 1 - (spam + wrong language): with one of two reviewers each it is 0."""
    assert accepted(0.4, 0, 0.6)
    assert not accepted(0.2, 0.3, 0.6)
    lead, (ana, bo, _, _), steps, tree = planted(store)
    do(store, ana, steps["review"], review(spam=True))
    do(store, bo, steps["review"], review(lang=True))
    assert state(store, lead, tree) == "aborted_low_grade"
    with pytest.raises(Conflict):
        trees.set_tree_state(store, lead, tree, "backlog")
    lead, (ana, bo, cy, di), steps, tree = planted(store, children=2)
    for who in (ana, bo):
        do(store, who, steps["review"], review())
    do(store, ana, steps["reply"], write("Because of scattering."))
    do(store, bo, steps["reply"], write("buy now"))
    for who in (cy, di, cy, di):
        do(store, who, steps["review"], lambda task: review(spam="buy" in task.completions[0]["content"]))
    found = trees.get_tree(store, lead, tree)
    assert found["state"] == "ready_for_export", "one answer is left, so there is nothing to rank"
    assert sorted(one["state"] for one in found["nodes"]) == ["accepted", "accepted", "rejected"]


def test_a_halted_tree_gives_no_work_until_it_is_resumed(store: Store) -> None:
    lead, (ana, *_), steps, tree = planted(store)
    trees.set_tree_state(store, lead, tree, "halted_by_moderator")
    assert queue.next_item(store, ana, steps["review"])["task"] is None
    assert trees.set_tree_state(store, lead, tree, "resume")["state"] == "initial_prompt_review"
    assert take(store, ana, steps["review"]).messages[0]["content"] == "Why is the sky blue?"
    with pytest.raises(Conflict):
        trees.set_tree_state(store, lead, tree, "resume")


def test_a_deeper_tree_asks_for_the_users_next_message(store: Store) -> None:
    lead, (ana, bo, cy, di), steps, tree = planted(store, depth=2, children=1, goal=9, reply_reviews=1)
    for who in (ana, bo):
        do(store, who, steps["review"], review())
    do(store, ana, steps["reply"], write("Because of scattering."))
    do(store, cy, steps["review"], review())
    task = take(store, di, steps["prompt"])
    assert [m["role"] for m in task.messages] == ["user", "assistant"]
    answering.submit(store, di, task.item_id, {"prompt_kind": "plain", "text": "What is scattering?"})
    assert [one["role"] for one in trees.get_tree(store, lead, tree)["nodes"]] == [
        "user",
        "assistant",
        "user",
    ]


def test_every_state_is_explained_and_wrong_settings_are_named(store: Store) -> None:
    from ziggurat.workbench.labelling import tree_states

    assert all(name in str(tree_states.__doc__) for name in STATES)
    lead = join(store, "owner")
    steps = trees.create_tree_projects(store, lead, name="x")
    with pytest.raises(Invalid, match=r"settings\.depth"):
        trees.plant(store, lead, steps, ["p"], settings={"depth": 0})
    with pytest.raises(Invalid, match="the step reply needs"):
        trees.plant(store, lead, {**steps, "reply": steps["rank"]}, ["p"])


def test_the_export_is_read_as_an_open_assistant_tree(store: Store, tmp_path: Path) -> None:
    lead, steps, _ = grown(store)
    made = export(store, lead, "oasst", project_id=steps["reply"])
    (line,) = made.files["trees.jsonl"].decode().splitlines()
    tree = json.loads(line)
    assert tree["tree_state"] == "ready_for_export"
    assert [one["rank"] for one in tree["prompt"]["replies"]] == [0, 1]
    assert tree["prompt"]["replies"][0]["user_id"].startswith("p-")
    assert "labeller" not in line
    path = tmp_path / "trees.jsonl"
    path.write_bytes(made.files["trees.jsonl"])
    (comparison,) = load_comparisons(path).records
    assert comparison.completions == ["Because of scattering.", "It is painted."]
    assert comparison.ranks == [1, 2]


def test_the_same_reply_of_two_people_is_ranked_once(store: Store) -> None:
    lead, (ana, bo, cy, di), steps, tree = planted(store, children=3, goal=4, reply_reviews=1, rankings=1)
    for who in (ana, bo):
        do(store, who, steps["review"], review())
    for who, text in ((ana, "scattering"), (bo, "scattering "), (cy, "paint")):
        do(store, who, steps["reply"], write(text))
    for _ in range(3):
        do(store, di, steps["review"], review())
    assert state(store, lead, tree) == "ranking"
    for who in (ana, bo, cy):
        assert queue.next_item(store, who, steps["rank"])["task"] is None, "nobody ranks their own text"
    shown = take(store, di, steps["rank"])
    assert sorted(one["content"] for one in shown.completions) == ["paint", "scattering"]
    answering.submit(store, di, shown.item_id, {"ranks": {c: n for n, c in enumerate(shown.shown, 1)}})
    assert state(store, lead, tree) == "ready_for_export"


def test_two_trees_of_the_same_prompt_both_grow(store: Store) -> None:
    lead, (ana, bo, *_), steps, tree = planted(store, prompt_reviews=1)
    (twin,) = trees.plant(
        store, lead, steps, ["Why is the sky blue?"], lang="zh", settings=SMALL | {"prompt_reviews": 1}
    )
    for _ in range(2):
        do(store, ana, steps["review"], review())
    assert [state(store, lead, one) for one in (tree, twin)] == ["growing", "growing"]
    got = [do(store, bo, steps["reply"], write(f"answer {n}")) for n in range(2)]
    assert len(set(got)) == 2


@pytest.mark.parametrize(
    ("lang", "brief"), [("en", "Write the user's next message."), ("zh-CN", "写出用户的下一条消息。")]
)
def test_the_brief_is_in_the_language_of_the_tree(store: Store, lang: str, brief: str) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    steps = trees.create_tree_projects(store, lead, name="talks")
    settings = SMALL | {"depth": 2, "children": 1, "prompt_reviews": 1, "reply_reviews": 1}
    trees.plant(store, lead, steps, ["Why is the sky blue?"], lang=lang, settings=settings)
    do(store, ana, steps["review"], review())
    do(store, ana, steps["reply"], write("Because of scattering."))
    do(store, bo, steps["review"], review())
    assert take(store, bo, steps["prompt"]).brief == brief


@pytest.mark.parametrize("way", ["change", "discard", "reject", "fix", "purge"])
def test_a_reply_that_counts_no_more_leaves_the_tree(store: Store, way: str) -> None:
    lead, (ana, bo, *_), steps, tree = planted(store, prompt_reviews=1, reply_reviews=1, children=1)
    expert = join(store, "adjudicator")
    do(store, bo, steps["review"], review())
    task = take(store, ana, steps["reply"])
    made = answering.submit(store, ana, task.item_id, write("old"))
    match way:
        case "change":
            answering.submit(store, ana, task.item_id, write("new"))
        case "discard":
            answering.discard(store, ana, task.item_id)
        case "purge":
            members.purge(store, lead, steps["reply"], ana.person_id)
        case "fix":
            reviewing.review(store, expert, made.answer.id, verdict="fix", value=write("new"))
        case "reject":
            reviewing.review(store, expert, made.answer.id, verdict="reject", reason="spam")
    said = [(one["content"], one["state"]) for one in trees.get_tree(store, lead, tree)["nodes"][1:]]
    if way in ("change", "fix"):
        assert said == [("old", "rejected"), ("new", "review")]
        assert take(store, bo, steps["review"]).completions[0]["content"] == "new"
    else:
        assert said == [("old", "rejected")]
        assert queue.next_item(store, bo, steps["review"])["task"] is None, "nobody reviews the old text"
        assert take(store, bo, steps["reply"]).item_id == task.item_id


def test_the_texts_of_a_ranked_tree_stay_and_a_purged_one_leaves_it(store: Store) -> None:
    lead, steps, tree = grown(store)
    with store.read() as conn:
        wanted = select(answers.c.item_id, answers.c.person_id).where(answers.c.project_id == steps["reply"])
        item, person = conn.execute(wanted.order_by(answers.c.id)).first() or ("", "")
    ana = replace(lead, person_id=person, role="labeller")
    for act in (
        lambda: answering.submit(store, ana, item, write("another")),
        lambda: answering.discard(store, ana, item),
    ):
        with pytest.raises(Conflict, match="does not grow"):
            act()
    members.purge(store, lead, steps["reply"], person)
    found = trees.get_tree(store, lead, tree)
    assert [(one["state"], one["rank"]) for one in found["nodes"][1:]] == [
        ("rejected", None),
        ("accepted", 1),
    ]
    assert items.get_item(store, lead, item).status == "halted", "a finished tree asks for nothing"
