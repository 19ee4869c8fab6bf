"""Short runs of stages that several processes share; `torchrun small_runs.py OUT SFT REWARD` runs them all.

test_parallel.py runs the same ones in one process and compares.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import alphabet
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from ziggurat.errors import ConfigError
from ziggurat.model import compiled
from ziggurat.model.config import ExpertsConfig
from ziggurat.model.hub import load_config, save_model
from ziggurat.model.transformer import Transformer
from ziggurat.processes import processes, writes
from ziggurat.stages.dpo import dpo, dpo_config
from ziggurat.stages.kto import kto, kto_config
from ziggurat.stages.ppo import ppo, ppo_config
from ziggurat.stages.pretrain import pretrain, pretrain_config
from ziggurat.stages.reward import reward, reward_config
from ziggurat.stages.sft import sft, sft_config
from ziggurat.training import loop
from ziggurat.training.parallel import wait_for_all

ADAMW: dict[str, Any] = {
    "dtype": "fp32",
    "threads": 1,
    "steps": 4,
    "eval_every_steps": 2,
    "checkpoint_every_steps": 2,
    "optimizer": "adamw",
    "lr_adam": 3e-3,
    "final_lr_factor": 1.0,
}
MUON = ADAMW | {"optimizer": "muon"}
PPO: dict[str, Any] = {
    "train": {key: ADAMW[key] for key in ("dtype", "threads", "checkpoint_every_steps", "final_lr_factor")}
    | {"steps": 3},
    "policy": {"optimizer": "adamw", "lr_adam": 1e-3},
    "critic": {"optimizer": "adamw", "lr_adam": 1e-3},
    "critic_warmup_steps": 1,
    "rollouts_per_step": 9,  # in two minibatches: five and four, so that one process has a microbatch more
    "minibatches": 2,
    "microbatch_tokens": 24,
    "max_new_tokens": 5,
    "ptx_rows": 3,
    "ptx_row_tokens": 16,
    "stop_when_fatal": False,
    "allow_weak_reward_model": True,
}


def _pretrain(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    settings = {"model": "tiny", "tokenizer": "characters", "context": 16, "batch_tokens": 80, "train": train}
    return pretrain(pretrain_config(None, ("--set", settings)), alphabet.documents(), out, **how)


def _compiled(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    """In several processes with compiled blocks, by a compiler that changes nothing; all steps share the graphs."""
    if processes() == 1:
        return _pretrain(out, sft_, scorer, train, **how)
    counter = CompileCounterWithBackend("eager")
    with (
        mock.patch.object(compiled, "BACKEND", counter),
        mock.patch.object(loop, "compiles", return_value=True),
    ):
        torch._dynamo.reset()
        path = _pretrain(out, sft_, scorer, train, **how)
    assert counter.frame_count <= 4, (
        counter.frame_count
    )  # blocks and loss, and once more where a shape has changed
    return path


def _sft(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    settings = {"train": train | {"micro_batches": 2}, "batch_tokens": 128}
    config = sft_config(sft_, ("--set", settings))
    return sft(config, sft_, alphabet.demonstrations(40), out, text=alphabet.documents(), **how)


def _experts(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    """Of four experts some have no token in a process's part. The pieces are those of one process: their balance is."""
    base, words = out.parent / "base-of-experts", alphabet.tokenizer()
    if writes():
        shape = load_config(sft_).model_copy(
            update={"experts": ExpertsConfig(count=4, active=1, d_ff=16, balance=1.0)}
        )
        save_model(Transformer(shape, seed=1), base, words)
    wait_for_all()
    settings = {"train": train | {"micro_batches": 2 // processes()}, "batch_tokens": 128}
    return sft(sft_config(base, ("--set", settings)), base, alphabet.demonstrations(40), out, **how)


def _reward(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    settings = {"train": train, "batch_comparisons": 5, "held_out_share": 0.2, "scale_samples": 8}
    config = reward_config(sft_, ("--set", settings))
    talks = alphabet.demonstrations(8)
    return reward(config, sft_, alphabet.comparisons(40), out, demonstrations=talks, **how)


def _dpo(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    settings = {"train": train | {"microbatch_tokens": 64}, "batch_comparisons": 5, "held_out_share": 0.2}
    return dpo(dpo_config(sft_, ("--set", settings)), sft_, alphabet.comparisons(40), out, **how)


def _ppo(out: Path, sft_: Path, scorer: Path, train: dict[str, Any], **how: Any) -> Path:
    config = ppo_config(sft_, ("--set", PPO), ("--set", train))
    return ppo(config, sft_, scorer, alphabet.prompts(), out, ptx_documents=alphabet.documents(), **how)


LORA = {"trainable": "lora", "lora": {"rank": 2}}
RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "pretrain": (_pretrain, ADAMW),
    "pretrain-muon": (_pretrain, MUON),
    "compiled": (_compiled, ADAMW),
    "sft": (_sft, ADAMW),
    "experts": (_experts, ADAMW | {"recompute": True}),
    "reward": (_reward, ADAMW),
    "dpo": (_dpo, ADAMW),
    "dpo-last": (_dpo, ADAMW | {"trainable": "last:1", "recompute": True}),
    "dpo-lora": (_dpo, ADAMW | LORA),
    "ppo": (_ppo, {}),
}
RESUMED = ("pretrain", "ppo")


def go(name: str, out: Path, sft_: Path, scorer: Path, **how: Any) -> Path:
    stage, train = RUNS[name]
    return Path(stage(out / name, sft_, scorer, train, **how))


def resume_from_the_middle(name: str, out: Path, sft_: Path, scorer: Path) -> Path:
    """A copy of a finished run goes on from its second last checkpoint."""
    copy = out / "again" / name
    if writes():
        shutil.copytree(out / name, copy)
        shutil.rmtree(max((copy / "checkpoints").glob("step-*")))
    wait_for_all()
    return go(name, copy.parent, sft_, scorer, resume=True)


def main() -> None:
    out, sft_, scorer = map(Path, sys.argv[1:4])
    for name in RUNS:
        go(name, out, sft_, scorer)
    for name in RESUMED:
        resume_from_the_middle(name, out, sft_, scorer)
    try:
        kto(kto_config(sft_), sft_, alphabet.ratings(20), out / "kto")
    except ConfigError as error:
        if writes():
            (out / "refused.txt").write_text(str(error))


if __name__ == "__main__":
    main()
