"""Compute precision and the measured speed of this machine's device.

Master weights, optimizer state and losses are fp32 everywhere; only matrix products (and what lies between them in
the model) may run in bf16, and only where the device multiplies bf16 itself: elsewhere it is emulated and slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from ziggurat.training.device import choose_device, synchronize

SHORT_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set names as Linux prints them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def choose_dtype(wanted: str = "auto", device: str | torch.device = "auto") -> tuple[torch.dtype, str]:
    """The compute dtype and, in words, why. `wanted`: auto, fp32 or bf16; `device`: one, or the setting of one.

    auto asks the device that computes: the GPU where there is one, else the CPU.
    """
    if wanted == "fp32":
        return torch.float32, "the setting says so"
    if wanted == "bf16":
        return torch.bfloat16, "the setting says so"
    where = device if isinstance(device, torch.device) else choose_device(device)[0]
    if where.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "the GPU multiplies bf16"
        return torch.float32, "the GPU does not multiply bf16 itself"
    for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if flag in cpu_flags():
            return torch.bfloat16, f"the CPU multiplies bf16 ({name})"
    return torch.float32, "the CPU does not multiply bf16 itself"


def precision_of(modules: Mapping[str, nn.Module]) -> str:
    """In words, what weights, losses and optimizer are held in."""
    held: dict[bool, set[str]] = {True: set(), False: set()}
    for module in modules.values():
        for parameter in module.parameters():
            held[parameter.requires_grad].add(SHORT_NAMES.get(parameter.dtype, str(parameter.dtype)))
        if any(not buffer.is_floating_point() for buffer in module.buffers()):
            held[False].add("int8")
    trained = " and ".join(sorted(held[True])) or "fp32"
    also = f"trained weights and optimizer in {trained}, losses in fp32"
    return f"frozen weights in {' and '.join(sorted(held[False]))}, {also}" if held[False] else also


@dataclass(frozen=True)
class Machine:
    """Measured speeds, with the threads they were measured with."""

    gflops_fp32: float
    gflops_bf16: float
    gb_per_s: float
    threads: int

    def best(self, other: Machine) -> Machine:
        """The better figure of two measurements: whatever disturbed one made it worse."""
        return Machine(
            max(self.gflops_fp32, other.gflops_fp32),
            max(self.gflops_bf16, other.gflops_bf16),
            max(self.gb_per_s, other.gb_per_s),
            other.threads,
        )

    @property
    def gflops(self) -> float:
        """GFLOP/s in the dtype that `choose_dtype("auto")` chooses."""
        return self.gflops_bf16 if choose_dtype()[0] == torch.bfloat16 else self.gflops_fp32


def _best_s(work: Callable[[], object], budget_s: float) -> float:
    """Shortest of the repetitions that fit the budget, after one that does not count."""
    work()
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < budget_s:
        t0 = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - t0)
    return best


def measure_machine(budget_s: float = 1.2, device: str = "auto") -> Machine:
    """Speed at matrix products of a small model's shapes and at copying memory. Takes under two seconds.

    `device`: the setting. On a GPU the products are 8 times as large in each direction: small ones measure the launch.
    """
    where, _ = choose_device(device)
    B, C, F = 1024, 512, 1024  # rows of a step and widths of a small model: larger products would flatter
    if where.type == "cuda":
        B, C, F = 8 * B, 8 * C, 8 * F

    def timed(work: Callable[[], object]) -> float:
        def once() -> None:
            work()
            synchronize(where)

        return _best_s(once, budget_s / 3)

    gflops = []
    for dtype in (torch.float32, torch.bfloat16):
        x, w = (torch.randn(shape, dtype=dtype, device=where) for shape in ((B, C), (C, F)))
        elapsed_s = timed(lambda x=x, w=w: x @ w)  # type: ignore[misc]
        gflops.append(2e-9 * B * C * F / elapsed_s)
    source = torch.zeros(16 * 1024**2, device=where)  # 64 MiB: beyond the private caches
    target = torch.empty_like(source)
    elapsed_s = timed(lambda: target.copy_(source))
    gb_per_s = 2e-9 * source.numel() * source.element_size() / elapsed_s  # read once, written once
    return Machine(gflops[0], gflops[1], gb_per_s, torch.get_num_threads())
