"""Frozen versions: rules, bytes, card, and what no later change can undo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError
from tests.flywheel.people import a_member, a_subject, a_talk, about
from tests.product.house import join

from ziggurat.errors import UsageError
from ziggurat.flywheel.dataset import building, version_files, versions
from ziggurat.flywheel.dataset.exams import Exams, open_exams, town_texts
from ziggurat.flywheel.dataset.filters import near_duplicates
from ziggurat.flywheel.dataset.objects import BuildSettings, DatasetVersion
from ziggurat.flywheel.dataset.samples import Sample
from ziggurat.flywheel.worth.assessment import Assessment, Person
from ziggurat.home import located
from ziggurat.product import consents, judgements
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.records import Comparison, Demonstration, Prompt, Rating, read_records
from ziggurat.settings import parse_sets
from ziggurat.store.store import Store
from ziggurat.store.tables.datasets import dataset_items

PLAIN = BuildSettings(exams=(), held_out_people=0, held_out_time=0)


@pytest.fixture(autouse=True)
def _home(ziggurat_home: Path) -> None:
    """Versions are written into the home of this test."""


def lines(version: DatasetVersion, name: str) -> list[dict[str, Any]]:
    file = located(version.path) / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def liked(store: Store, member: Principal, *rounds: tuple[str, str]) -> str:
    """A chat for each question, its answer liked; the last chat's id."""
    chat_id = ""
    for one in rounds:
        chat_id, (answer,) = a_talk(store, member, one)
        judgements.judge(store, member, chat_id, answer.id, value=1)
    return chat_id


def counts(version: DatasetVersion) -> dict[str, int]:
    return {reason: one["count"] for reason, one in version.card["left_out"].items()}


def test_a_version_holds_records_that_our_readers_read(store: Store) -> None:
    owner, member = join(store, "owner"), a_member(store)
    chat_id, (first, second) = a_talk(store, member, ("How far is it?", "A mile."), ("And back?", "No idea."))
    judgements.judge(store, member, chat_id, first.id, value=1)
    judgements.rewrite(store, member, chat_id, second.id, text="A mile too.")
    about(store, owner, "ranking", {"ranks": {"c0": 1, "c1": 2}, "not_rankable": False})
    version = building.build(store, owner, settings=PLAIN)
    folder = located(version.path)
    assert (version.ref, version.n, version.parent_id) == ("feedback/v1", 1, None)
    (ranked, pair) = sorted(
        read_records(folder / "comparisons.jsonl", Comparison), key=lambda one: one.source or ""
    )
    assert (pair.source, pair.completions) == ("flywheel/rewrite", ["A mile too.", "No idea."])
    assert (ranked.source, ranked.ranks) == ("flywheel/ranking", [1, 2])
    (rating,) = read_records(folder / "ratings.jsonl", Rating)
    assert (rating.source, rating.label) == ("flywheel/thumb", True)
    assert rating.weight is not None
    assert rating.weight < 0.5  # a thumb counts half, and nobody is always right
    (demonstration,) = read_records(folder / "demonstrations.jsonl", Demonstration)
    assert demonstration.messages[-1].content == "A mile too."
    assert len(list(read_records(folder / "prompts.jsonl", Prompt))) == 3
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == version.sha256
    assert card["counts"]["source"] == {"ranking": 1, "rewrite": 2, "thumb": 1}
    assert member.person_id not in (folder / "card.json").read_text()
    assert versions.get_version(store, owner, "feedback").id == version.id


def test_the_same_store_gives_the_same_bytes_and_no_second_version(store: Store) -> None:
    owner, member = join(store, "owner"), a_member(store)
    liked(store, member, ("How far is it?", "A mile."), ("How long is it?", "An hour."))
    version = building.build(store, owner, settings=PLAIN)
    again = building.build(store, owner, settings=PLAIN)
    assert (again.id, again.unchanged) == (version.id, True)
    folder = located(version.path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = building.build(store, owner, "other", settings=PLAIN)
    assert other.sha256 == version.sha256
    shutil.rmtree(folder)
    versions.materialise(store, owner, "feedback/v1")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_frozen_version_refuses_every_change(store: Store) -> None:
    owner, member = join(store, "owner"), a_member(store)
    liked(store, member, ("How far is it?", "A mile."))
    version = building.build(store, owner, settings=PLAIN)
    with store.read() as conn:
        row = dict(conn.execute(dataset_items.select()).mappings().one())
    for statement in (
        "UPDATE dataset_version SET sha256 = 'x'",
        "DELETE FROM dataset_version",
        "UPDATE dataset_item SET weight = 2.0",
        "UPDATE dataset_item SET content = NULL, split = 'held_out_time'",
        "DELETE FROM dataset_item",
    ):
        with pytest.raises(DBAPIError, match="frozen"), store.write() as conn:
            conn.execute(text(statement))
    with pytest.raises(DBAPIError, match="frozen"), store.write() as conn:
        conn.execute(insert(dataset_items).values(**row | {"content_hash": "another"}))
    assert versions.get_version(store, owner, version.id) == version


def test_a_build_that_is_killed_leaves_no_version(
    quick_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the folder is written, and after it stands but before the rows are committed."""
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    liked(quick_store, member, ("How far is it?", "A mile."))
    put = version_files.put

    def dies(when: str) -> Any:
        def killed(folder: Path, items: Any, card: Any) -> None:
            if when == "after":
                put(folder, items, card)
            raise KeyboardInterrupt

        return killed

    for when in ("before", "after"):
        monkeypatch.setattr(building, "put", dies(when))
        with pytest.raises(KeyboardInterrupt):
            building.build(quick_store, owner, settings=PLAIN)
        assert versions.list_versions(quick_store, owner) == []
    monkeypatch.setattr(building, "put", put)
    version = building.build(quick_store, owner, settings=PLAIN)
    assert version.n == 1
    assert versions._on_disk(located(version.path)) == {
        name: one["sha256"] for name, one in version.card["files"].items()
    }


def test_private_data_exams_and_repetitions_are_left_out(quick_store: Store, tmp_path: Path) -> None:
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    long = "Please tell me everything that you know about the history of the old stone bridge over the canal"
    exam = tmp_path / "exam.jsonl"
    exam.write_text(
        json.dumps({"question": f"Hello. {long} of Sumbra."}) + "\n" + '{"q": "Who bakes the bread?"}\n'
    )
    liked(
        quick_store,
        member,
        ("Write to ana@example.org, please.", "Done."),
        (f"{long}!", "It is old."),  # thirteen words of it in a row
        ("Who bakes the bread?", "The baker."),  # a short question, word for word
        ("Who bakes the bread of the town?", "The baker."),
        ("How far is it?", "A mile."),
        ("How far is it?", "A mile."),
        (f"Summarise this: {'la ' * 100} one", "One."),
        (f"Summarise this: {'la ' * 100} two", "Two."),
    )
    version = building.build(quick_store, owner, settings=PLAIN.model_copy(update={"exams": (str(exam),)}))
    assert counts(version) == {"private_data": 1, "exam": 2, "duplicate": 1, "near_duplicate": 1}
    assert [one["completion"] for one in lines(version, "ratings.jsonl")] == ["The baker.", "A mile.", "One."]
    kept = building.build(
        quick_store, owner, "all", settings=PLAIN.model_copy(update={"private_data": "keep"})
    )
    assert "private_data" not in counts(kept)


def test_the_towns_exam_is_never_learned(quick_store: Store) -> None:
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    asked = next(one for one in town_texts(1) if len(one.split()) > 5)
    liked(quick_store, member, (asked, "I know."), ("Is it raining in the harbour?", "No."))
    version = building.build(quick_store, owner, settings=BuildSettings(held_out_people=0, held_out_time=0))
    assert counts(version) == {"exam": 1}


def test_caps_keep_the_newest(quick_store: Store) -> None:
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    liked(quick_store, member, *((f"Is {i} a good number?", "Yes.") for i in range(5)))
    for i in range(3):
        value = {"decision": "approve", "reasons": [], "text": f"So it is {i}.", "topic": "law"}
        about(quick_store, owner, "decision", value, question=f"What of {i}?", answers=(f"So it is {i}.",))
    settings = PLAIN.model_copy(update={"person_cap": 2, "topic_cap": 1, "weights": False})
    version = building.build(quick_store, owner, settings=settings)
    assert counts(version) == {
        "person_cap": 5,
        "topic_cap": 1,
    }  # 3 thumbs; 1 rating and 1 demonstration of the owner
    asked = [one["prompt"][0]["content"] for one in lines(version, "ratings.jsonl")]
    assert asked == ["Is 3 a good number?", "Is 4 a good number?", "What of 1?", "What of 2?"]
    assert [one["messages"][-1]["content"] for one in lines(version, "demonstrations.jsonl")] == [
        "So it is 2."
    ]


def test_people_and_the_last_window_of_time_are_held_out(quick_store: Store) -> None:
    """Ten people with two questions of their own, and one question that all of them judged."""
    owner = join(quick_store, "owner")
    people = [a_member(quick_store, f"m{i}") for i in range(10)]
    for i, member in enumerate(people):
        liked(
            quick_store, member, ("Is it far to the ferry?", f"Yes, {i} miles."), (f"What of {i}?", "Fine.")
        )
    for i, member in enumerate(people):
        liked(quick_store, member, (f"And what of the {i}th?", "Fine."))
    settings = BuildSettings(exams=(), weights=False)
    version = building.build(quick_store, owner, settings=settings)
    with quick_store.read() as conn:
        rows = conn.execute(dataset_items.select()).all()
    held = {one.person for one in rows if one.split == "held_out_person"}
    assert len(held) == 1
    assert not held & {one.person for one in rows if one.split == "train"}
    late = {one.content["prompt"][0]["content"] for one in rows if one.split == "held_out_time"}
    assert late == {f"And what of the {i}th?" for i in range(3, 10)}  # the last third of 21 conversations
    learned = {one.content["prompt"][0]["content"] for one in rows if one.split == "train"}
    outside = {one.content["prompt"][0]["content"] for one in rows if one.split != "train"}
    assert not learned & outside
    assert counts(version) == {"shared_prompt": 1}
    assert len(lines(version, "held-out-ratings.jsonl")) == version.card["held_out"]
    assert versions.status(quick_store, owner)["waiting"]["usable"] == 0


def test_hostile_people_are_in_quarantine_or_weigh_nothing(quick_store: Store) -> None:
    """Four honest labellers and one who always says the opposite, on the same twelve pairs."""
    owner = join(quick_store, "owner")
    people = [join(quick_store, "labeller", name=f"l{i}") for i in range(5)]
    for pair in range(12):
        subject = a_subject(quick_store, owner)
        for k, labeller in enumerate(people):
            first = (k < 4) == (
                pair % 2 == 0
            )  # the better answer is the first and the shorter one every other time
            value = {"ranks": {"c0": 1 if first else 2, "c1": 2 if first else 1}, "not_rankable": False}
            about(
                quick_store,
                labeller,
                "ranking",
                value,
                subject=subject,
                question=f"Number {pair}?",
                answers=(f"It is {pair}.", f"Nobody knows {pair}."),
            )
    version = building.build(quick_store, owner, settings=PLAIN)
    assert counts(version) == {"quarantined": 12}
    assert version.card["records"] == 48
    assert [one["flags"] for one in version.card["people"].values() if one["flags"]] == [["inverted"]]
    plain = building.build(quick_store, owner, "plain", settings=PLAIN.model_copy(update={"weights": False}))
    assert plain.card["records"] == 60
    assert all("weight" not in one for one in lines(plain, "comparisons.jsonl"))
    for one in (version, plain):  # whatever is left out for its worth
        assert one.card["agreement"]["pairs"]["value"] == pytest.approx(0.6)  # 6 of 10 pairs of people


def test_moderation_looks_at_what_end_users_write(quick_store: Store) -> None:
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    chat_id, (one, two) = a_talk(quick_store, member, ("Hm?", "Yes."), ("And?", "No."))
    judgements.rewrite(quick_store, member, chat_id, one.id, text="Something vile.")
    judgements.rewrite(quick_store, member, chat_id, two.id, text="Something kind.")
    version = building.build(
        quick_store, owner, settings=PLAIN, moderation=lambda texts: ["vile" in text for text in texts]
    )
    assert counts(version) == {"moderated": 2}
    assert len(lines(version, "comparisons.jsonl")) == 1


def test_a_withdrawal_during_the_build_is_not_frozen(
    quick_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, member, other = join(quick_store, "owner"), a_member(quick_store), a_member(quick_store)
    liked(quick_store, member, ("How far is it?", "A mile."))
    liked(quick_store, other, ("How long is it?", "An hour."))
    select = building.select_samples

    def withdrawn(*given: Any) -> Any:
        found = select(*given)
        consents.set_consent(quick_store, member, "improve_model", False)
        return found

    monkeypatch.setattr(building, "select_samples", withdrawn)
    version = building.build(quick_store, owner, settings=PLAIN)
    assert [one["completion"] for one in lines(version, "ratings.jsonl")] == ["An hour."]


def test_what_is_wrong_is_a_sentence(quick_store: Store, tmp_path: Path) -> None:
    owner, member = join(quick_store, "owner"), a_member(quick_store)
    with pytest.raises(Conflict, match="nobody has judged anything yet"):
        building.build(quick_store, owner, settings=PLAIN)
    chat_id, (answer,) = a_talk(quick_store, member, ("Hm?", "Yes."), data_use=False)
    judgements.judge(quick_store, member, chat_id, answer.id, value=1)
    with pytest.raises(Conflict, match="left out: no_data_use 1"):
        building.build(quick_store, owner, settings=PLAIN)
    with pytest.raises(Forbidden):
        building.build(quick_store, member)
    with pytest.raises(Invalid, match="must be 1 to 64 small letters"):
        building.build(quick_store, owner, "../up")
    with pytest.raises(Invalid, match=r"person_kap is not allowed.*person_cap"):
        building.build(quick_store, owner, settings={"person_kap": 1})
    with pytest.raises(NotFound, match="no dataset version 'x'"):
        versions.get_version(quick_store, owner, "x")
    with pytest.raises(UsageError, match="cannot be read"):
        open_exams([str(tmp_path / "none.jsonl")])
    with pytest.raises(UsageError, match="town:1"):
        open_exams(["town:x"])


def test_thirteen_words_in_a_row_and_chinese_characters() -> None:
    words = "a b c d e f g h i j k l m n"
    exams = Exams([words, "今天我们一起去城里的河边看看大船吧", "Hi"])
    assert exams.hold("x b c d e f g h i j k l m n y")
    assert not exams.hold("x c d e f g h i j k l m n y")
    assert exams.hold("我说：今天我们一起去城里的河边看看，好")
    assert not exams.hold("Hi")


def test_near_duplicates_share_a_long_beginning() -> None:
    long = "x" * 256
    assert near_duplicates({f"{long}a": 1, f"{long}b": 0, "short a": 2, "short b": 3}) == {f"{long}a"}
    nearly = "The same question with one other word at the very end of it, which is about the weather in "
    assert near_duplicates({nearly + "May": 0, nearly + "June": 1}) == {nearly + "June"}


@pytest.mark.parametrize(
    ("reliability", "weight"),
    [(None, 1.0), (0.95, 1.0), (0.8, 1.0), (0.7, 0.6667), (0.5, 0.0001)],  # (2 p - 1) / 0.6, at most 1
)
def test_a_demonstration_counts_by_its_authors_reliability(reliability: float | None, weight: float) -> None:
    record = {"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Yes."}]}
    one = Sample(
        kind="demonstration", record=record, judgement_id="j", person_id="i", person="p", source="edit",
        judged_at=1, basis="work",
    )  # fmt: skip
    known = {} if reliability is None else {"p": Person(labels=9, reliability=reliability, low=0.4, high=1.0)}
    found = building.content_of(building._weighted(one, Assessment(known)))
    assert found.get("weight", 1.0) == weight
    assert Demonstration.model_validate(found).weight == (None if weight == 1.0 else weight)


def test_a_bar_of_a_metric_is_set_by_the_command() -> None:
    assert building.checked(parse_sets(["metrics.stars=4", "metrics.solved=true"])).metrics == {
        "stars": 4.0,
        "solved": 1.0,
    }
