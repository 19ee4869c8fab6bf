"""Settings of glibc's allocator. With another C library these functions do nothing.

keep_freed_memory      training. By default glibc returns blocks above 128 KiB to the kernel at once. A step frees and
                       takes hundreds of them: about 7,000 page faults a step at 4 layers x 256 and 1,152 tokens, 10
                       to 14 ms of kernel time in 250 ms. With this setting: about 500 page faults and 2 ms. The
                       process keeps its peak memory
give_back_freed_memory returns it: between two stages of a climb, so that each has a peak of its own; in a server
                       after a swap, and every minute
few_heaps              serving. By default every thread that allocates gets a heap of its own, up to eight a
                       processor, and each grows to the most that its thread needed: a server of a tiny model held
                       1,266 MiB after 18 minutes, most of it in 18 heaps of 30 to 63 MiB (docs/log/serving.md)
"""

from __future__ import annotations

import ctypes
import platform
import resource
import sys
from functools import cache
from pathlib import Path

import psutil

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MMAP_BYTES = 256 * 1024**2  # larger blocks are still mapped and unmapped
TRIM_BYTES = 512 * 1024**2  # free memory that is kept at the top of the heap
HEAPS = 2  # the main thread's, and one that all others share


@cache
def keep_freed_memory() -> bool:
    """Let the allocator keep freed memory. True if glibc accepted it; a second call does nothing."""
    libc = _glibc()
    return libc is not None and bool(
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    )


def give_back_freed_memory() -> bool:
    """Return all free memory of the heap to the kernel. True if there was some."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def few_heaps() -> bool:
    """Let threads share `HEAPS` heaps. Call it before threads start. True if glibc accepted it."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(M_ARENA_MAX, HEAPS))


def peak_memory_bytes() -> int:
    """The most memory that this process has held, in bytes: `ru_maxrss` is in bytes on macOS and in KiB on Linux."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory_bytes() -> int:
    """Memory that can still be taken: what the system has available, within the limit of a container (cgroup v2)."""
    available = int(psutil.virtual_memory().available)
    try:
        folder = Path("/sys/fs/cgroup")
        limit = int((folder / "memory.max").read_text(encoding="ascii"))
        used = int((folder / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container, or "max": no limit
        return available
    return min(available, max(0, limit - used))


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
