"""Characters of tiny Shakespeare: how low the validation loss is after so many seconds of training on this machine.

    python benchmarks/shakespeare.py --data shakespeare.txt --seconds 20 90 --seeds 0 1 2

The recipe is recipes/shakespeare-cpu.yaml; a time is turned into steps by timing 20 steps first. Loss is in nats per
character over every one of the last 111,540 characters, each scored once with at most 256 characters before it (windows
advance by 64). Only training is on the clock. nanoGPT's published CPU recipe ends at 1.8857 on sampled batches.

    python benchmarks/shakespeare.py --data shakespeare.txt --seconds 20 90 --seeds 0 1 2 --peer

trains that recipe too, on the same machine in the same run: transformers' GPT-2 of 4 layers x 128, context 64, batches
of 12, 2,000 steps of AdamW (rate 1e-3 falling to 1e-4 by a cosine after 100 steps, betas 0.9 and 0.99, decay 0.1,
clipping at 1), no dropout, fp32, no compilation. Its loss is over all the same characters, at most 64 before each.
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
from transformers import GPT2Config, GPT2LMHeadModel

from ziggurat.evaluation.bits import score_texts
from ziggurat.model.hub import load_model
from ziggurat.records import Document
from ziggurat.runs import Run
from ziggurat.stages import pretrain as stage
from ziggurat.tokenizer.bpe import Tokenizer

RECIPE = Path(__file__).parents[1] / "recipes" / "shakespeare-cpu.yaml"
STRIDE = 64


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


class Peer:
    """nanoGPT's published recipe for a CPU (github.com/karpathy/nanoGPT, README), with transformers' GPT-2."""

    CONTEXT, BATCH, STEPS, WARMUP = 64, 12, 2000, 100
    RATE, LOWEST = 1e-3, 1e-4

    def __init__(self, text: str) -> None:
        letters = sorted(set(text))
        ids = torch.tensor([letters.index(c) for c in text])
        cut = int(0.9 * len(ids))
        self.train_ids, self.held_out = ids[:cut], ids[cut:]
        self.vocabulary = len(letters)

    def train(self, seed: int) -> tuple[float, float]:
        """(seconds of training, validation loss in nats per character)."""
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=self.vocabulary,
                n_positions=self.CONTEXT,
                n_embd=128,
                n_layer=4,
                n_head=4,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        )
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        rest = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.RATE, betas=(0.9, 0.99), fused=True)
        began = time.perf_counter()
        for step in range(self.STEPS):
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)
            starts = torch.randint(len(self.train_ids) - self.CONTEXT, (self.BATCH,)).tolist()
            loss = self.nll(model, self.train_ids, starts, self.CONTEXT).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return time.perf_counter() - began, self.validate(model)

    def rate(self, step: int) -> float:
        if step < self.WARMUP:
            return self.RATE * (step + 1) / (self.WARMUP + 1)
        done = (step - self.WARMUP) / (self.STEPS - self.WARMUP)
        return self.LOWEST + 0.5 * (1 + math.cos(math.pi * done)) * (self.RATE - self.LOWEST)

    def nll(self, model: GPT2LMHeadModel, ids: torch.Tensor, starts: list[int], length: int) -> torch.Tensor:
        """Of each next character in windows of `length`, (B, length)."""
        rows = torch.stack([ids[i : i + length + 1] for i in starts])
        logits = model(rows[:, :-1]).logits
        return torch.nn.functional.cross_entropy(logits.mT, rows[:, 1:], reduction="none")

    @torch.no_grad()
    def validate(self, model: GPT2LMHeadModel, stride: int = 16) -> float:
        """Every character but the first once; the first window whole, of the others the last `stride`."""
        last = len(self.held_out) - self.CONTEXT - 1
        total = float(self.nll(model, self.held_out, [0], self.CONTEXT).double().sum())
        count, starts = self.CONTEXT, list(range(stride, last + 1, stride))
        for i in range(0, len(starts), 256):
            nll = self.nll(model, self.held_out, starts[i : i + 256], self.CONTEXT)[:, -stride:]
            total, count = total + float(nll.double().sum()), count + nll.numel()
        left = last - starts[-1]  # characters after the last window
        if left:
            nll = self.nll(model, self.held_out, [last], self.CONTEXT)[:, -left:]
            total, count = total + float(nll.double().sum()), count + left
        assert count == len(self.held_out) - 1
        return total / count


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
        steps = int(seconds / (probe_s / 40))
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
    for seed in options.seeds if options.peer else []:
        elapsed_s, loss = Peer(text).train(seed)
        rows.append({"peer": "nanoGPT", "seed": seed, "elapsed_s": elapsed_s, "loss": loss})
        print(f"nanoGPT's recipe, seed {seed}: {elapsed_s:.1f} s, loss {loss:.4f}")
    print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
