"""Computation in a thread that ends afterwards, so that OpenMP keeps no second set of helper threads.

Every thread that computes in parallel gets its own helper threads, which live as long as it does. As soon as the
process has more of them than processors, GNU's OpenMP lets all of them sleep between two loops instead of spinning: a
model's step of about 300 loops then takes 27 ms instead of 16 (134M parameters, 4 streams, 2 processors). Models are
therefore loaded here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")


def apart(work: Callable[[], R]) -> R:
    """What `work` returns or raises; its thread has ended when this returns."""
    with ThreadPoolExecutor(1, thread_name_prefix="apart") as pool:
        return pool.submit(work).result()
