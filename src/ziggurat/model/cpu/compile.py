"""Compile the loops of training and decoding now: python -m ziggurat.model.cpu.compile (`make setup` runs it).

Machine code that was just compiled may sum in another order than the same code read back from numba's cache, by a last
bit. A run that is killed and resumed must end with the same bytes, so every run is to find the loops in the cache.
"""

from __future__ import annotations

import torch

from ziggurat.model.cpu import kernels

if __name__ == "__main__":
    for dtype in kernels.TRAINED_DTYPES:
        kernels.training_loops(torch.zeros(1, dtype=dtype))
    with torch.inference_mode():
        kernels.block_loops(torch.zeros(1, dtype=torch.bfloat16))
