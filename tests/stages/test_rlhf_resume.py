"""A stage killed by SIGKILL and resumed ends with the same bytes as one that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import alphabet
import pytest

from ziggurat.runs import Run
from ziggurat.stages.distill import distill, distill_config
from ziggurat.stages.dpo import dpo, dpo_config
from ziggurat.stages.grpo import grpo, grpo_config
from ziggurat.stages.kto import kto, kto_config
from ziggurat.stages.ppo import ppo, ppo_config
from ziggurat.stages.raft import raft, raft_config
from ziggurat.stages.reward import reward, reward_config

PPO = {
    "train": {
        "steps": 8,
        "eval_every_steps": 2,
        "checkpoint_every_steps": 2,
        "dtype": "fp32",
        "threads": 1,
    },
    "rollouts_per_step": 24,
    "max_new_tokens": 5,
    "minibatches": 2,
    "epochs": 2,
    "critic_warmup_steps": 1,
    "ptx_rows": 1,
    "ptx_row_tokens": 16,
}
LAST_BLOCK = {
    "policy": {"trainable": "last:1", "optimizer": "muon"},
    "critic": {"trainable": "head", "epochs": 3},
}
GRPO = {
    "variant": "dapo",
    "train": PPO["train"],
    "prompts_per_step": 6,
    "group": 4,
    "max_new_tokens": 5,
    "epochs": 2,
    "beta": 0.05,
}
TRAIN = {"dtype": "fp32", "threads": 1, "checkpoint_every_steps": 3}
REWARD = {
    "batch_comparisons": 4,
    "held_out_share": 0.2,
    "scale_samples": 16,
    "train": TRAIN,
}


def run_stage(
    stage: str, sft: Path, scorer: Path, out: Path, *, resume: bool = False, slowly: bool = False
) -> None:
    """One run of the stage; `slowly` leaves the parent time to kill it."""
    if stage.startswith("ppo"):
        ppo(
            ppo_config(sft, ("test", PPO), ("test", LAST_BLOCK if stage == "ppo-of-the-last-block" else {})),
            sft,
            scorer,
            alphabet.prompts(),
            out,
            ptx_documents=alphabet.documents(),
            on_step=(lambda _: time.sleep(0.3)) if slowly else None,
            resume=resume,
        )
        return
    if stage == "grpo":
        settings = {**GRPO, "reward_function": f"{Path(__file__).parent / 'alphabet.py'}:reward"}
        config = grpo_config(sft, ("test", settings))
        pause = (lambda _: time.sleep(0.3)) if slowly else None
        grpo(config, sft, alphabet.prompts(), out, reward_model=scorer, on_step=pause, resume=resume)
        return
    if slowly:
        from ziggurat.training import supervised

        plain = supervised.optimizer_step
        supervised.optimizer_step = lambda *a, **k: (time.sleep(0.15), plain(*a, **k))[1]
    if stage == "dpo":
        config = dpo_config(sft, ("test", {"batch_comparisons": 4, "train": TRAIN}))
        dpo(config, sft, alphabet.comparisons(80), out, resume=resume)
        return
    if stage == "kto":
        settings = {"batch_ratings": 16, "train": {**TRAIN, "micro_batches": 3}}
        kto(kto_config(sft, ("test", settings)), sft, alphabet.ratings(80), out, resume=resume)
        return
    if stage == "raft":
        settings = {"n": 3, "max_new_tokens": 5, "batch_answers": 4, "epochs": 2.0, "train": TRAIN}
        config = raft_config(sft, ("test", settings))
        raft(config, sft, alphabet.prompts(), out, reward_model=scorer, resume=resume)
        return
    if stage.startswith("distill"):
        inside = {
            "hidden_weight": 1.0,
            "attention_weight": 0.5,
            "sequences": True,
            "sequence_temperature": 1.0,
        }
        settings = {
            "batch_answers": 4,
            "epochs": 1.0,
            "train": TRAIN,
            **(inside if "inside" in stage else {}),
        }
        student = alphabet.make_student(out.parent / f"student-of-{out.name}")
        config = distill_config(student, ("test", settings))
        distill(config, student, sft, alphabet.demonstrations(80), out, resume=resume)
        return
    shown = alphabet.demonstrations(20, seed=9)
    config = reward_config(sft, ("test", REWARD))
    reward(config, sft, alphabet.comparisons(80), out, demonstrations=shown, resume=resume)


def start(stage: str, sft: Path, scorer: Path, out: Path) -> subprocess.Popen[bytes]:
    here = Path(__file__).resolve()
    code = (
        f"import sys; sys.path[:0] = {[str(here.parent), str(here.parents[2] / 'src')]!r}\n"
        f"from pathlib import Path; import test_rlhf_resume as t\n"
        f"t.run_stage({stage!r}, Path({str(sft)!r}), Path({str(scorer)!r}), Path({str(out)!r}), slowly=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def kill_after(process: subprocess.Popen[bytes], out: Path, rows: int) -> None:
    """SIGKILL as soon as that many rows of metrics are there."""
    deadline = time.monotonic() + 120
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= rows):
        if process.poll() is not None:
            _, errors = process.communicate()
            raise AssertionError(errors.decode()[-2000:])
        assert time.monotonic() < deadline, "the stage made no progress"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.stderr:
        process.stderr.close()


def plain_rows(run: Run) -> list[dict[str, Any]]:
    """Metrics without what a clock told."""
    return [{k: v for k, v in row.items() if not k.endswith(("_s", "_per_s"))} for row in run.read_metrics()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    ["reward", "ppo", "ppo-of-the-last-block", "dpo", "kto", "grpo", "raft", "distill", "distill-inside"],
)
def test_killed_and_resumed_is_the_same_byte_for_byte(
    stage: str, letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    """The kill comes between two checkpoints, so that rows after the last one must be thrown away and made again."""
    whole, broken = tmp_path / f"{stage}-1", tmp_path / f"{stage}-2"
    run_stage(stage, letters_sft, letters_reward, whole)
    kill_after(start(stage, letters_sft, letters_reward, broken), broken, 6)
    assert not Run.open(broken).finished
    run_stage(stage, letters_sft, letters_reward, broken, resume=True)
    first, second = Run.open(whole), Run.open(broken)
    assert plain_rows(first) == plain_rows(second)
    last = first.checkpoints()[-1].name
    files = [p.relative_to(first.path) for p in (first.checkpoints_path / last).rglob("*.safetensors")]
    files += [p.relative_to(first.path) for p in first.model_path.rglob("*.safetensors")]
    assert len(files) >= 3
    for file in files:
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes(), file
    numbers = [{**(run.report or {})["numbers"], "elapsed_s": 0} for run in (first, second)]
    assert numbers[0] == numbers[1]
    cards = [json.dumps((run.report or {}).get("card"), sort_keys=True) for run in (first, second)]
    assert cards[0] == cards[1]
