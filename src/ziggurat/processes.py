"""Which of several processes of one run this is, as torchrun says: RANK of WORLD_SIZE; 0 of 1 without torchrun.

Process 0 writes the run: its folder, logs, models and what stands on the screen. Nothing here imports torch;
`training.parallel` lets the processes compute together.
"""

from __future__ import annotations

import os


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def processes() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def writes() -> bool:
    """Whether this process writes the files of a run."""
    return rank() == 0
