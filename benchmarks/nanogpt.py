"""nanoGPT's published recipe for a CPU, trained by transformers' GPT-2: what shakespeare.py --peer is compared with.

4 layers x 128, context 64, batches of 12, 2,000 steps of AdamW (rate 1e-3 falling to 1e-4 by a cosine after 100 steps,
betas 0.9 and 0.99, decay 0.1, clipping at 1), no dropout, fp32, no compilation. The loss is over every held-out
character, with at most 64 before each.
"""

from __future__ import annotations

import math
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel


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
