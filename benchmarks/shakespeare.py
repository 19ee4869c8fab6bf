"""Characters of tiny Shakespeare: how low the validation loss is after so many seconds of training on this machine.

    python benchmarks/shakespeare.py --data shakespeare.txt --seconds 20 90 --seeds 0 1 2

The recipe is recipes/shakespeare-cpu.yaml; a time is turned into steps by timing 40 steps first. Loss is in nats per
character over every one of the last 111,540 characters, each scored once with at most 256 characters before it (windows
advance by 64). Only training is on the clock. nanoGPT's published CPU recipe ends at 1.8857 on sampled batches.

    python benchmarks/shakespeare.py --data shakespeare.txt --seconds 20 90 --seeds 0 1 2 --peer

trains that recipe too, on the same machine in the same run (benchmarks/nanogpt.py; it needs transformers).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from ziggurat.evaluation.bits import score_texts
from ziggurat.model.hub import load_model
from ziggurat.records import Document
from ziggurat.runs import Run
from ziggurat.stages import pretrain as stage
from ziggurat.tokenizer.bpe import Tokenizer

RECIPE = Path(__file__).parents[1] / "recipes" / "shakespeare-cpu.yaml"
STRIDE = 64

PLANNED_SHARE = 0.94
"""Of the seconds given, those that steps are planned for: a shared machine may be slower than its probe was."""


def train(text: str, steps: int, seed: int, settings: dict[str, Any]) -> tuple[float, float]:
    """(seconds of training, validation loss in nats per character)."""
    cut = int(0.9 * len(text))
    layer = {**settings, "train": {**settings["train"], "steps": steps, "seed": seed}, "held_out_share": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        run = stage.pretrain(
            stage.pretrain_config(None, ("recipe", layer)), [Document(text=text[:cut])], Path(folder) / "run"
        )
        elapsed_s = Run.open(run).read_metrics()[-1]["elapsed_s"]
        model, tokenizer = load_model(run / "model"), Tokenizer.load(run / "model")
        score = score_texts(model, tokenizer, [text[cut:]], context=256, stride=STRIDE)
    return elapsed_s, score.bits_per_character * math.log(2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs="+", default=[20, 90])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--set", type=json.loads, default={}, help="JSON merged into the recipe's pretrain section"
    )
    parser.add_argument("--peer", action="store_true", help="train nanoGPT's recipe too, for every seed")
    options = parser.parse_args()
    text = options.data.read_text(encoding="utf-8")
    settings = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["pretrain"]
    train_settings = {**settings["train"], **options.set.pop("train", {})}
    settings = {**settings, **options.set, "train": train_settings}
    probe_s, _ = train(text, 40, 0, settings)
    rows = []
    for seconds in options.seconds:
        steps = int(PLANNED_SHARE * seconds / (probe_s / 40))
        for seed in options.seeds:
            t0 = time.perf_counter()
            elapsed_s, loss = train(text, steps, seed, settings)
            rows.append(
                {"seconds": seconds, "steps": steps, "seed": seed, "elapsed_s": elapsed_s, "loss": loss}
            )
            took_s = time.perf_counter() - t0
            print(
                f"{seconds:g} s: {steps} steps, seed {seed}: {elapsed_s:.1f} s, loss {loss:.4f} ({took_s:.0f} s in all)"
            )
    if options.peer:
        from nanogpt import Peer  # transformers is needed here alone

        for seed in options.seeds:
            elapsed_s, loss = Peer(text).train(seed)
            rows.append({"peer": "nanoGPT", "seed": seed, "elapsed_s": elapsed_s, "loss": loss})
            print(f"nanoGPT's recipe, seed {seed}: {elapsed_s:.1f} s, loss {loss:.4f}")
    print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
