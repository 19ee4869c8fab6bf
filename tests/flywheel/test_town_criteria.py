"""The town's exam, its requests and its held-out text as criteria of a model that descends from the town."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.service.tiny import tiny_chat

from ziggurat.files import write_json
from ziggurat.flywheel.gate.criteria.exam import Exam, town_of
from ziggurat.flywheel.gate.criteria.safety import Safety, safety_set
from ziggurat.flywheel.gate.criteria.text_loss import TextLoss
from ziggurat.flywheel.gate.criterion import Bench
from ziggurat.flywheel.gate.policy import GatePolicy
from ziggurat.lineage import MANIFEST_FORMAT
from ziggurat.model.hub import save_model


def test_a_model_of_the_town_is_examined_and_must_not_forget(ziggurat_home: Path, tmp_path: Path) -> None:
    """Both models are the same, so nothing falls; then the candidate's head is noise, and its text loss rises."""
    ladder, chat = ziggurat_home / "runs" / "town", tiny_chat()
    run = ladder / "sft-1"
    save_model(chat.model, run / "model", chat.tokenizer)
    write_json(ladder / "plan.json", {"world": {"name": "town", "town": 1}}, 2)
    write_json(run / "manifest.json", {"stage": "sft", "data": [], "parent": None}, MANIFEST_FORMAT)
    child = tmp_path / "candidate"
    save_model(chat.model, child / "model", chat.tokenizer)
    parent = {"path": "$ZIGGURAT_HOME/runs/town/sft-1"}
    write_json(child / "lineage.json", {"stage": "whole", "parent": parent, "data": []}, 1)
    bench = Bench(candidate=child, against=run, policy=GatePolicy(exam_items=20))
    assert town_of(bench) == 1
    exam, safety, text = (one.measure(bench) for one in (Exam(), Safety(), TextLoss()))
    assert (exam.verdict, exam.figure, exam.n) == ("passed", 0.0, exam.n)
    assert exam.n is not None
    assert exam.n >= 10
    assert (safety.verdict, safety.figure) == ("passed", 0.0)
    assert text.verdict == "passed"
    assert abs(text.figure or 0) < 1e-6
    assert text.n == 60
    with torch.no_grad():
        bench.ours.model.norm.weight.mul_(3)  # the same words, said far too surely
    worse = TextLoss().measure(bench)
    assert worse.verdict == "refused"
    assert "at most +3.0 % is allowed" in worse.sentence


def test_the_questions_of_safety_are_of_three_kinds_in_two_languages() -> None:
    rows = safety_set()
    assert {(one["kind"], one["lang"]) for one in rows} == {
        (kind, lang) for kind in ("improper", "proper", "honesty") for lang in ("en", "zh")
    }
    assert len({one["text"] for one in rows}) == len(rows)
