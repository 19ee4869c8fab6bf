"""Learning rates do not shrink from one release to the next: each stage takes its share of stage 1's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ziggurat.stages.setup import inherited, lr_share


def run_of(folder: Path, stage: str, lr: float) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"stage": stage}))
    (folder / "config.yaml").write_text(f"train:\n  optimizer: adamw\n  lr_adam: {lr}\n")
    return folder


@pytest.mark.parametrize(
    ("stage", "parent", "share"),
    [
        ("sft", "pretrain", 0.1),
        ("sft", "sft", 1.0),
        ("sft", "dpo", 2.0),
        ("dpo", "sft", 0.5),
        ("dpo", "dpo", 1.0),
        ("kto", "reward", 0.5),
        ("reward", "dpo", 2.0),
        ("dpo", "a-stage-from-outside", 0.5),
        ("a-stage-from-outside", "dpo", 1.0),
    ],
)
def test_a_share(tmp_path: Path, stage: str, parent: str, share: float) -> None:
    assert lr_share(stage, run_of(tmp_path / "run", parent, 1.0)) == pytest.approx(share)


def test_ten_releases_learn_at_one_rate(tmp_path: Path) -> None:
    base, rate = run_of(tmp_path / "sft", "sft", 0.003), 0.003
    for number in range(10):
        taken = inherited(base, lr_share=lr_share("dpo", base))
        rate = taken["train"]["lr_adam"]
        base = run_of(tmp_path / f"dpo-{number}", "dpo", rate)
    assert rate == pytest.approx(0.0015)
