"""How soon a served model answers, and what the server weighs while nobody asks.

    python benchmarks/startup.py [RUN ...]

Without a run, a random model of the town's shape. Each start is a new process with warm files; the median of five
counts. `torch` is what `import torch` alone takes in a new process: nobody who uses torch can be ready sooner, so the
target is on what comes on top of it. Prints a table, then one JSON document as its last line.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from ziggurat.console import err, out, table
from ziggurat.evaluation.server_process import serving
from ziggurat.evaluation.serving import write_random
from ziggurat.lineage import machine
from ziggurat.model.presets import preset

STARTS = 5
READY_S, IDLE_MIB = 1.5, 600.0


def torch_import_s() -> float:
    t0 = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - t0


def start(runs: list[str]) -> dict[str, float]:
    t0 = time.perf_counter()
    with serving(runs) as server:
        ready_s = time.perf_counter() - t0
        time.sleep(0.5)  # what loading left behind is freed
        memory = server.process.memory_full_info()
        body = {"model": server.model, "prompt": [1], "max_tokens": 1}
        t1 = time.perf_counter()
        httpx.post(f"{server.address}/v1/completions", json=body, timeout=60).raise_for_status()
        first_s = time.perf_counter() - t1
    mib = {"rss_mib": memory.rss / 2**20, "pss_mib": memory.pss / 2**20}
    return {"ready_s": ready_s, "first_answer_s": first_s, **mib}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = sys.argv[1:]
        if not runs:
            write_random(Path(folder), preset("town"))
            runs = [folder]
        torch_import_s(), start(runs)  # files into memory
        starts, imports = [], []
        for number in range(STARTS):
            imports.append(torch_import_s())
            starts.append(start(runs))
            err.print(f"start {number + 1}: {starts[-1]['ready_s']:.2f} s, import torch {imports[-1]:.2f} s")
    found = {key: statistics.median(one[key] for one in starts) for key in starts[0]}
    found["torch_s"] = statistics.median(imports)
    found["after_torch_s"] = found["ready_s"] - found["torch_s"]
    rows = [
        ["import torch alone", f"{found['torch_s']:.2f} s", ""],
        ["until /ready answers 200", f"{found['ready_s']:.2f} s", ""],
        ["of it after torch", f"{found['after_torch_s']:.2f} s", f"<= {READY_S} s"],
        ["the first answer, one token", f"{found['first_answer_s']:.2f} s", ""],
        ["idle, resident", f"{found['rss_mib']:.0f} MiB", f"<= {IDLE_MIB:.0f} MiB"],
        ["idle, its share (PSS)", f"{found['pss_mib']:.0f} MiB", ""],
    ]
    out.print(table(f"median of {STARTS} starts", ["", "found", "target"], rows, right=["found"]))
    print(json.dumps({"found": found, "machine": machine()}))


if __name__ == "__main__":
    main()
