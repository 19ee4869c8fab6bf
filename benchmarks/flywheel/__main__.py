"""The proof that the flywheel turns: simulated people use the product over HTTP, and answers get better.

    python benchmarks/flywheel --parts town                       three turns in the town
    python benchmarks/flywheel --parts real                       one turn of smollm2 (`ziggurat models get smollm2`)
    python benchmarks/flywheel --parts hostile --seeds 5          a fifth of the voters is hostile, or one floods
    python benchmarks/flywheel --parts gate,kills                 candidates that must not pass; kill -9 in each phase
    python benchmarks/flywheel --parts all --small                does all of it run? It proves nothing

Everything is written below $ZIGGURAT_HOME/flywheel-proof. Each part prints its tables, then one line of JSON.
docs/flywheel-proof.md holds what was measured.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from options import arguments
from report import finish
from runs import PARTS


def main() -> None:
    options = arguments(str(__doc__))
    for part in options.parts:
        begun = time.perf_counter()
        found = PARTS[part](options)
        finish(part, {**found, "seconds": round(time.perf_counter() - begun, 1)})


if __name__ == "__main__":
    main()
