"""Items out of files, the dry run's report, and the rules for private data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.product.house import a_chat, join
from tests.workbench.labellers import a_project

from ziggurat.product import chats, judgements
from ziggurat.product.errors import Invalid
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import items
from ziggurat.workbench.labelling.importing import import_file
from ziggurat.workbench.labelling.screening import Screening, screen
from ziggurat.workbench.labelling.sources import from_chats

TRL = {"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."}
LABELS = {"labels": [{"key": "spam", "title": {"en": "Spam"}}]}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def everything(store: Store, lead: Any, project: str) -> list[Any]:
    return items.list_items(store, lead, project).data[::-1]


def test_a_dry_run_reports_what_the_import_then_does(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    data = lines(TRL, {**TRL, "prompt": "Grass?"}, TRL)
    dry = import_file(store, lead, project, data, name="pairs.jsonl")
    assert everything(store, lead, project) == []
    real = import_file(store, lead, project, data, name="pairs.jsonl", dry_run=False)
    assert {**dry, "dry_run": False} == real
    assert (real["format"], real["rows"], real["added"], real["duplicates"]) == ("trl preference", 3, 2, 1)
    first, _second = everything(store, lead, project)
    assert [one["content"] for one in first.payload["completions"]] == ["Blue.", "Green."]
    assert first.suggestion["value"]["ranks"] == {"c1": 1, "c2": 2}
    assert first.source == {"kind": "import", "file": "pairs.jsonl", "format": "trl preference"}


def test_the_project_takes_what_its_task_can_use(store: Store) -> None:
    lead = join(store, "owner")
    alpaca = b"instruction,input,output\nTranslate.,chat,cat\n"
    rewrite = a_project(store, lead, "rewrite")
    assert import_file(store, lead, rewrite, alpaca, name="a.csv", dry_run=False)["added"] == 1
    (one,) = everything(store, lead, rewrite)
    assert (one.payload["messages"][0]["content"], one.payload["completions"][0]["content"]) == (
        "Translate.\nchat",
        "cat",
    )
    writing = a_project(store, lead, "demonstration")
    import_file(store, lead, writing, alpaca, name="a.csv", dry_run=False, keep_answers=True)
    (two,) = everything(store, lead, writing)
    assert (two.payload["completions"], two.payload["draft"]) == ([], "cat")
    labels = a_project(store, lead, "labels", questions=LABELS)
    kto = lines({"prompt": "Sky?", "completion": "Blue.", "label": True})
    assert import_file(store, lead, labels, kto, name="k.jsonl")["added"] == 1
    briefs = a_project(store, lead, "prompt")
    assert import_file(store, lead, briefs, kto, name="k.jsonl")["sample"][0]["brief"] == "Sky?"
    ranking = a_project(store, lead)
    with pytest.raises(Invalid, match="comparisons are needed"):
        import_file(store, lead, ranking, alpaca, name="a.csv")
    with pytest.raises(Invalid, match="none of the endings"):
        import_file(store, lead, ranking, b"x", name="a.exe")


def test_our_own_entries_and_bad_rows(store: Store) -> None:
    lead = join(store, "owner")
    project = a_project(store, lead)
    good = {"messages": [{"role": "user", "content": "q"}], "completions": ["a", "b"], "priority": 3}
    bad = {"messages": [{"role": "user", "content": "q"}], "completions": ["a"]}
    found = import_file(store, lead, project, lines(good, bad), name="i.jsonl", dry_run=False)
    assert (found["format"], found["added"], found["refusals"]) == ("items", 1, 1)
    assert found["refused"] == [
        {"at": 1, "message": "the item has 1 completions; the task ranking needs 2 to 9."}
    ]
    assert everything(store, lead, project)[0].priority == 3


def entry(text: str, **meta: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "completions": ["a", "b"], "meta": meta}


def test_private_data_is_marked_masked_or_left_out() -> None:
    entries = [entry("Mail ana@example.org"), entry("no one")]
    marked = screen(entries, Screening())
    assert marked.entries[0]["tags"] == ["private_data"]
    assert marked.entries[0]["meta"]["private_data"] == {"email": 1}
    assert marked.entries[0]["messages"][0]["content"] == "Mail ana@example.org"
    assert (dict(marked.private), marked.marked) == ({"email": 1}, 1)
    masked = screen(entries, Screening(private_data="mask"))
    assert masked.entries[0]["messages"][0]["content"] == "Mail [email]"
    left = screen(entries, Screening(private_data="leave_out"))
    assert [one["messages"][0]["content"] for one in left.entries] == ["no one"]
    assert left.left_out == {"it holds private data": 1}


def test_instructgpts_rules_cap_people_drop_near_duplicates_and_split_by_person() -> None:
    start = "Tell me a story about " + "a very long river " * 6
    entries = [entry(f"{n} apples?", user_id="ana") for n in range(4)]
    entries += [entry(start + "and a dog.", user="bo"), entry(start + "and a cat.", user="cy")]
    rules = Screening(person_cap=3, split={"train": 0.5, "test": 0.5})
    found = screen(entries, rules)
    assert found.left_out == {
        "more than 3 prompts of one person": 1,
        "its prompt shares a long beginning with another": 1,
    }
    assert len(found.entries) == 4
    assert len({one["meta"]["split"] for one in found.entries if one["meta"].get("user_id") == "ana"}) == 1
    many = screen([entry(f"{n} ducks?", user=str(n)) for n in range(400)], rules)
    assert 150 < many.splits["train"] < 250  # 200 +- 2.5 standard deviations; the hash is fixed


def test_disliked_answers_of_chats_become_items_to_rewrite(store: Store) -> None:
    lead = join(store, "owner")
    chat = a_chat(store, lead, ("Why is the sky blue?", "Paint."), ("And grass?", "Chlorophyll."))
    chats.change_chat(store, lead, chat.id, {"data_use": True})
    answers = [one for one in chats.open_chat(store, lead, chat.id).messages if one.role == "assistant"]
    judgements.judge(store, lead, chat.id, answers[0].id, value=-1)
    judgements.judge(store, lead, chat.id, answers[1].id, value=1)
    project = a_project(store, lead, "rewrite")
    assert len(from_chats(store, lead, project, disliked=True)["added"]) == 1
    (one,) = everything(store, lead, project)
    assert [c["content"] for c in one.payload["completions"]] == ["Paint."]
    assert len(from_chats(store, lead, project)["added"]) == 1
