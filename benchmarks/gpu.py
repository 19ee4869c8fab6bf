"""The parts of benchmarks/gpu.sh: which GPU there is, and the speed of pre-training GPT-2 124M through the real loop.

    python benchmarks/gpu.py device | name | count | pretrain | engine   [--cpu-rehearsal]

MFU is FLOPs by the model's own accounting (forward and backward at twice its cost; nothing that is computed again
counts) over seconds and the GPU's printed peak (training/gpus.py). Text is random ids: speed does not hang on it.
Under torchrun every process takes its share of a step as large as that of one GPU times their number.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS, WARM_UP = 30, 10
"""Steps, and those at the start that are not counted: blocks are compiled, memory is taken."""
BATCH_TOKENS = 524_288


def device(rehearsal: bool) -> None:
    import torch

    from ziggurat.training.gpus import gpu_named

    if rehearsal:
        print("Rehearsal on the CPU: every command runs once, tiny; no figure of it means anything.")
        return
    if not torch.cuda.is_available():
        print(
            "There is no GPU here that torch finds, so nothing was measured; --cpu-rehearsal tries the commands."
        )
        sys.exit(3)
    found = gpu_named(name(rehearsal=False))
    peak = (
        f"{found.peak_flops / 1e12:g} TFLOP/s bf16" if found else "peak unknown: add it to training/gpus.py"
    )
    print(f"{torch.cuda.device_count()} x {name(rehearsal=False)}: {peak}; torch {torch.__version__}")


def name(rehearsal: bool) -> str:
    import torch

    return "rehearsal" if rehearsal else torch.cuda.get_device_name(0)


def count(rehearsal: bool) -> int:
    import torch

    return 2 if rehearsal else torch.cuda.device_count()


def pretrain(rehearsal: bool) -> None:
    """One JSON line: tokens/s a GPU, MFU, peak memory."""
    import numpy as np
    import torch

    from ziggurat.follower import Follower
    from ziggurat.model.accounting import flops_per_token, total_parameters
    from ziggurat.model.presets import preset
    from ziggurat.model.transformer import Transformer
    from ziggurat.processes import processes, rank, writes
    from ziggurat.runs import Run
    from ziggurat.stages.batches import TextBatches
    from ziggurat.stages.losses import batch_loss, split_rows
    from ziggurat.training import TrainConfig, parallel, train
    from ziggurat.training.device import choose_device, place
    from ziggurat.training.gpus import gpu_named

    shape = preset("gpt3-small").model_copy(update={"context": 1024})  # GPT-2 124M
    batch_tokens, steps, warm_up = BATCH_TOKENS * processes(), STEPS, WARM_UP
    where, what = choose_device()
    at_once = 32_768 if where.type == "cuda" and torch.cuda.mem_get_info()[1] > 30e9 else 8192
    if rehearsal:
        tiny = {"layers": 2, "d_model": 64, "heads": 2, "kv_heads": 2, "d_head": 32, "d_ff": 128}
        shape = shape.model_copy(update={**tiny, "vocab_size": 256, "context": 32})
        batch_tokens, steps, warm_up, at_once = 256, 3, 1, 64
    T = shape.context
    config = TrainConfig(
        steps=steps,
        optimizer="adamw",
        lr_adam=6e-4,
        warmup_steps=warm_up,
        weight_decay=0.1,
        microbatch_tokens=at_once,
    )
    rng = np.random.default_rng(0)
    rows = rng.integers(0, shape.vocab_size, (4 * batch_tokens // T, T + 1), dtype=np.int32)
    model = place(Transformer(shape))
    folder = parallel.gathered(tempfile.mkdtemp(prefix="ziggurat-gpu-"))[0]
    if rank() == 0:
        run = Run.create(Path(folder) / "run", stage="pretrain", config_yaml="{}\n", manifest={})
        run.together = parallel.wait_for_all
    parallel.wait_for_all()
    if rank() > 0:
        run = Follower(Path(folder) / "run", "pretrain", parallel.wait_for_all)
    with run:
        train(run, model, TextBatches(rows, batch_tokens // T, 0), batch_loss, config, split=split_rows)
    if not writes():
        return
    metrics = run.read_metrics()
    times = [
        b["elapsed_s"] - a["elapsed_s"]
        for a, b in zip(metrics[warm_up:-2], metrics[warm_up + 1 : -1], strict=True)
    ]
    step_s = statistics.median(times or [1.0])
    per_gpu = batch_tokens / step_s / processes()
    gpu = gpu_named(what)
    mfu = per_gpu * flops_per_token(shape, T) / gpu.peak_flops if gpu else None
    report: dict[str, Any] = {
        "case": "pretrain", "device": what, "gpus": processes(), "parameters": total_parameters(shape),
        "step_s": round(step_s, 4), "tokens_per_s_per_gpu": round(per_gpu), "mfu": mfu and round(mfu, 4),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if where.type == "cuda" else None,
        "loss_first": round(metrics[0]["loss"], 3), "loss_last": round(metrics[-2]["loss"], 3),
    }  # fmt: skip
    print(json.dumps(report))


def engine(rehearsal: bool) -> None:
    """The cases of `ziggurat bench decode`, with a tiny model."""
    import torch

    from ziggurat.evaluation.speed import measure_decoding
    from ziggurat.model.presets import preset
    from ziggurat.model.transformer import Transformer
    from ziggurat.training.device import place

    assert rehearsal, "without --cpu-rehearsal use `ziggurat bench decode`"
    tiny = preset("tiny").model_copy(update={"context": 640})
    model = place(Transformer(tiny).to(torch.float32).eval())
    _, figures = measure_decoding(model, peers=False)
    print(json.dumps({"case": "engine", **{one.case: round(one.tokens_per_s) for one in figures}}))


def main() -> None:
    parts = {"device": device, "name": name, "count": count, "pretrain": pretrain, "engine": engine}
    if (
        len(sys.argv) not in (2, 3)
        or sys.argv[1] not in parts
        or sys.argv[2:] not in ([], ["--cpu-rehearsal"])
    ):
        sys.exit(f"usage: python benchmarks/gpu.py {' | '.join(parts)} [--cpu-rehearsal]")
    found = parts[sys.argv[1]](rehearsal=len(sys.argv) == 3)  # type: ignore[operator]
    if found is not None:
        print(re.sub(r"\W+", "-", str(found)))


if __name__ == "__main__":
    main()
