"""Settings of glibc's allocator for the way this program uses memory. Other C libraries are left alone.

keep_freed_memory      training: glibc gives blocks above 128 KiB back to the kernel at once, and a step frees and takes
                       hundreds of them: about 7,000 page faults a step at 4 layers x 256 and 1,152 tokens, 10 to
                       14 ms of kernel time in 250 ms; now about 500, and 2 ms. The process keeps its peak,
give_back_freed_memory until then: between two stages of a climb, so that the peak of one is not the next one's floor;
                       a server after a swap, and every minute
few_heaps              serving: every thread that allocates gets a heap of its own, up to eight a processor, and each
                       grows to what its thread once needed: a server of a tiny model held 1,266 MiB after 18
                       minutes, most of it in 18 heaps of 30 to 63 MiB (docs/LOG.md)
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MMAP_BYTES = 256 * 1024**2  # larger blocks still come from and go to the kernel
TRIM_BYTES = 512 * 1024**2  # so much free memory at the top of the heap is kept
HEAPS = 2  # the main thread's, and one that all others share


@cache
def keep_freed_memory() -> bool:
    """Let glibc's allocator keep what is freed; true if it agreed. May be called often."""
    libc = _glibc()
    return libc is not None and bool(
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    )


def give_back_freed_memory() -> bool:
    """Hand all that is free back to the kernel, wherever it lies in the heap; true if some was."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def few_heaps() -> bool:
    """Let threads share `HEAPS` heaps from now on; call it before they are started. True if glibc agreed."""
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(M_ARENA_MAX, HEAPS))


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
