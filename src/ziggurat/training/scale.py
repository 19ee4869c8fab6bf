"""The arithmetic of large runs, out of the model's own accounting: memory, network, days and money per preset.

    state       16 N / n     fp32 weights, gradients and AdamW's two moments, in shards of n GPUs
    gathered    2 blocks in bf16 (one computes, the next one arrives), the gradient of one in bf16 and, for the
                reduction, in fp32; embeddings and unembedding in fp32 with gradient, and cast
    kept        with `recompute` what every block reads, and one block whole (training/cost.py), in bf16
    logits      those of a piece (training/cost.py), in fp32

    network     a microbatch gathers every block in bf16 twice and reduces its gradient in fp32: (2 + 2 + 4) N_blocks;
                a step gathers the rest once in fp32, and reduces it with each microbatch. The eight GPUs of a node
                want the same, which crosses the node's cards once and NVLink from then on
    days        FLOPs of training on T tokens a row (accounting.flops_per_token) / (n x peak x utilisation)

`ziggurat plan scale` prints the tables of docs/scale.md. Left out: checkpoints written and failures mended meanwhile,
tensor and pipeline parallelism.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.model.accounting import flops_per_token, total_parameters, training_days
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import LOGITS_ON_A_GPU
from ziggurat.model.presets import PUBLISHED, preset
from ziggurat.training.cost import FP32, LOGIT_COPIES, block_parameters, gathered_bytes, kept_per_token
from ziggurat.training.gpus import GPUS, Gpu

BF16 = 2
GB = 1e9
NODE = 8
FITS = 0.9
"""Share of a GPU's memory that may be planned."""
UTILISATION = 0.46
"""What LLaMA's authors reached on A100: 380 tokens/s of 65.2B parameters (arXiv:2302.13971, 2.4), of 312 TFLOP/s."""
GPUS_USED = {
    "gpt3-small": 8, "gpt3-medium": 8, "gpt3-large": 16, "gpt3-xl": 32, "gpt3-2.7b": 64, "gpt3-6.7b": 128,
    "gpt3-13b": 256, "gpt3-175b": 1024, "llama-7b": 256, "llama-13b": 512, "llama-33b": 1024, "llama-65b": 2048,
}  # fmt: skip
"""Of the example runs; LLaMA-65B's is the paper's."""
PUBLISHED_FLOPS = {
    "gpt3-small": 2.25e20, "gpt3-medium": 6.41e20, "gpt3-large": 1.37e21, "gpt3-xl": 2.38e21,
    "gpt3-2.7b": 4.77e21, "gpt3-6.7b": 1.20e22, "gpt3-13b": 2.31e22, "gpt3-175b": 3.14e23,
}  # fmt: skip
"""arXiv:2005.14165, table D.1."""
PUBLISHED_GPU_HOURS = {"llama-7b": 82_432, "llama-13b": 135_168, "llama-33b": 530_432, "llama-65b": 1_022_362}
"""On A100-80GB (arXiv:2302.13971, table 15)."""


def gpu(name: str) -> Gpu:
    return next(one for one in GPUS if one.name == name)


@dataclass(frozen=True)
class Scaled:
    """One preset on so many GPUs of a kind."""

    name: str
    config: ModelConfig
    gpus: int
    gpu: Gpu

    @property
    def tokens(self) -> float:
        return PUBLISHED[self.name].training_tokens

    @property
    def rows_per_gpu(self) -> int:
        """Of a step, of `context` tokens each."""
        return max(1, round(PUBLISHED[self.name].batch_tokens / self.config.context / self.gpus))

    @property
    def rows_at_once(self) -> int:
        """Of a microbatch: the largest power of two that fits; 0 where one row does not."""
        fitting = [rows for rows in (1, 2, 4, 8, 16) if rows <= self.rows_per_gpu and self._fits(rows)]
        return max(fitting, default=0)

    @property
    def microbatches(self) -> int:
        return -(-self.rows_per_gpu // max(1, self.rows_at_once))

    def _fits(self, rows: int) -> bool:
        return sum(self.memory_gb(rows).values()) <= FITS * self.gpu.memory_gb

    def memory_gb(self, rows: int) -> dict[str, float]:
        """Of one GPU, by part; `rows` of a microbatch."""
        c, total = self.config, total_parameters(self.config)
        kept = kept_per_token(c, c.layers, c.context, recompute=True)
        logits = min(rows * c.context * c.vocab_size, LOGITS_ON_A_GPU)
        return {
            "state": 4 * FP32 * total / self.gpus / GB,
            "gathered": gathered_bytes(c, BF16) / GB,
            "kept": BF16 * kept * rows * c.context / GB,
            "logits": LOGIT_COPIES * FP32 * logits / GB,
        }

    @property
    def network_gb(self) -> float:
        """That one GPU takes from the others in a step, and as much that it gives."""
        in_blocks = block_parameters(self.config)
        rest = total_parameters(self.config) - in_blocks
        sent = (2 * BF16 + FP32) * in_blocks * self.microbatches
        sent += FP32 * rest * (1 + self.microbatches)
        return sent * (self.gpus - 1) / self.gpus / GB

    @property
    def network_s(self) -> float:
        """Of a step; most of it passes while blocks are computed."""
        return self.network_gb / (self.gpu.node_gb_per_s if self.gpus > NODE else self.gpu.nvlink_gb_per_s)

    @property
    def compute_s(self) -> float:
        """Of a step at UTILISATION."""
        flops = flops_per_token(self.config, self.config.context) * self.rows_per_gpu * self.config.context
        return flops / (self.gpu.peak_flops * UTILISATION)

    @property
    def days(self) -> float:
        flops = flops_per_token(self.config, self.config.context) * self.tokens
        return flops / (self.gpus * self.gpu.peak_flops * UTILISATION) / 86_400

    @property
    def dollars(self) -> float:
        return self.days * 24 * self.gpus * self.gpu.dollars_per_hour


def scaled(name: str, gpus: int = 0, kind: str = "A100") -> Scaled:
    return Scaled(name, preset(name), gpus or GPUS_USED[name], gpu(kind))


# --- the tables of docs/scale.md -------------------------------------------------------------------------------------


def tables() -> str:
    """All of them, as Markdown."""
    return "\n\n".join((sizes(), compute(), "Computed, not run:", runs(), facts()))


def sizes() -> str:
    """Parameters, counted against printed."""
    rows = []
    for name, row in PUBLISHED.items():
        built, counted = row.corrected(), total_parameters(preset(name))
        rows.append(
            (
                name, _billions(row.parameters), _billions(counted), f"{counted / row.parameters - 1:+.1%}",
                built.layers, built.d_model, f"{built.heads} x {built.d_head}", f"{row.batch_tokens / 1e6:g}M",
                f"{row.lr:.1e}", _billions(row.training_tokens),
            )
        )  # fmt: skip
    head = ("preset", "printed", "counted", "", "layers", "width", "heads", "batch", "rate", "tokens")
    return _markdown(head, rows)


def compute() -> str:
    """FLOPs against table D.1 of GPT-3, GPU-hours against table 15 of LLaMA."""
    rows = []
    for name in PUBLISHED:
        one = scaled(name)
        flops = 6 * total_parameters(one.config) * one.tokens
        exact = flops_per_token(one.config, one.config.context) * one.tokens
        hours = exact / (one.gpu.peak_flops * UTILISATION) / 3600
        published, theirs = PUBLISHED_FLOPS.get(name), PUBLISHED_GPU_HOURS.get(name)
        rows.append(
            (
                name, f"{flops:.2e}", f"{exact:.2e}", f"{published:.2e}" if published else "",
                f"{flops / published - 1:+.1%}" if published else "", f"{hours:,.0f}",
                f"{theirs:,}" if theirs else "", f"{hours / theirs - 1:+.1%}" if theirs else "",
            )
        )  # fmt: skip
    head = ("preset", "6 N D", "with attention", "published", "", "A100 hours", "published", "")
    return _markdown(head, rows)


def runs(chosen: Sequence[Scaled] = ()) -> str:
    """What each takes; by default the example runs on A100."""
    rows = []
    for one in chosen or [scaled(name) for name in PUBLISHED]:
        memory = one.memory_gb(one.rows_at_once)
        rows.append(
            (
                one.name, f"{one.gpus:,}", one.rows_per_gpu, one.rows_at_once,
                *(f"{part:.1f}" for part in memory.values()),
                f"{sum(memory.values()):.1f}", f"{one.network_gb:,.0f}", f"{one.network_s:.1f}", f"{one.compute_s:.1f}",
                f"{one.days:.1f}", _dollars(one.dollars),
            )
        )  # fmt: skip
    head = (
        "preset", "GPUs", "rows", "at once", "state", "gathered", "kept", "logits", "GB in all",
        "GB a step", "network s", "compute s", "days", "cost",
    )  # fmt: skip
    return _markdown(head, rows)


def facts() -> str:
    """The published accounts of two runs, and what 6 N D makes of them."""
    gpt3, llama, hours = 174.6e9, 65.2e9, PUBLISHED_GPU_HOURS["llama-65b"]
    v100, a100 = gpu("V100"), gpu("A100")
    rows = []
    for text, n, d, count, one, reached, published in (
        ("GPT-3 175B, 10,000 V100 at 24.6 TFLOP/s", gpt3, 300e9, 10_000, v100, 24.6e12, "14.8 days"),
        ("GPT-3 175B, 5,000 V100 at 24.6 TFLOP/s", gpt3, 300e9, 5_000, v100, 24.6e12, "O(1) month"),
        ("LLaMA-65B, 2,048 A100 at 46 %", llama, 1.4e12, 2048, a100, UTILISATION * 312e12, "21 days"),
    ):
        days = training_days(n, d, count, one.peak_flops, reached / one.peak_flops)
        money = _dollars(days * 24 * count * one.dollars_per_hour)
        price = f"{money} at ${one.dollars_per_hour:.2f}"
        asked = "$1-10M; another talk: $12M" if one is v100 else "$5M"
        rows.append((text, f"{6 * n * d:.2e}", f"{days:.1f} days", published, price, asked))
    rows.append(("LLaMA-65B, GPU-hours of table 15", "", f"{hours / 2048 / 24:.1f} days", "21 days",
                 f"{_dollars(hours * a100.dollars_per_hour)} at ${a100.dollars_per_hour:.2f}", "$5M"))  # fmt: skip
    return _markdown(("run", "6 N D", "computed", "published", "cost", "published"), rows)


def _billions(n: float) -> str:
    if n >= 1e12:
        return f"{n / 1e12:g}T"
    if n < 1e9:
        return f"{n / 1e6:.0f}M"
    return f"{n / 1e9:.2f}B" if n < 10e9 else f"{n / 1e9:.1f}B" if n < 1e11 else f"{n / 1e9:.0f}B"


def _dollars(n: float) -> str:
    return f"${n / 1e6:.1f}M" if n >= 1e6 else f"${n / 1e3:,.0f}k" if n >= 1e4 else f"${n:,.0f}"


def _markdown(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])
