"""`ziggurat scaling`: the plan, the runs, the prediction before the largest, skills, the report."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.errors import UsageError
from ziggurat.evaluation.saved_law import SavedLaw, load_law, save_law, series_folder
from ziggurat.evaluation.scaling_laws import Law
from ziggurat.exam.scaling import plan as planning
from ziggurat.exam.scaling.advice import advised
from ziggurat.exam.scaling.corpus import documents, pieces, read_text
from ziggurat.exam.scaling.curve import dictionary, dictionary_share
from ziggurat.exam.scaling.plan import Cell, Machine, Series, Wanted, choose, read_series, shape
from ziggurat.exam.scaling.probe import Asked, similarity
from ziggurat.exam.scaling.series import Measured
from ziggurat.exam.scaling.skills import DICTIONARY, SKILLS
from ziggurat.ladder.plan import Speeds
from ziggurat.model.accounting import total_parameters
from ziggurat.runs import Run

FAST = Machine(lambda config: total_parameters(config) * 1e-9)
"""A step takes a nanosecond a parameter."""
WANTED = Wanted(budget_s=600.0, sizes=4)
SIZES = {"vocabulary": 512, "context": 64, "batch_tokens": 1024}
TOY = ["--sizes", "3", "--vocabulary", "300", "--context", "32", "--batch-tokens", "128", "--budget", "1h"]


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """About 60,000 characters, in which two words follow each other by rule."""
    chance = random.Random(1)
    words = [
        "the",
        "quiet",
        "river",
        "turns",
        "its",
        "heavy",
        "wheel",
        "and",
        "bread",
        "is",
        "baked",
        "below",
    ]
    lines = [" ".join(words[chance.randint(0, 3) * 3 :][:9]) + "." for _ in range(1500)]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Very small shapes; no speed is measured."""
    monkeypatch.setattr(planning, "FAMILY", ((1, 16), (1, 32), (2, 32)))
    monkeypatch.setattr("ziggurat.exam.scaling.series.FAMILY", planning.FAMILY)
    monkeypatch.setattr("ziggurat.exam.scaling.findings.FAMILY", planning.FAMILY)
    monkeypatch.setattr("ziggurat.exam.scaling.series.this_machine", lambda *_: FAST)
    monkeypatch.setattr("ziggurat.exam.scaling.series.QUESTIONS", 4)
    monkeypatch.setattr("ziggurat.exam.scaling.series.CURVE_POINTS", 2)
    monkeypatch.setattr("ziggurat.exam.scaling.curve.SAMPLES", 2)
    monkeypatch.setattr("ziggurat.evaluation.scaling_laws.RESAMPLES", 8)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_largest_size_is_held_out_and_the_whole_series_fits_the_budget() -> None:
    cells, limit = choose(WANTED, FAST, **SIZES, corpus_tokens=10**9)
    held = [cell for cell in cells if cell.held_out]
    assert held == [cells[-1]]
    assert held[0].ratio == 20
    assert [cell.ratio for cell in cells[:-1]] == [5, 10, 20] * 3
    assert sum(cell.seconds for cell in cells) <= 600
    assert limit == "the budget"
    for cell in cells:
        assert cell.tokens == cell.steps * 1024
        assert cell.tokens == pytest.approx(cell.ratio * cell.parameters, abs=512)
        assert cell.parameters == total_parameters(
            shape(planning.FAMILY.index((cell.layers, cell.width)), 512, 64)
        )
    longer, _ = choose(replace(WANTED, budget_s=6000.0), FAST, **SIZES, corpus_tokens=10**9)
    assert longer[-1].parameters > held[0].parameters


def test_little_text_keeps_the_sizes_small_and_says_so() -> None:
    cells, limit = choose(WANTED, FAST, **SIZES, corpus_tokens=1_000_000)
    assert max(cell.tokens for cell in cells) <= 4_000_000
    assert limit == "the text (1.00M tokens)"
    with pytest.raises(UsageError, match="learns from .* tokens and the text has 1,000"):
        choose(WANTED, FAST, **SIZES, corpus_tokens=1000)


def test_shares_of_a_skill_are_each_trained_at_every_size() -> None:
    wanted = replace(WANTED, shares=(0.0, 1.0, 10.0), law=False, seeds=2)
    cells, _ = choose(wanted, FAST, **SIZES, corpus_tokens=10**9)
    assert len(cells) == 4 * 3 * 2
    assert {cell.ratio for cell in cells} == {20.0}
    assert not any(cell.held_out for cell in cells)
    assert [(c.share, c.seed) for c in cells[:6]] == [(0, 0), (0, 1), (1, 0), (1, 1), (10, 0), (10, 1)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--budget", "1s", "--tokens-per-parameter", "0.05,0.1"],
            "the smallest series of 5 sizes takes about",
        ),
        (["--sizes", "2"], "--sizes is 2; give 3 to 12"),
        (["--tokens-per-parameter", "20"], "at least two --tokens-per-parameter"),
        (["--sizes", "3", "--tokens-per-parameter", "5,20"], "4 runs are too few for a law with 5 constants"),
        (["--tokens-per-parameter", "5,x"], "give numbers with commas between them"),
        (["--skill", "summs"], 'There is no skill "summs"; choose one of sums, copies, translations'),
        (["--skill", "sums", "--shares", "0,100"], "from 0 to below 100"),
        (["--set", "train.steps=5"], "the series settles it"),
        (["--resume"], "holds no series to resume"),
    ],
)
def test_a_series_that_cannot_be_is_refused_in_one_sentence(
    arguments: list[str],
    said: str,
    text_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ziggurat.exam.scaling.series.this_machine", lambda *_: FAST)
    assert run(["scaling", "--text", str(text_file), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not series_folder("own").exists()


# --- text and skills --------------------------------------------------------------------------------------------------


def test_pieces_keep_every_character_and_whole_lines() -> None:
    text = "".join(f"line {i}\n" for i in range(1000)) + "x" * 4000
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(piece.endswith("\n") for piece in found[:4])
    assert max(map(len, found)) < 3000


def test_a_share_of_the_characters_is_the_skill(text_file: Path) -> None:
    text = read_text([text_file], 1, None)
    assert not set(text.learned) & set(text.held_out)
    for share in (0.0, 1.0, 10.0):
        found = documents(text, SKILLS["sums"], share, text.characters)
        made = sum(len(d.text) for d in found if d.source == "skill:sums")
        assert made / sum(len(d.text) for d in found) == pytest.approx(share / 100, abs=0.004)
        assert bool(made) == bool(share)


@pytest.mark.parametrize("name", list(SKILLS))
def test_questions_are_right_and_in_no_document(name: str) -> None:
    skill = SKILLS[name]
    lines = {line for text in skill.documents(200_000) for line in text.splitlines()}
    questions = skill.questions(100)
    assert len(questions) == len({q.prompt for q in questions}) == 100
    assert not {q.prompt + q.answer for q in questions} & lines
    assert list(skill.documents(0)) == []
    for q in questions:
        if name == "sums":
            a, b = q.prompt.removesuffix(" =").split(" + ")
            assert int(q.answer) == int(a) + int(b)
        elif name == "copies":
            assert q.prompt == f"copy{q.answer}:"
        else:
            _, adjective, noun, verb, _ = q.prompt.split()
            assert q.answer.split() == [DICTIONARY[w] for w in (noun, adjective, verb)]


def test_every_word_has_its_own_translation() -> None:
    assert len(set(DICTIONARY.values())) == len(DICTIONARY) == 38


def test_similarity_is_one_less_the_edit_distance_by_length() -> None:
    assert similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert similarity("", "") == 1
    assert similarity("abc", "") == 0
    assert similarity("85", "85") == 1


def test_dictionary_words_are_those_of_the_text_and_cut_words_do_not_count() -> None:
    words = dictionary(["The door, the lamp.", "A lamp and a door"])
    assert words == {"the", "door", "lamp", "a"}
    assert dictionary_share(["xx the lamq door yy"], words) == pytest.approx(2 / 3)
    assert dictionary_share(["one"], words) == 0


# --- advice -----------------------------------------------------------------------------------------------------------


def saved(name: str) -> None:
    """The published constants as a law of this name: small models, much data."""
    series_folder(name).mkdir(parents=True)
    law = Law(("parameters", "tokens"), 1.69, (406.4, 410.7), (0.34, 0.28), 0.0, 15)
    save_law(SavedLaw(name, "books.txt", law, 512, 64, (5e4, 5e5), (1e6, 1e7)))


def test_plan_size_follows_the_law_that_is_named() -> None:
    saved("books")
    by_rule, by_law = advised("1h", "", 512, 64, FAST), advised("1h", "books", 0, 0, FAST)
    assert "By 20 tokens a parameter" in by_rule
    assert "By the law of scaling-books, fitted on books.txt" in by_law
    assert by_rule.splitlines()[0] != by_law.splitlines()[0]
    with pytest.raises(UsageError, match='no fitted law "boks"'):
        advised("1h", "boks", 0, 0, FAST)


def test_the_ladder_of_own_files_takes_its_size_from_a_law(
    tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved("books")
    speeds = Speeds(train_step_s=1e-4, train_token_s=1e-6, forward_token_s=3e-7, completion_s=2e-5)
    for module in ("climb", "sizes"):
        monkeypatch.setattr(f"ziggurat.ladder.{module}.measure_speeds", lambda *_, **__: speeds)
    own = tmp_path / "own"
    own.mkdir()
    text_file.rename(own / "documents.txt")
    command = ["ladder", "--world", str(own), "--budget", "1h", "--dry-run"]
    assert run([*command, "--scaling", "books"]) == 0
    assert "Size by the law of scaling-books, fitted on books.txt" in capsys.readouterr().err
    assert run([*command, "--scaling", "boks"]) == 2
    assert run(["ladder", "--scaling", "books", "--dry-run"]) == 2
    assert '--scaling is not used by the world "town"' in capsys.readouterr().err


# --- whole series -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_series_predicts_its_largest_model_before_it_is_trained(
    text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["scaling", "--name", "toy", "--text", str(text_file), *TOY, "--skill", "copies",
                 "--tokens-per-parameter", "0.05,0.1,0.2"]  # fmt: skip
    assert run([*arguments, "--dry-run"]) == 0
    assert not series_folder("toy").exists()
    # stopped when the largest would begin: the prediction is there, and the model is not
    from ziggurat.exam.scaling import series as module

    trained = module.pretrain

    def stop(*given: object, **named: object) -> Path:
        if given[2].name == "pretrain-7":  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return trained(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "pretrain", stop)
    assert run(arguments) == 130
    folder = series_folder("toy")
    predicted = (folder / "prediction.json").read_bytes()
    assert not (folder / "pretrain-7" / "metrics.jsonl").exists()
    first = (folder / "pretrain-1" / "metrics.jsonl").stat().st_mtime_ns

    monkeypatch.setattr(module, "pretrain", trained)
    assert run(["scaling", "--name", "toy", "--resume"]) == 0
    assert (folder / "prediction.json").read_bytes() == predicted
    assert (folder / "pretrain-1" / "metrics.jsonl").stat().st_mtime_ns == first
    report = json.loads((folder / "report.json").read_text())
    held = report["laws"]["held_out"]
    assert held["predicted"] == json.loads(predicted)["loss"]
    last = Run.open(folder / "pretrain-7")
    assert held["measured"] == last.read_metrics()[-1]["val_loss"]
    assert held["error"] == pytest.approx(held["predicted"]["value"] / held["measured"] - 1)
    assert held["parameters"] == max(cell["parameters"] for cell in report["runs"])
    assert [row["parameters"] for row in report["skills"]] == sorted(
        {c["parameters"] for c in report["runs"]}
    )
    assert next(point["step"] for point in report["curve"]) == 0
    assert len(report["curve"]) >= 3

    page = (folder / "report.html").read_text()
    for said in (
        "held out: predicted",
        "Sharp: share of answers",
        "What to train for a budget",
        "dictionary words",
    ):
        assert said in page
    out = capsys.readouterr().out
    assert "L(N, D) before the held-out model" in out
    assert "The report:" in out

    # the law is there for budgets
    saved = load_law("toy")
    assert saved.parameters[1] == held["parameters"]
    assert len(saved.law.draws) == 8
    assert run(["runs", "show", "scaling-toy/pretrain-7"]) == 0
    assert run(arguments) == 2
    assert "continue it with --resume" in capsys.readouterr().err
    text_file.write_text(text_file.read_text()[:-500])
    assert run(["scaling", "--name", "toy", "--resume"]) == 2
    assert "begun with other text" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_shares_of_a_skill_make_a_table(
    text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the runs came to is given: half of the answers are right where a fifth of the text shows the skill."""

    def measure(series: Series, cell: Cell, *_: object) -> Measured:
        exact = (1, 0) * 20 if cell.share else (0,) * 40
        return Measured(
            cell, 2.0, 1.5, 1.0, Asked(exact, 0.5 if cell.share else 3.0, 0.75, (("a", " b", " c"),))
        )

    monkeypatch.setattr("ziggurat.exam.scaling.series._measure", measure)
    arguments = ["scaling", "--text", str(text_file), *TOY, "--skill", "sums", "--shares", "0,20",
                 "--tokens-per-parameter", "0.05", "--seeds", "2"]  # fmt: skip
    assert run(arguments) == 0
    folder = series_folder("own")
    assert [(c.share, c.seed) for c in read_series(folder).cells[:4]] == [(0, 0), (0, 1), (20, 0), (20, 1)]
    report = json.loads((folder / "report.json").read_text())
    assert report["laws"] is None
    assert [(row["share"], row["exact"]["value"]) for row in report["skills"]] == [(0, 0)] * 3 + [
        (20, 0.5)
    ] * 3
    low, high = report["skills"][3]["exact"]["low"], report["skills"][3]["exact"]["high"]
    assert (
        0.3 < low < 0.4 < 0.6 < high < 0.7
    )  # of 40 questions, asked of two seeds: 1.96 * sqrt(0.25 / 40) is 0.155
    out = capsys.readouterr().out
    assert "sums: right answers by share and size" in out
    assert ", 0.50 nats" in out
    assert "A skill out of a share of the text" in (folder / "report.html").read_text()
