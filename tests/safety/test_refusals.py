"""The classifier of refusals (layer 2) on answers that it was not fitted on, and the mark under answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ziggurat.errors import DataError
from ziggurat.safety.mark import AI_MARKS, ai_mark, without_mark
from ziggurat.safety.refusals import held_out, read_labelled_answers, train
from ziggurat.safety.words import WordClassifier, measure

LABELLED = Path(__file__).parent / "data" / "refusals.jsonl"


def test_the_packages_weights_are_those_that_the_labels_give() -> None:
    rows = read_labelled_answers(LABELLED)
    made, figures = train(rows)
    kept = WordClassifier.packaged("refusals")
    assert made.weights == pytest.approx(kept.weights, abs=0.01)
    others = [row for row in rows if held_out(row)]
    again = measure(kept, [row.text for row in others], [row.refusal for row in others])
    assert kept.measured == figures._asdict() == again._asdict()


def test_held_out_figures() -> None:
    """Measured: 28 of 30 refusals found, 1 of 29 other answers taken for one."""
    _, figures = train(read_labelled_answers(LABELLED))
    assert figures.texts >= 50
    assert figures.recall is not None
    assert figures.precision is not None
    assert figures.recall >= 0.85
    assert figures.precision >= 0.85


def test_an_empty_answer_is_no_refusal() -> None:
    assert not WordClassifier.packaged("refusals").flags("")
    assert not WordClassifier.packaged("refusals").flags(" \n")


def test_labels_of_one_kind_or_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"text": "No.", "refusal": true}\n{"text": 5}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        read_labelled_answers(path)
    with pytest.raises(DataError, match="one kind"):
        train([row for row in read_labelled_answers(LABELLED) if row.refusal])


def test_weights_are_saved_and_read(tmp_path: Path) -> None:
    made = WordClassifier.packaged("refusals")
    made.save(tmp_path / "r.json")
    assert WordClassifier.load(tmp_path / "r.json").weights == made.weights


# --- the mark (A095) ------------------------------------------------------------------------------------------------


def test_the_mark_speaks_two_languages_and_is_no_context() -> None:
    assert ai_mark("zh-CN") == "以上内容为 AI 生成，不代表开发者立场，请勿删除或修改本标记"
    assert ai_mark("zh") == ai_mark("zh-CN")
    assert ai_mark("fr") == AI_MARKS["en"]
    for mark in AI_MARKS.values():
        assert without_mark(f"Paris.\n\n{mark}") == "Paris."
    assert without_mark("Paris.\n") == "Paris.\n"
