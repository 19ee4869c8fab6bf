"""Exports: consent, split by person, cards, equal bytes; Argilla's own classes and the round trip."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from tests.product.house import a_chat, join
from tests.workbench.labellers import a_project, add, an_entry, people, rank, take

from ziggurat.corpus.load import load_comparisons
from ziggurat.flywheel.exchange.export import ExportSettings, export
from ziggurat.product import consents, deletion, judgements
from ziggurat.product.errors import Forbidden, Invalid
from ziggurat.store.store import Store
from ziggurat.workbench.labelling import answering, argilla_form
from ziggurat.workbench.labelling.importing import import_file

LABELS = {
    "labels": [
        {"key": "quality", "title": {"en": "Quality"}, "scale": "likert", "points": 5},
        {"key": "spam", "title": {"en": "Spam"}, "scale": "binary"},
        {
            "key": "use",
            "title": {"en": "Use"},
            "scale": "choice",
            "options": [{"key": "chat", "title": {"en": "Chat"}}, {"key": "other", "title": {"en": "Other"}}],
        },
    ]
}


def ranked(store: Store, count: int, each: int = 2) -> tuple[Any, str]:
    """`count` labellers who rank `each` items of their own."""
    lead, labellers = join(store, "owner"), people(store, count)
    project = a_project(store, lead)
    add(store, lead, project, *(an_entry(n, k=3) for n in range(count * each)))
    for who in labellers:
        for _ in range(each):
            rank(store, who, take(store, who, project), 1, 2, 2)
    return lead, project


def test_rankings_are_exported_whole_split_by_person_and_the_same_bytes_again(
    store: Store, tmp_path: Path
) -> None:
    lead, project = ranked(store, 6)
    settings = ExportSettings(licence="cc-by-4.0", held_out_people=0.3)
    made = export(store, lead, "ranked", project_id=project, settings=settings)
    again = export(store, lead, "ranked", project_id=project, settings=settings)
    assert made.zipped() == again.zipped()
    sides = {}
    for side in ("train", "valid"):
        path = tmp_path / f"{side}.jsonl"
        path.write_bytes(made.files[f"{side}.jsonl"])
        sides[side] = load_comparisons(path).records
    people_of = {side: {one.labeller for one in found} for side, found in sides.items()}
    assert (len(sides["train"]), len(sides["valid"])) == (8, 4)
    assert not people_of["train"] & people_of["valid"]
    assert all(str(name).startswith("p-") for names in people_of.values() for name in names)
    assert all(one.ranks == [1, 2, 2] for one in sides["train"])
    card = made.card
    assert (card["rows"], card["judgements"], card["people"]) == (12, 12, 6)
    assert (card["licence"], list(card["consent"])) == ("cc-by-4.0", ["work"])
    with zipfile.ZipFile(io.BytesIO(made.zipped())) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        readme = archive.read(f"{made.name}/README.md").decode()
    assert names == {"train.jsonl", "valid.jsonl", "card.json", "README.md"}
    assert readme.startswith("---\nlicense: cc-by-4.0\n")
    assert "labeller 0" not in made.zipped().decode("latin1")


def test_pairs_for_llama_factory_have_their_description(store: Store) -> None:
    lead, project = ranked(store, 1, each=1)
    made = export(store, lead, "alpaca_preference", project_id=project)
    assert len(made.files["train.jsonl"].splitlines()) == 2  # ranks 1 2 2: two pairs
    info = json.loads(made.files["dataset_info.json"])
    assert info["ziggurat_train"]["ranking"] is True
    assert info["ziggurat_train"]["file_name"] == "train.jsonl"


def test_without_consent_nothing_of_a_chat_leaves_and_a_deleted_person_is_gone(store: Store) -> None:
    lead, ana = join(store, "owner"), join(store, "member")
    chat = a_chat(store, ana, ("Why is the sky blue?", "Scattering."))
    judgements.judge(store, ana, chat.id, str(chat.active_leaf_id), value=1)
    with pytest.raises(Invalid) as refused:
        export(store, lead, "trl_kto")
    assert refused.value.code == "nothing_to_export"
    consents.set_consent(store, ana, "improve_model", True)
    from ziggurat.product import chats

    chats.change_chat(store, ana, chat.id, {"data_use": True})
    judgements.judge(store, ana, chat.id, str(chat.active_leaf_id), value=1)
    made = export(store, lead, "trl_kto")
    (row,) = [json.loads(line) for line in made.files["train.jsonl"].splitlines()]
    assert (row["prompt"][0]["content"], row["label"]) == ("Why is the sky blue?", True)
    assert list(made.card["consent"]) == ["consent"]
    with pytest.raises(Invalid):
        export(store, lead, "trl_kto", settings={"weak": False})
    deletion.delete_account(store, ana)
    with pytest.raises(Invalid):
        export(store, lead, "trl_kto")


def test_private_data_stays_here_and_labellers_export_nothing(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    said = [{"role": "user", "content": "Mail ana@example.org"}]
    add(store, lead, project, an_entry(messages=said))
    rank(store, ana, take(store, ana, project), 1, 2)
    with pytest.raises(Invalid, match="private_data 1"):
        export(store, lead, "trl_preference", project_id=project)
    kept = export(store, lead, "trl_preference", project_id=project, settings={"private_data": "keep"})
    assert kept.card["rows"] == 1
    for project_id in (None, project):
        with pytest.raises(Forbidden):
            export(store, ana, "trl_preference", project_id=project_id)
    with pytest.raises(Invalid, match="Did you mean"):
        export(store, lead, "alpca", project_id=project)


def test_arena_battles_name_the_models_and_the_winner(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead, "pairwise")
    add(store, lead, project, *(an_entry(n) for n in range(4)))
    for value in (
        {"strength": -2},
        {"strength": 1},
        {"strength": 0, "verdict": "tie"},
        {"strength": 0, "verdict": "both_bad"},
    ):
        answering.submit(store, ana, take(store, ana, project).item_id, value)
    rows = [
        json.loads(line)
        for line in export(store, lead, "arena", project_id=project).files["battles.jsonl"].splitlines()
    ]
    assert [row["winner"] for row in rows] == ["model_a", "model_b", "tie", "tie (bothbad)"]
    assert set(rows[0]) == {
        *("question_id", "model_a", "model_b", "winner", "judge", "conversation_a", "conversation_b"),
        *("turn", "anony", "language", "tstamp"),
    }
    assert (rows[0]["model_a"], rows[0]["anony"], rows[0]["turn"], rows[0]["language"]) == (
        "model-0",
        True,
        1,
        "en",
    )


# --- Argilla ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rg() -> Any:
    """Argilla's own classes; no server is asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        import argilla
    argilla.Argilla._default_client = MagicMock()
    return argilla


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", ["ranking", "labels", "spans"])
def test_argilla_reads_settings_and_records(store: Store, tmp_path: Path, rg: Any, task: str) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    spans = {"labels": [{"key": "error", "title": {"en": "Error"}}]}
    questions = {"labels": LABELS, "spans": spans}.get(task)
    project = a_project(store, lead, task, questions=questions)
    add(store, lead, project, an_entry(k=1 if task == "labels" else 2, lang="en"))
    value = {
        "ranking": {"ranks": {"c1": 1, "c2": 1}},
        "labels": {"labels": {"quality": 4, "spam": False, "use": "chat"}},
        "spans": {"spans": [{"completion": "c1", "start": 0, "end": 6, "label": "error"}]},
    }[task]
    answering.submit(store, ana, take(store, ana, project).item_id, value)
    made = export(store, lead, "argilla", project_id=project)
    for name in ("settings.json", "records.json"):
        source = f".argilla/{name}" if name == "settings.json" else name
        (tmp_path / name).write_bytes(made.files[source])
    settings = rg.Settings.from_json(tmp_path / "settings.json")
    asked = {one.name for one in settings.questions}
    (record,) = [rg.Record.from_dict(row) for row in json.loads((tmp_path / "records.json").read_text())]
    assert record.fields["messages"] == [{"role": "user", "content": "question 0"}]
    assert {one.question_name for one in record.responses} <= asked
    assert {one.name for one in settings.fields} >= set(record.fields)
    assert record.to_dict()["responses"].keys() == {one.question_name for one in record.responses}


VALUES: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    ("ranking", {}, {"ranks": {"x": 1, "y": 2, "z": 2}, "not_rankable": False}, ["x", "y", "z"]),
    ("ranking", {}, {"ranks": {}, "not_rankable": True, "comment": "all bad"}, ["x", "y"]),
    ("pairwise", {"points": 7}, {"strength": -3, "verdict": None}, ["x", "y"]),
    ("pairwise", {"points": 7}, {"strength": 0, "verdict": "both_bad"}, ["x", "y"]),
    ("labels", LABELS, {"labels": {"quality": "cant_tell", "spam": True, "use": "cant_tell"}}, ["x"]),
    ("labels", LABELS, {"labels": {"quality": 3, "spam": "cant_tell"}}, ["x"]),
    (
        "spans",
        {},
        {"spans": [{"completion": "y", "start": 1, "end": 3, "label": "e", "comment": ""}]},
        ["x", "y"],
    ),
    ("demonstration", {}, {"messages": [{"role": "assistant", "content": "[1, 2]"}]}, []),
    (
        "demonstration",
        {},
        {"messages": [{"role": r, "content": r} for r in ("assistant", "user", "assistant")]},
        [],
    ),
    ("rewrite", {}, {"text": "better", "of": "x"}, ["x"]),
    (
        "prompt",
        {},
        {
            "text": "t",
            "prompt_kind": "few_shot",
            "examples": [{"input": "a", "output": "b"}],
            "use_case": "u",
        },
        [],
    ),
]


@pytest.mark.parametrize(("task", "questions", "value", "ids"), VALUES)
def test_a_value_survives_argillas_form(task: str, questions: Any, value: Any, ids: list[str]) -> None:
    given = argilla_form.fitted(task, argilla_form.responses(task, value, ids), questions)
    assert argilla_form.value_of(task, json.loads(json.dumps(given)), ids) == value


def test_argillas_records_come_back_as_items(store: Store) -> None:
    lead, (ana,) = join(store, "owner"), people(store, 1)
    project = a_project(store, lead)
    suggestion = {"value": {"ranks": {"c1": 2, "c2": 1, "c3": 3}}, "agent": "rm", "score": 0.5}
    add(store, lead, project, an_entry(k=3, lang="en", suggestion=suggestion))
    rank(store, ana, take(store, ana, project), 1, 2, 3)
    rows = json.loads(export(store, lead, "argilla", project_id=project).files["records.json"])
    other = a_project(store, lead)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found = import_file(store, lead, other, data, name="records.jsonl", dry_run=False)
    assert (found["format"], found["added"]) == ("argilla records", 1)
    assert list(found["dropped"].values()) == [1]  # the answer of a person who is not here
    from ziggurat.workbench.labelling import items

    (one,) = items.list_items(store, lead, other).data
    assert [c["content"] for c in one.payload["completions"]] == ["answer 0.0", "answer 0.1", "answer 0.2"]
    assert one.suggestion == {**suggestion, "value": {**suggestion["value"], "not_rankable": False}}
    assert one.lang == "en"
