"""What `ziggurat plan` says that a run takes, beside the most memory that the run then held, stage by stage.

    ZIGGURAT_DATA=corpora python benchmarks/memory.py --model smollm2 [--only dpo,reward]

Each run is a process of its own, by the command that a person would type, with three steps; its peak is what the
system counted (ru_maxrss), evaluation and samples of the report included. The data are the longest rows and some others
of the demonstration files of ZIGGURAT_DATA, so the largest microbatch is the one of a whole run. The bar: the estimate
is within 25 % of the peak, and not more than 10 % below it. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ziggurat.console import out, table

LONGEST, OTHERS = 6, 10
"""Rows of a file that are taken: so many of the longest, so many spread over the rest."""
STEPS = ("--set", "train.steps=3", "--set", "train.warmup_steps=0")
ROLLED = (
    "--set",
    "rollouts_per_step=16",
    "--set",
    "max_new_tokens=128",
    "--set",
    "allow_weak_reward_model=true",
)

RUNS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "sft": ("sft", "alpaca_en_demo.json", ()),
    "sft, recompute": ("sft", "alpaca_en_demo.json", ("--set", "recompute=true")),
    "sft, lora": ("sft", "alpaca_en_demo.json", ("--set", "trainable=lora")),
    "sft, lora, recompute": (
        "sft",
        "alpaca_en_demo.json",
        ("--set", "trainable=lora", "--set", "recompute=true"),
    ),
    "reward": ("reward", "dpo_en_demo.json", ("--set", "scale_samples=32")),
    "dpo": ("dpo", "dpo_en_demo.json", ()),
    "kto": ("kto", "kto_en_demo.json", ()),
    "ppo": ("ppo", "alpaca_en_demo.json", ROLLED),
    "ppo, lora": ("ppo", "alpaca_en_demo.json", (*ROLLED, "--set", "trainable=lora")),
}
"""Name -> stage, data, settings beside the defaults."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="the base of every run")
    parser.add_argument("--only", default=",".join(RUNS).replace(", ", "+"))
    given = parser.parse_args()
    wanted = [name.replace("+", ", ") for name in given.only.split(",")]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if any(name.startswith("ppo") for name in wanted):
            make_scorer(given.model, folder / "reward")
        for name in wanted:
            found[name] = compared(name, given.model, folder)
            print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    rows = [
        (
            name,
            f"{one['planned_gib']:.1f}",
            f"{one['peak_gib']:.2f}",
            f"{one['planned_gib'] / one['peak_gib'] - 1:+.0%}",
        )
        for name, one in found.items()
    ]
    out.print(table(f"memory, {given.model}", ("run", "planned, GiB", "peak, GiB", "estimate"), rows))
    print(json.dumps(found))


def compared(name: str, model: str, folder: Path) -> dict[str, float]:
    """The estimate of `ziggurat plan`, and the peak of the run."""
    stage, data, settings = RUNS[name]
    small = cut(Path(os.environ["ZIGGURAT_DATA"]) / data, folder / data)
    start = {"reward": ["--sft", model], "ppo": ["--policy", model, "--reward", str(folder / "reward")]}
    arguments = [*start.get(stage, ["--base", model]), "--data", str(small), *STEPS, *settings]
    command = [sys.executable, "-m", "ziggurat"]
    said = subprocess.run([*command, "plan", stage, *arguments], check=True, capture_output=True, text=True)
    planned = re.search(r"this takes ([\d.]+) of", said.stdout)
    assert planned is not None, said.stdout
    where = folder / name.replace(", ", "-")
    log = (folder / "log").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [*command, stage, *arguments, "--out", str(where)], stdout=log, stderr=subprocess.STDOUT
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name} failed: {(folder / 'log').read_text(encoding='utf-8')[-1500:]}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {"planned_gib": float(planned[1]), "peak_gib": usage.ru_maxrss * scale / 2**30}


def cut(source: Path, target: Path) -> Path:
    """The longest rows of a JSON file and some others."""
    rows: list[Any] = json.loads(source.read_text(encoding="utf-8"))
    by_length = sorted(rows, key=lambda row: -len(json.dumps(row)))
    rest = by_length[LONGEST:]
    kept = by_length[:LONGEST] + rest[:: max(1, len(rest) // OTHERS)][:OTHERS]
    target.write_text(json.dumps(kept), encoding="utf-8")
    return target


def make_scorer(model: str, folder: Path) -> None:
    """A reward model whose head is random: an adapter of the base, as `reward` makes of a large one."""
    import torch
    from torch import nn

    from ziggurat.model.heads import RewardModel
    from ziggurat.model.hub import save_scalar
    from ziggurat.places import model_folder
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.training.config import OptimizerConfig
    from ziggurat.training.trainable import load_to_train

    base = model_folder(model)
    scorer = RewardModel(load_to_train(base, OptimizerConfig(trainable="lora"), dtype="auto", seed=0))
    nn.init.normal_(scorer.head.weight, std=0.01, generator=torch.Generator().manual_seed(0))
    save_scalar(scorer, folder, Tokenizer.load(base))


if __name__ == "__main__":
    main()
