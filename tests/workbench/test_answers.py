"""What an answer holds, by task; what becomes of answers: changes, versions, drafts, suggestions, training and test."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from tests.product.house import join
from tests.stores import Clock
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take, why_none

from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.workbench.labelling import (
    answering,
    comments,
    guidelines,
    items,
    members,
    progress,
    projects,
    queue,
    templates,
    values,
)

PAIR = {"completions": [{"id": "a", "content": "Åx"}, {"id": "b", "content": "y"}]}
SPAN = {"completion": "a", "start": 0, "end": 1, "label": "x"}
MARKS = {"labels": [{"key": "x"}]}
LENGTH = {"min_chars": 1, "max_chars": 9, "kinds": ["few_shot"]}
SCALE: dict[str, Any] = {
    "labels": [
        {"key": "quality", "scale": "likert", "points": 7, "required": True, "options": []},
        {"key": "spam", "scale": "binary", "required": False, "options": []},
        {"key": "use", "scale": "choice", "required": False, "options": [{"key": "chat"}, {"key": "other"}]},
    ]
}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"ranks": {"a": 2, "b": 2}}, {"a": 1, "b": 1}),  # ranks are made dense: a tie of both is rank 1
        ({"ranks": {"a": 2, "b": 1}}, {"a": 2, "b": 1}),
    ],
)
def test_a_ranking_keeps_dense_ranks(given: dict[str, Any], kept: dict[str, int]) -> None:
    assert values.checked("ranking", {"ties": True}, PAIR, given) == {"ranks": kept, "not_rankable": False}


@pytest.mark.parametrize(
    ("task", "questions", "given", "param"),
    [
        ("ranking", {"ties": True}, {"ranks": {"a": 1}}, "value.ranks"),
        ("ranking", {"ties": True}, {"ranks": {"a": 1, "b": 3}}, "value.ranks.b"),
        ("ranking", {"ties": False}, {"ranks": {"a": 1, "b": 1}}, "value.ranks"),
        ("ranking", {"ties": True}, {"ranks": {"a": True, "b": 2}}, "value.ranks.a"),
        ("pairwise", {"points": 7}, {"strength": 0}, "value.strength"),
        ("pairwise", {"points": 7}, {"strength": 4}, "value.strength"),
        ("pairwise", {"points": 7}, {"strength": 1, "verdict": "tie"}, "value.strength"),
        ("labels", SCALE, {"labels": {"spam": True}}, "value.labels"),
        ("labels", SCALE, {"labels": {"quality": 8}}, "value.labels.quality"),
        ("labels", SCALE, {"labels": {"quality": 5, "spam": 1}}, "value.labels.spam"),
        ("labels", SCALE, {"labels": {"quality": 5, "use": "poem"}}, "value.labels.use"),
        ("spans", MARKS, {"spans": [{**SPAN, "start": 1, "end": 3}]}, "value.spans.0.end"),
        ("spans", MARKS, {"spans": [{**SPAN, "start": 2, "end": 3}]}, "value.spans.0.start"),
        ("spans", MARKS, {"spans": [{**SPAN, "label": "y"}]}, "value.spans.0"),
        ("rewrite", LENGTH, {"of": "b", "text": " y "}, "value.text"),
        ("prompt", LENGTH, {"prompt_kind": "few_shot", "text": "t"}, "value.examples"),
        ("demonstration", LENGTH, {"messages": [{"role": "assistant", "content": " "}]}, "value.messages.0"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_place(
    task: str, questions: dict[str, Any], given: dict[str, Any], param: str
) -> None:
    with pytest.raises(Invalid) as error:
        values.checked(task, questions, PAIR, given)
    assert error.value.param == param


def test_cant_tell_is_an_answer_of_its_own() -> None:
    kept = values.checked(
        "labels", SCALE, PAIR, {"labels": {"quality": 4, "spam": "cant_tell", "use": "chat"}}
    )
    assert kept == {"labels": {"quality": 4, "spam": "cant_tell", "use": "chat"}}
    assert values.score("labels", kept, {"labels": {"spam": False}}) == 0.0
    assert values.score("labels", kept, {"labels": {"quality": 5, "spam": "cant_tell"}}) == 1.0


def test_scores_against_gold_by_hand() -> None:
    """Ranks 1 2 2 against 1 1 2: the pairs are (a,b), (a,c), (b,c); only (a,c) is ordered alike, so 1 of 3."""
    ours, gold = (
        {"ranks": dict(zip("abc", r, strict=True)), "not_rankable": False} for r in ((1, 2, 2), (1, 1, 2))
    )
    assert values.score("ranking", ours, gold) == pytest.approx(1 / 3)
    assert (
        values.score("pairwise", {"strength": -3, "verdict": None}, {"strength": -1, "verdict": None}) == 1.0
    )
    assert (
        values.score("pairwise", {"strength": 0, "verdict": "tie"}, {"strength": 0, "verdict": "both_bad"})
        == 0.0
    )
    mark = {"completion": "a", "label": "x", "comment": ""}
    mine, theirs = {"spans": [{**mark, "start": 0, "end": 4}]}, {"spans": [{**mark, "start": 2, "end": 6}]}
    assert values.score("spans", mine, theirs) == pytest.approx(2 * 2 / 8)
    assert values.score("demonstration", {}, {"messages": []}) is None


def test_a_pair_with_a_tie_against_gold_is_compared_by_sign() -> None:
    assert (
        values.score("ranking", {"ranks": {}, "not_rankable": True}, {"ranks": {}, "not_rankable": True})
        == 1.0
    )


def test_every_template_makes_a_project_with_guidelines_in_both_languages(store: Store) -> None:
    lead = join(store, "owner")
    kinds = []
    for one in templates.all_templates():
        made = projects.create_project(store, lead, name=one.key, task="ranking", template=one.key)
        assert made.guideline == 1
        assert set(guidelines.guidelines(store, lead, made.id)[0].texts) == {"en", "zh"}
        kinds.append(made.task)
    assert len(set(kinds)) == 7
    table3 = templates.template("instructgpt_answer").questions["labels"]
    assert [one["key"] for one in table3][:3] == [
        "overall_quality",
        "fails_instruction",
        "inappropriate_customer_assistant",
    ]
    assert len(table3) == 12
    assert len(templates.template("instructgpt_prompt").questions["labels"]) == 1 + 11
    assert len(templates.template("open_assistant").questions["labels"]) == 2 + 7 + 6


def test_a_changed_answer_supersedes_the_old_one_in_its_slot(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    (only,) = add(store, lead, project, an_entry())
    first = rank(store, ana, take(store, ana, project))
    task = answering.opened(store, ana, only)["task"]
    assert (task.answered, task.value["ranks"]) == (True, {"c1": 1, "c2": 2})
    second = answering.submit(store, ana, only, {"ranks": {"c1": 2, "c2": 1}})
    assert second.counts
    with store.read() as conn:
        rows = {row.id: row for row in conn.execute(select(judgements))}
    assert rows[first.answer.judgement_id].superseded_by == second.answer.judgement_id
    assert rows[second.answer.judgement_id].superseded_by is None
    assert items.get_item(store, lead, only).answers == 1
    answering.discard(store, ana, only)
    assert items.get_item(store, lead, only).status == "pending"
    with store.read() as conn:
        assert all(row.withdrawn_at or row.superseded_by for row in conn.execute(select(judgements)))


def test_the_judgement_holds_what_was_judged_and_how(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    guidelines.write_guidelines(store, lead, project, texts={"en": "Be fair."}, acknowledge=False)
    add(store, lead, project, an_entry(7))
    rank(store, ana, take(store, ana, project), seconds=3.5)
    with store.read() as conn:
        row = conn.execute(select(judgements)).one()
    assert (row.kind, row.subject_kind, row.basis, row.data_use) == ("ranking", "item", "work", True)
    assert row.value == {"ranks": {"c1": 1, "c2": 2}, "not_rankable": False}
    assert [one["content"] for one in row.completions] == ["answer 7.0", "answer 7.1"]
    assert row.completions[0]["model"] == "model-0"
    assert (row.prompt, row.shown) == ([{"role": "user", "content": "question 7"}], ["c1", "c2"])
    assert row.guideline == guidelines.guidelines(store, lead, project)[0].id
    assert (row.chosen_how["method"], row.seconds) == ("pull", 3.5)


def test_new_questions_after_answers_are_a_new_version(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    add(store, lead, project, an_entry(0), an_entry(1))
    assert projects.change_project(store, lead, project, {"questions": {"ties": False}}).version == 1
    first = rank(store, ana, take(store, ana, project))
    changed = projects.change_project(store, lead, project, {"questions": {"ties": True}})
    second = rank(store, ana, take(store, ana, project), 1, 1)
    assert (changed.version, first.answer.version, second.answer.version) == (2, 1, 2)
    assert [(one["n"], one["answers"]) for one in projects.versions(store, lead, project)] == [(2, 1), (1, 1)]


def test_changed_guidelines_are_confirmed_before_the_next_item(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    add(store, lead, project, an_entry(0), an_entry(1))
    guidelines.write_guidelines(store, lead, project, texts={"en": "one"})
    assert why_none(store, ana, project) == "acknowledge"
    guidelines.acknowledge(store, ana, project, 1)
    assert rank(store, ana, take(store, ana, project)).answer.guideline == 1
    guidelines.write_guidelines(store, lead, project, texts={"en": "a typo less"}, acknowledge=False)
    assert rank(store, ana, take(store, ana, project)).answer.guideline == 2, "no confirmation was asked for"


def test_a_draft_survives_and_a_prefilled_answer_is_marked(store: Store, clock: Clock) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    questions = {"min_chars": 3, "max_chars": 100, "from_draft": True}
    project = a_project(store, lead, "demonstration", questions=questions)
    entry = {"messages": [{"role": "user", "content": "hi"}], "draft": "Hello there."}
    (only,) = add(store, lead, project, entry)
    assert take(store, ana, project).draft_text == "Hello there."
    value = {"messages": [{"role": "assistant", "content": "Hello there!"}]}
    answering.save_draft(store, ana, only, value, prefilled=True)
    clock.move(days=1)
    assert take(store, ana, project).value == value, "the lease ended; the draft did not"
    made = answering.submit(store, ana, only, value)
    assert (made.answer.prefilled, made.counts) == (True, True)


def test_the_same_text_again_within_two_hours_is_refused(store: Store, clock: Clock) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, "demonstration")
    add(store, lead, project, *({"messages": [{"role": "user", "content": f"q{n}"}]} for n in range(2)))
    value = {"messages": [{"role": "assistant", "content": "The  same answer."}]}
    answering.submit(store, ana, take(store, ana, project).item_id, value)
    second = take(store, ana, project)
    with pytest.raises(Invalid) as error:
        answering.submit(
            store, ana, second.item_id, {"messages": [{"role": "assistant", "content": "the same answer."}]}
        )
    assert error.value.code == "repeated"
    clock.move(seconds=120 * 60 + 1)
    assert answering.submit(store, ana, second.item_id, value).counts


def test_a_suggestion_comes_after_the_first_choice_and_is_recorded(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, suggestions="after_first_choice")
    suggestion = {"value": {"ranks": {"c1": 2, "c2": 1}}, "agent": "rm-3", "score": 0.9}
    (only,) = add(store, lead, project, an_entry(suggestion=suggestion))
    task = take(store, ana, project)
    assert task.has_suggestion
    assert "rm-3" not in str(task.model_dump())
    with pytest.raises(Invalid):
        answering.suggestion(store, ana, only, first_choice={"ranks": {"c1": 1}})
    shown = answering.suggestion(store, ana, only, first_choice={"ranks": {"c1": 1, "c2": 2}})
    assert shown["agent"] == "rm-3"
    made = answering.submit(store, ana, only, shown["value"])
    assert made.answer.suggested
    with store.read() as conn:
        how = conn.execute(select(judgements.c.chosen_how)).scalar_one()
    assert how["first_choice"]["ranks"] == {"c1": 1, "c2": 2}
    assert how["suggestion"]["score"] == 0.9


GOLD = {"ranks": {"c1": 1, "c2": 2}}


@pytest.mark.parametrize(("right", "state"), [(3, "qualified"), (2, "failed")])
def test_training_explains_then_a_test_decides_by_the_soft_cut_off(
    store: Store, right: int, state: str
) -> None:
    """4 test items, cut-off 75 %: 3 right are enough, 2 are not."""
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, onboarding=True)
    add(store, lead, project, an_entry(0, kind="training", gold=GOLD, explanation="The first is true."))
    add(store, lead, project, *(an_entry(n, kind="test", gold=GOLD) for n in range(1, 5)))
    (work,) = add(store, lead, project, an_entry(9))
    told = rank(store, ana, take(store, ana, project), 2, 1)
    assert told.state == "test"
    assert told.training is not None
    assert (told.training["score"], told.training["explanation"]) == (0.0, "The first is true.")
    for n in range(4):
        done = rank(store, ana, take(store, ana, project), *((1, 2) if n < right else (2, 1)))
        assert done.training is None
    assert done.state == state
    (member,) = progress.people_of(store, lead, project)
    assert member.scores == {"mean": right / 4, "cutoff": 0.75, "n": 4}
    if state == "failed":
        assert why_none(store, ana, project) == "failed"
        members.change_member(store, lead, project, ana.person_id, {"state": "qualified"})
    assert take(store, ana, project).item_id == work


def test_written_tests_wait_for_a_leads_mark(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, "demonstration", onboarding=True)
    add(
        store,
        lead,
        project,
        *({"messages": [{"role": "user", "content": f"q{n}"}], "kind": "test"} for n in range(2)),
    )
    for n in range(2):
        task = take(store, ana, project)
        answering.submit(
            store, ana, task.item_id, {"messages": [{"role": "assistant", "content": f"text {n}"}]}
        )
    assert why_none(store, ana, project) == "graded"
    waiting = progress.tests_to_grade(store, lead, project)
    assert members.grade(store, lead, waiting[0]["answer_id"], mark=7) == "test"
    assert members.grade(store, lead, waiting[1]["answer_id"], mark=5) == "qualified", "a mean of 6"
    assert why_none(store, ana, project) == "none_left"


def test_a_purge_gives_the_items_out_again_and_keeps_the_record(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead)
    first, second = add(store, lead, project, an_entry(0), an_entry(1))
    rank(store, ana, take(store, ana, project))
    rank(store, bo, take(store, bo, project))
    (written,) = add(store, lead, project, an_entry(2, authors=[ana.person_id]))
    assert members.flag(store, lead, project, ana.person_id, reason="spam") == pytest.approx(0.65)
    found = members.purge(store, lead, project, ana.person_id)
    assert found == {"answers": 1, "reopened": 1, "halted": 1}
    assert [items.get_item(store, lead, one).status for one in (first, second, written)] == [
        "pending",
        "completed",
        "halted",
    ]
    with store.read() as conn:
        rows = conn.execute(select(judgements.c.person_id, judgements.c.withdrawn_at)).all()
    assert {row.person_id: row.withdrawn_at is None for row in rows} == {
        ana.person_id: False,
        bo.person_id: True,
    }
    assert why_none(store, ana, project) == "blocked"
    assert take(store, bo, project).item_id == first
    with pytest.raises(Conflict):
        answering.submit(store, ana, first, GOLD)


def test_five_bad_gold_answers_stop_a_labeller(store: Store) -> None:
    """Trust after five wrong ones: (0 + 1.5) / 7 = 0.21."""
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, gold_pct=50, stop_below=0.5)
    add(store, lead, project, *(an_entry(n, kind="gold", gold=GOLD) for n in range(6)))
    add(store, lead, project, *(an_entry(n) for n in range(20, 40)))
    states = []
    while (found := queue.next_item(store, ana, project))["task"] is not None:
        states.append(rank(store, ana, found["task"], 2, 1).state)
    assert (found["reason"], states[-1]) == ("blocked", "blocked")
    (member,) = progress.people_of(store, lead, project)
    assert (member.gold_answers, member.gold_accuracy) == (5, 0.0)
    assert member.trust == pytest.approx(1.5 / 7, abs=1e-4)


def test_comments_are_seen_by_who_works_on_the_item_and_mentions_reach_people(store: Store) -> None:
    lead, (ana, bo) = join(store, "owner", name="Lead"), people(store, 2)
    project = a_project(store, lead)
    (only,) = add(store, lead, project, an_entry())
    with pytest.raises(NotFound):
        comments.comment(store, ana, project, text="?", item_id=only)
    take(store, ana, project)
    asked = comments.comment(
        store, ana, project, text="Is B a joke?", item_id=only, question=True, mention=[lead.person_id]
    )
    assert [one.text for one in comments.my_mentions(store, lead)] == ["Is B a joke?"]
    comments.see_mentions(store, lead, [asked.id])
    assert comments.my_mentions(store, lead) == []
    assert comments.list_comments(store, bo, project) == []
    assert [one.id for one in comments.list_comments(store, lead, project, open_only=True)] == [asked.id]
    with pytest.raises(NotFound):
        comments.resolve(store, bo, asked.id)
    assert comments.resolve(store, lead, asked.id).resolved_at
    assert comments.list_comments(store, lead, project, open_only=True) == []


def test_progress_says_what_is_left_and_when_it_ends(store: Store, clock: Clock) -> None:
    """4 items of 2 answers: 4 answers in two days are 2 a day, so the 4 that are left take 2 days."""
    lead, (ana, bo) = join(store, "owner"), people(store, 2)
    project = a_project(store, lead, min_answers=2)
    add(store, lead, project, *(an_entry(n, lang="en" if n else "zh") for n in range(4)))
    for seconds in (10, 30):
        for who in (ana, bo):
            rank(store, who, take(store, who, project), seconds=seconds)
        clock.move(days=1)
    found = progress.of_project(store, lead, project)
    assert found["statuses"] == {"completed": 2, "pending": 2}
    assert (found["answers"], found["answers_left"]) == (4, 4)
    assert found["answers_a_day"] == pytest.approx(2, abs=0.01)
    assert found["days_left"] == pytest.approx(2, abs=0.01)
    assert found["median_seconds"] == 20
    assert found["langs"] == {"zh": {"items": 1, "done": 1}, "en": {"items": 3, "done": 1}}
