"""Heavy work in a thread that ends, so that no second set of OpenMP's threads stays behind.

Each thread that computes in parallel gets its own set of helpers, and they live as long as it does. Once there are more
of them in the process than processors, GNU's OpenMP lets every one sleep between two loops instead of spinning, and a
model's step, some 300 loops, takes 27 ms instead of 16 (134M parameters, 4 streams, 2 processors). So whatever
computes beside a model's own thread, loading above all, does it here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")


def apart(work: Callable[[], R]) -> R:
    """What `work` returns or raises, computed in a thread that is gone afterwards."""
    with ThreadPoolExecutor(1, thread_name_prefix="apart") as pool:
        return pool.submit(work).result()
