"""Freed memory goes back when it is asked for, and only then."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import psutil, numpy as np
from ziggurat.memory import give_back_freed_memory, keep_freed_memory
if not keep_freed_memory():
    raise SystemExit("no glibc")
mib = lambda: psutil.Process().memory_info().rss / 2**20
blocks = [np.ones(2**17) for _ in range(300)]  # 1 MiB each, below what is mapped on its own
wall = np.ones(2**17)  # keeps the top of the heap in use
full = mib()
del blocks
kept = mib()
give_back_freed_memory()
print(full - kept, kept - mib())
"""


def test_what_was_freed_inside_the_heap_is_kept_until_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("another C library")
    freed_alone, given_back = map(float, done.stdout.split())
    assert freed_alone < 50
    assert given_back > 250


HEAPS = """
import threading, psutil, numpy as np
from ziggurat.memory import few_heaps
if {few} and not few_heaps():
    raise SystemExit("no glibc")
full, counted = threading.Barrier(13), threading.Barrier(13)
def work():
    blocks = [np.ones(2**13) for _ in range(48)]  # 64 KiB each: 3 MiB, so that twelve threads fit into one heap
    full.wait()
    counted.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
full.wait()
maps = psutil.Process().memory_maps(grouped=False)
print(sum(m.rss > 2**21 and int(m.addr.split("-")[0], 16) % 2**26 == 0 for m in maps))
counted.wait()
"""


def test_threads_share_few_heaps() -> None:
    """A heap of glibc's begins at a multiple of 64 MiB, as another region may by chance; unasked there are eight a
    processor, so one a thread here."""

    def heaps(few: bool) -> int:
        script = HEAPS.format(few=few)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        if "no glibc" in done.stderr:
            pytest.skip("another C library")
        return int(done.stdout)

    assert heaps(few=True) <= 2
    assert heaps(few=False) >= 8
