"""The gate sits tasks of the exam room that its policy names: candidate and serving release, in pairs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.service.tiny import tiny_chat

from ziggurat.flywheel.gate.criteria.exam import Exam
from ziggurat.flywheel.gate.criteria.exam_tasks import _sentence
from ziggurat.flywheel.gate.criterion import Bench
from ziggurat.flywheel.gate.policy import GatePolicy
from ziggurat.model.hub import save_model


@pytest.fixture
def bench(ziggurat_home: Path, tmp_path: Path) -> Bench:
    """Two equal models, and a task of one's own."""
    chat = tiny_chat()
    for name in ("old", "new"):
        save_model(chat.model, tmp_path / name / "model", chat.tokenizer)
    folder = ziggurat_home / "tasks" / "mine"
    folder.mkdir(parents=True)
    settings = {
        "name": "mine",
        "title": {"en": "Mine"},
        "version": 1,
        "ability": "knowledge",
        "source": "a test",
    }
    settings |= {
        "licence": "none",
        "rows": "rows.jsonl",
        "form": "answer",
        "prompt": "{{ q }}",
        "answer": "x",
    }
    settings |= {"metric": {"name": "exact"}, "max_tokens": 2}
    (folder / "task.yaml").write_text(json.dumps(settings))
    (folder / "rows.jsonl").write_text("".join(json.dumps({"q": str(i)}) + "\n" for i in range(10)))
    (ziggurat_home / "suites.yaml").write_text("suites:\n  ours:\n    tasks: [mine, gone]\n")
    policy = GatePolicy(exam_tasks=("ours",))
    return Bench(candidate=tmp_path / "new" / "model", against=tmp_path / "old" / "model", policy=policy)


def test_equal_models_pass_and_a_worse_one_is_refused(
    bench: Bench, ziggurat_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Exam().measure(bench)  # a task that cannot be sat was left out without a word
    assert broken.verdict == "undecided"
    assert "Not measured: gone. " in broken.sentence
    assert 'no task "gone"' in broken.detail["not_measured"]["gone"]
    finding = Exam().measure(dataclasses.replace(bench, policy=GatePolicy(exam_tasks=("mine",))))
    assert (finding.verdict, finding.figure, finding.n, finding.bar) == ("passed", 0.0, 10, -0.02)
    assert finding.detail["tasks"] == {"mine": {"candidate": 0.0, "serving": 0.0, "better": "higher"}}

    from ziggurat.exam.candidates.local import Local

    def answers(self: Local, conversations: Any, ask: Any) -> list[list[str]]:
        """The serving release is always right, the candidate in every other item."""
        del ask
        return [["x" if "old" in self.name or i % 2 else "y"] for i, _ in enumerate(conversations)]

    monkeypatch.setattr(Local, "answers", answers)
    again = bench.policy.model_copy(update={"exam_items": 8})  # another limit is another result
    suites = "suites:\n  ours:\n    tasks: [{task: mine, limit: 30}, gone]\n"  # the policy's limit is the lower one
    (ziggurat_home / "suites.yaml").write_text(suites)
    worse = Exam().measure(Bench(candidate=bench.candidate, against=bench.against, policy=again))
    assert worse.verdict == "refused"
    assert worse.figure == pytest.approx(-0.5)
    assert worse.n == 8
    assert worse.sentence.startswith(
        "The mean score of 1 exam tasks goes from 100.0 % to 50.0 % (-50.0 points)"
    )


def test_without_a_task_nothing_is_measured(bench: Bench) -> None:
    policy = GatePolicy(exam_tasks=("gone",))
    finding = Exam().measure(Bench(candidate=bench.candidate, against=bench.against, policy=policy))
    assert finding.verdict == "not_measured"
    assert 'There is no task "gone"' in finding.sentence
    first = Exam().measure(Bench(candidate=bench.candidate, against=None, policy=policy))
    assert first.verdict == "passed"


def test_a_score_that_should_be_low_counts_the_other_way() -> None:
    """Leaks fall from 0.5 to 0.25, right answers from 0.9 to 0.8: together (0.5 + 0.9) / 2 to (0.75 + 0.8) / 2."""
    tasks = {
        "leaks": {"candidate": 0.25, "serving": 0.5, "better": "lower"},
        "facts": {"candidate": 0.8, "serving": 0.9, "better": "higher"},
    }
    said = _sentence(tasks, 0.075, 0.02)
    assert "from 70.0 % to 77.5 % (+7.5 points)" in said
    assert "facts changes most, by -10.0 points." in said
