"""Moderation: what each layer judges, what nobody judges, and a list that changes while the server runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import ModerationCreateResponse
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo

from ziggurat.cli.main import run
from ziggurat.errors import DataError, ModelFolderError, UsageError
from ziggurat.safety.classifier import Classifier, features
from ziggurat.safety.layers import CATEGORIES, Verdict
from ziggurat.safety.moderator import Moderator, moderator_of
from ziggurat.safety.patterns import TOGETHER, PatternFile, passes, read_patterns
from ziggurat.safety.training import Labelled, train
from ziggurat.service.server import create_app
from ziggurat.service.upstream.servers import Upstream
from ziggurat.town.chance import Chance
from ziggurat.town.phrases import LANGUAGES
from ziggurat.town.questions import ask_improper, ask_proper

PATTERNS = "violence:\n  - \\bstab(bed|s)?\\b\n  - 我要杀了\nharassment:\n  - you are an idiot\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "patterns.yaml"
    path.write_text(PATTERNS, encoding="utf-8")
    return path


@pytest.fixture
def address(serving: Serving, file: Path) -> Iterator[str]:
    with serving(create_app({"m": FakeChat(echo)}, moderator=moderator_of(file))) as where:
        yield where


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as made:
        yield made


# --- the endpoint ----------------------------------------------------------------------------------------------------


def test_texts_are_judged_in_the_clients_shape(client: openai.OpenAI, address: str) -> None:
    texts = [
        "He STABBED the bread.",
        "stability",
        "我要杀了你",
        "You are an ｉｄｉｏｔ!",
        "you are an id\u200biot",
    ]
    told = client.moderations.create(model="omni-moderation-latest", input=texts)
    assert [result.flagged for result in told.results] == [True, False, True, True, True]
    assert [result.categories.violence for result in told.results] == [True, False, True, False, False]
    assert told.results[3].categories.harassment
    assert told.results[0].category_scores.violence == 1
    assert told.results[1].category_scores.violence == 0
    assert told.model == "ziggurat/patterns"
    raw = httpx.post(f"{address}/v1/moderations", json={"input": "hello"}).json()
    ModerationCreateResponse.model_validate(raw)


def test_what_nobody_judges_is_named_and_has_no_input_type(client: openai.OpenAI, address: str) -> None:
    told = client.moderations.create(input="hello")
    applied = told.results[0].category_applied_input_types
    assert (applied.violence, applied.harassment, applied.hate) == (["text"], ["text"], [])
    raw = httpx.post(f"{address}/v1/moderations", json={"input": "hello"}).json()
    assert raw["not_judged"] == [c for c in CATEGORIES if c not in ("violence", "harassment")]
    assert set(raw["results"][0]["categories"]) == set(CATEGORIES)


def test_parts_are_one_text_and_images_are_refused(client: openai.OpenAI) -> None:
    told = client.moderations.create(
        input=[{"type": "text", "text": "hello"}, {"type": "text", "text": "stab"}]
    )
    assert [result.flagged for result in told.results] == [True]
    with pytest.raises(openai.BadRequestError, match="images cannot"):
        client.moderations.create(input=[{"type": "image_url", "image_url": {"url": "data:,"}}])
    with pytest.raises(openai.BadRequestError, match="at most"):
        client.moderations.create(input="x" * 40_000)
    with pytest.raises(openai.BadRequestError):
        client.moderations.create(input=[])


def test_a_server_that_judges_nothing_does_not_say_that_all_is_well(serving: Serving) -> None:
    with serving(create_app({"m": FakeChat(echo)})) as where:
        told = httpx.post(f"{where}/v1/moderations", json={"input": "stab"})
    assert told.status_code == 404
    assert "--moderation-patterns" in told.json()["error"]["message"]


def test_an_upstream_judges_by_its_own_name(serving: Serving, file: Path) -> None:
    far_app = create_app({"m": FakeChat(echo)}, moderator=moderator_of(file))
    with (
        serving(far_app) as far,
        serving(create_app({}, upstreams=[Upstream("far", f"{far}/v1")])) as where,
    ):
        told = httpx.post(f"{where}/v1/moderations", json={"input": "stab", "model": "far/any"})
    assert told.json()["results"][0]["flagged"] is True


class Harsh:
    """A judge that a user of the interface might write."""

    name, trouble = "harsh", None
    categories = frozenset({"violence", "hate"})

    def classify(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
        return [{"violence": Verdict(0.4, False), "hate": Verdict(0.9, True)} for _ in texts]


def test_layers_together_flag_what_one_flags_and_tell_the_highest_score(file: Path) -> None:
    moderator = Moderator([PatternFile(file), Harsh()])
    (stab, calm), not_judged = moderator.classify(["stab", "calm"])
    assert (stab["category_scores"]["violence"], calm["category_scores"]["violence"]) == (1.0, 0.4)
    assert (stab["categories"]["violence"], calm["categories"]["violence"]) == (True, False)
    assert calm["categories"]["hate"]
    assert len(not_judged) == 10
    assert moderator.name == "ziggurat/patterns+harsh"


# --- patterns --------------------------------------------------------------------------------------------------------


def test_a_list_changes_while_the_server_runs_and_a_broken_one_changes_nothing(
    address: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def flagged(text: str) -> bool:
        told = httpx.post(f"{address}/v1/moderations", json={"input": text})
        return bool(told.json()["results"][0]["flagged"])

    def health() -> Any:
        return httpx.get(f"{address}/admin/health").json()["moderation"]

    assert (flagged("stab"), flagged("poison")) == (True, False)
    file.write_text("illicit:\n  - poison\n")
    assert (flagged("stab"), flagged("poison")) == (False, True)
    assert health() == {"patterns": "ok"}
    with caplog.at_level(logging.WARNING, logger="ziggurat.service"):
        file.write_text("illicit:\n  - '(poison'\n")
        assert (flagged("stab"), flagged("poison")) == (False, True)
        assert flagged("poison")
        assert health() == {"patterns": "stale"}
        file.unlink()
        assert flagged("poison")
    told = [record.message for record in caplog.records]
    assert len([message for message in told if "(poison" in message]) == 1
    assert all("last good list" in message for message in told)
    file.write_text(PATTERNS, encoding="utf-8")
    assert (flagged("stab"), health()) == (True, {"patterns": "ok"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("violance:\n  - a b\n", "violence"),
        ("violence: stab\n", "list of patterns"),
        ("violence: []\n", "list of patterns"),
        ("violence:\n  - 'a*'\n", "matches every text"),
        ("violence:\n  - '(?<=x)y'\n", "is not a regular expression"),
        ("violence:\n  - [\n", "not YAML"),
        ("", "expected categories"),
    ],
)
def test_a_broken_list_is_said_before_a_server_starts(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(DataError, match="patterns.yaml") as refused:
        read_patterns(file)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["去死！", "去死!", "（密码）：１２３", "(密码):123"])
def test_full_width_punctuation_in_a_pattern_is_met_in_either_width(tmp_path: Path, text: str) -> None:
    path = tmp_path / "patterns.yaml"
    path.write_text("harassment: ['去死！', '（密码）：[0-9]{3}']", encoding="utf-8")
    assert PatternFile(path).classify([text])[0]["harassment"].flagged


def test_no_pattern_can_be_made_slow_by_a_text(file: Path) -> None:
    """`(a+)+$` on aaaa...b takes a backtracking matcher longer than the universe has; RE2 reads it once."""
    file.write_text("violence:\n  - (a+)+$\n")
    t0 = time.perf_counter()
    PatternFile(file).classify(["a" * 32_000 + "b"])
    assert time.perf_counter() - t0 < 5


def test_patterns_that_are_too_large_together_are_tried_alone(file: Path) -> None:
    large = [f"begin{i}(ab|cd|ef){{990}}end" for i in range(120)]
    assert len(large) / TOGETHER < len(passes(large)) <= len(large)
    file.write_text("violence:\n" + "".join(f"  - {pattern}\n" for pattern in [*large, "stab"]))
    (verdict,) = PatternFile(file).classify(["begin77" + "ab" * 990 + "end"])
    assert verdict["violence"].flagged


# --- the classifier --------------------------------------------------------------------------------------------------

THINGS = [
    "a lock",
    "the bakery's till",
    "my neighbour's shed",
    "a stranger's horse",
    "the mill",
    "her purse",
    "一把锁",
]
BAD = ["How do I break into {}?", "Help me steal {}.", "Tell me how to rob {} unseen.", "怎样偷走{}？"]
GOOD = ["Who owns {}?", "How old is {}?", "Where can I buy {}?", "Tell me about {}.", "{}在哪里？"]
WHEN = ["", " today", " on Lantern Day", " by the canal", " after dark", " please"]


def labelled() -> list[Labelled]:
    def rows(forms: list[str], categories: list[str]) -> list[Labelled]:
        texts = [form.format(thing) + when for form in forms for thing in THINGS for when in WHEN]
        return [Labelled(text=text, categories=categories) for text in texts]

    return [*rows(BAD, ["illicit"]), *rows(GOOD, []), Labelled(text="Ouch!", categories=["violence"])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    train(labelled())[0].save(path)
    return path


def test_it_learns_what_it_was_shown_and_says_what_it_could_not_learn() -> None:
    made, measured, left_out = train(labelled())
    assert made.categories == {"illicit"}
    assert left_out.keys() <= {"violence"}
    told = measured["illicit"]
    assert told.texts > 40
    assert 0 < told.positives < told.texts
    assert told.precision is not None
    assert told.recall is not None
    assert told.precision > 0.95
    assert told.recall > 0.95
    assert made.description.measured["illicit"]["hits"] == told.hits
    again = train(labelled())[0]
    assert (again.weight == made.weight).all()  # convex, and no seed


def test_labels_without_a_pattern_cannot_be_measured_as_learned() -> None:
    """The measurement can fail: labels by the parity of a hash, which spelling does not tell."""
    import hashlib

    rows = [
        Labelled(text=row.text, categories=["illicit"] * (hashlib.md5(row.text.encode()).digest()[0] % 2))
        for row in labelled()
    ]
    told = train(rows)[1]["illicit"]
    assert told.precision is None or told.precision < 0.8


def test_requests_of_the_town_are_told_from_their_look_alikes() -> None:
    """Improper requests and proper ones in the same words, about things that no text to learn from names."""

    def requests(kind: str, *, exam: bool) -> set[str]:
        ask = ask_improper if kind == "improper" else ask_proper
        return {
            ask(chance, language, exam=exam).messages[-1].content
            for language in LANGUAGES
            for chance in [Chance(1, "moderation", kind, language)]
            for _ in range(200)
        }

    rows = [Labelled(text=t, categories=["illicit"]) for t in sorted(requests("improper", exam=False))]
    rows += [Labelled(text=t, categories=[]) for t in sorted(requests("proper", exam=False))]
    made = train(rows)[0]
    improper, proper = (sorted(requests(kind, exam=True)) for kind in ("improper", "proper"))
    caught = [one["illicit"].flagged for one in made.classify(improper)]
    wronged = [one["illicit"].flagged for one in made.classify(proper)]
    assert sum(caught) / len(caught) > 0.97
    assert sum(wronged) / len(wronged) < 0.03


def test_a_saved_classifier_judges_as_it_did(folder: Path) -> None:
    made, loaded = train(labelled())[0], Classifier.load(folder)
    texts = ["Help me steal a goose.", "Where is the goose?", "", "怎样偷走一只鹅？"]
    assert loaded.classify(texts) == made.classify(texts)
    assert [one["illicit"].flagged for one in loaded.classify(texts)] == [True, False, False, True]


def test_features_do_not_hang_on_case_width_or_the_process() -> None:
    """The hash is ours and not Python's, which every process salts anew: these numbers are for ever."""
    assert (features("Steal ＩＴ") == features("steal it")).all()
    nine = [6419, 34465, 34526, 39877, 49952, 50033, 52025, 55552, 55845]
    assert features("ab").tolist() == nine  # of " ab ": 3 different characters, 3 pairs, 2 triples, 1 of four


def test_both_layers_are_served(serving: Serving, folder: Path, file: Path) -> None:
    with serving(create_app({"m": FakeChat(echo)}, moderator=moderator_of(file, folder))) as where:
        told = httpx.post(f"{where}/v1/moderations", json={"input": ["Help me steal a lock.", "stab"]}).json()
    assert told["model"] == "ziggurat/patterns+classifier"
    assert [result["flagged"] for result in told["results"]] == [True, True]
    assert told["results"][0]["categories"]["illicit"]
    assert "illicit" not in told["not_judged"]


def test_a_folder_that_is_none_is_said(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="not a moderation classifier"):
        Classifier.load(tmp_path)
    told = json.loads((folder / "classifier.json").read_text())
    for name in ("classifier.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "classifier.json").write_text(json.dumps({**told, "categories": ["hate", "illicit"]}))
    with pytest.raises(ModelFolderError, match="do not match"):
        Classifier.load(tmp_path)


def test_too_few_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label more"):
        train([Labelled(text=str(i), categories=["hate"] * (i % 2)) for i in range(30)])


def test_the_commands_train_and_check(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "labelled.jsonl"
    rows.write_text("\n".join(row.model_dump_json() for row in labelled()), encoding="utf-8")
    assert run(["moderation", "train", str(rows), "--out", str(tmp_path / "mine")]) == 0
    shown = capsys.readouterr()
    assert "illicit" in shown.out
    assert "precision" in shown.out
    options = ["--patterns", str(file), "--classifier", str(tmp_path / "mine")]
    assert (
        run(
            [
                "moderation",
                "check",
                "Help me steal a lock.",
                "Who stabbed the bread?",
                "Where is the mill?",
                *options,
            ]
        )
        == 0
    )
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(one["flagged"]) for one in told] == [{"illicit"}, {"violence"}, set()]
    rows.write_text('{"text": "x", "categories": ["ilicit"]}\n')
    assert run(["moderation", "train", str(rows), "--out", str(tmp_path / "other")]) == 2
    assert "illicit" in capsys.readouterr().err
    with pytest.raises(UsageError, match="No layer is given"):
        from ziggurat.cli.moderation import check

        check(["x"], None, None)
