"""The compiled loops of decoding against torch's kernels, in one run: attention of a new token, a matrix and few rows.

    python benchmarks/kernels.py

The shapes are those of the 134M model of `ziggurat bench decode`: 12 heads of 64, width 768. Matrices are read from
copies that do not fit the caches together, as in a real step. Medians; figures of different runs cannot be compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ziggurat.console import out
from ziggurat.model.cpu.compiled_decoding import attend_new, linear_row
from ziggurat.model.cpu.packing import PACKS, pack, packed_linear

HEADS, WIDTH = 12, 64
MATRICES = {
    (2304, 768): 12,
    (768, 768): 12,
    (4096, 768): 12,
    (768, 2048): 12,
    (32_000, 768): 1,
}  # of one step
BEYOND_CACHES = 100e6  # bytes


def microseconds(work: Callable[[], object], repeats: int = 20) -> float:
    for _ in range(3):
        work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds)


def attention(streams: int, tokens: int) -> list[float]:
    """Microseconds for one new token of each stream behind `tokens` - 1 others: compiled, fused, plain products."""
    keys, values = (torch.randn(streams, HEADS, 1024, WIDTH).bfloat16() for _ in range(2))
    qkv = torch.randn(streams, 3 * HEADS * WIDTH).bfloat16()
    lengths = np.full(streams, tokens - 1)
    q = qkv[:, : HEADS * WIDTH].view(streams, HEADS, 1, WIDTH)
    k, v = keys[:, :, :tokens], values[:, :, :tokens]

    def plain() -> torch.Tensor:
        return torch.matmul(torch.matmul(q * WIDTH**-0.5, k.transpose(2, 3)).softmax(-1), v)

    twice = q.expand(-1, -1, 2, -1)  # with one query the fused kernel multiplies no matrices
    return [
        microseconds(lambda: attend_new(qkv, None, 1e-6, None, keys, values, lengths)),
        microseconds(lambda: F.scaled_dot_product_attention(twice, k, v)),
        microseconds(plain),
    ]


def matrices(rows: int) -> list[float | None]:
    """Milliseconds for all matrices of a step: compiled (one row only), packed, plain."""
    totals = [0.0, 0.0, 0.0]
    for (n, c), times in MATRICES.items():
        copies = [torch.randn(n, c).bfloat16() for _ in range(max(1, int(BEYOND_CACHES // (2 * n * c))))]
        packed = [pack(copy) for copy in copies] if PACKS else []
        x = torch.randn(rows, c).bfloat16()
        works: list[Callable[[], object]] = [
            lambda: [linear_row(x, copy, None) for copy in copies] if rows == 1 else None,  # noqa: B023
            lambda: [packed_linear(x, copy, None) for copy in packed],  # noqa: B023
            lambda: [F.linear(x, copy) for copy in copies],  # noqa: B023
        ]
        for place, work in enumerate(works):
            totals[place] += times * microseconds(work, 7) / len(copies) / 1e3
    return [totals[0] if rows == 1 else None, totals[1] if PACKS else None, totals[2]]


@torch.inference_mode()
def main() -> None:
    out.print("| microseconds | compiled | torch, fused | torch, plain products |\n|---|---:|---:|---:|")
    for streams, tokens in ((1, 128), (1, 512), (16, 128), (16, 512), (16, 1024)):
        figures = " | ".join(f"{us:,.0f}" for us in attention(streams, tokens))
        out.print(f"| {streams} x {tokens} keys | {figures} |")
    out.print("\n| ms, matrices of a step | compiled | torch, packed | torch, plain |\n|---|---:|---:|---:|")
    for rows in (1, 4, 16):
        figures = " | ".join("" if ms is None else f"{ms:.1f}" for ms in matrices(rows))
        out.print(f"| {rows} rows | {figures} |")


if __name__ == "__main__":
    main()
