"""DPO, KTO and GRPO beside TRL's trainers, in one run: the same model, ids, batches, steps, rates and numbers to begin.

    python -m venv trl && trl/bin/pip install trl peft torch        TRL stays out of our environment
    python benchmarks/against_trl.py --trl trl/bin/python --model smollm2 [--parts dpo,kto,grpo] [--steps 8]

dpo, kto    an adapter of rank 16 on all linear layers of a frozen bf16 base, on the first comparisons (ratings) of
            ZIGGURAT_DATA/dpo_en_demo.json (kto_en_demo.json) that the stage would draw. TRL computes the reference at
            every step, as it does by default; ours computes it before the first, and its time is counted in.
grpo        all of a random 12M model: 64 completions of 48 tokens, 8 a prompt, KL on, and a reward function.

Both halves have the same threads. TRL's side is `trl_side.py`, without gradient checkpointing, which slows it down. In
bf16 the two round differently, so losses are best compared with `--dtype float32`. A step's time is a mean, for grpo
the median without the first one; `--clock cpu` counts the processor time of the process instead of the time that
passes, for a machine that others use too, best with OMP_NUM_THREADS=1. Prints tables; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ziggurat.console import out, table

DATA = {"dpo": "dpo_en_demo.json", "kto": "kto_en_demo.json"}
BATCH = {"dpo": 4, "kto": 8}
LR = 5e-5
"""Of the adapter, constant."""
GROUP, PROMPTS, WORDS = 8, 8, 48
GRPO_BETA = 0.04
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl", required=True, type=Path, help="the Python that has TRL")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--parts", default="dpo,kto,grpo")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument(
        "--longest", type=int, default=2048, help="tokens of an example of dpo and kto, at most"
    )
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of both halves")
    given = parser.parse_args()
    found = {}
    for part in given.parts.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            run: Callable[[Path, Any], dict[str, Any]] = of_grpo if part == "grpo" else of_preferences(part)
            ours = run(folder, given)
            task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
            task |= {"clock": given.clock, "dtype": given.dtype, "bf16": given.dtype == "bfloat16"}
            (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
            side = Path(__file__).with_name("trl_side.py")
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            # -P: without it this folder's kernels.py would stand for the package of that name
            subprocess.run(
                [given.trl, "-P", str(side), str(folder)],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            theirs = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        found[part] = {"ours": ours, "trl": theirs}
        show(part, ours, theirs)
    print(json.dumps(found))


def show(part: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    if part == "grpo":
        a, b = (statistics.median(one["step_s"][1:]) for one in (ours, theirs))
    else:  # the same examples in all, the reference included
        a, b = (statistics.fmean(one["step_s"]) for one in (ours, theirs))
        a += ours["reference_s"] / len(ours["step_s"])
    if part == "grpo":
        made = GROUP * PROMPTS
        said = f"{made / a:.1f} completions a second, TRL {made / b:.1f}"
        out.print(
            f"grpo: {said}: {b / a:.1f} x (bar 10); tokens each: {ours['words'][-1]}, {theirs['words'][-1]}"
        )
        return
    rows = [
        (n, f"{x:.4f}", f"{y:.4f}")
        for n, (x, y) in enumerate(zip(ours["losses"], theirs["losses"], strict=True))
    ]
    out.print(table(f"{part}: loss of the step", ("step", "ours", "TRL"), rows))
    gap = max(abs(x - y) for x, y in zip(ours["losses"], theirs["losses"], strict=True))
    out.print(
        f"{part}: {a:.2f} s a step, TRL {b:.2f}: {b / a:.2f} x (bar 1.5); losses differ by {gap:.4f} at most"
    )


# --- DPO and KTO -----------------------------------------------------------------------------------------------------


def of_preferences(part: str) -> Callable[[Path, Any], dict[str, Any]]:
    def run(folder: Path, given: Any) -> dict[str, Any]:
        from ziggurat.model.hub.save_adapter import save_adapter
        from ziggurat.models.export import export
        from ziggurat.stages.likelihood import load_policy

        export(given.model, "hf", folder / "model")
        ready, order = prepared(part, given)
        policy = load_policy(ready.base, ready.config.train, ready.seed)
        save_adapter(policy, folder / "adapter")
        shutil.copyfile(folder / "adapter" / "adapter_model.safetensors", folder / "adapter.safetensors")
        peft = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
        task = {
            "part": part,
            "steps": given.steps,
            "batch": BATCH[part],
            "lr": LR,
            "beta": ready.config.beta,
            "rank": peft["r"],
            "alpha": peft["lora_alpha"],
            "targets": peft["target_modules"],
            "rows": rows_of(part, ready, order),
        }
        if part == "kto":
            weights = ("desirable_weight", "undesirable_weight")
            task |= {name: getattr(ready.config, name) for name in weights}
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        return learn(part, ready, order, policy, given)

    return run


def prepared(part: str, given: Any) -> tuple[Any, list[int]]:
    """The stage before its first step, and the examples that its steps draw, in order."""
    from ziggurat.corpus.files import load_kind
    from ziggurat.stages import dpo, kto
    from ziggurat.stages.comparison_batches import ComparisonBatches
    from ziggurat.stages.kto import RatedBatches

    file = Path(os.environ["ZIGGURAT_DATA"]) / DATA[part]
    records = load_kind(
        "comparisons" if part == "dpo" else "ratings", [file], role="data", skip=False
    ).records
    dtype = {"bfloat16": "bf16", "float32": "fp32"}[given.dtype]
    train = {
        "trainable": "lora",
        "dtype": dtype,
        "steps": given.steps,
        "lr_adam": LR / 10,
        "final_lr_factor": 1.0,
    }
    size = {"dpo": "batch_comparisons", "kto": "batch_ratings"}[part]
    settings = {size: BATCH[part], "train": {**train, "grad_clip": 1.0, "betas": (0.9, 0.95)}}
    module: Any = dpo if part == "dpo" else kto
    config = getattr(module, f"{part}_config")(given.model, ("benchmark", settings))
    ready = module.prepare(config, given.model, records)
    if part == "dpo":
        ready = replace(
            ready,
            ranked=_whole(part, [one for one in ready.ranked if max(map(len, one.rows)) <= given.longest]),
        )
    else:
        ready = replace(
            ready, rated=_whole(part, [one for one in ready.rated if _longest(one) <= given.longest])
        )
    if part == "dpo":
        twin: Any = ComparisonBatches(ready.ranked, BATCH[part], 0, ready.seed, None)  # type: ignore[arg-type]
    else:
        twin = RatedBatches(ready.rated, BATCH[part], ready, None)  # type: ignore[arg-type]
    return ready, [i for _ in range(given.steps) for i in twin.chosen()]


def _whole(part: str, some: list[Any]) -> list[Any]:
    """Without the last few, so that every batch is full, as those of TRL are."""
    return some[: len(some) // BATCH[part] * BATCH[part]]


def _longest(one: Any) -> int:
    """Tokens of a rated example, with its own completion or the mismatched one."""
    return max(len(one.row), len(one.mismatched))


def rows_of(part: str, ready: Any, order: list[int]) -> list[dict[str, Any]]:
    """The examples as TRL's collators take them."""
    if part == "kto":
        drawn = [ready.rated[i] for i in order]
        return [
            {
                "prompt_ids": one.row[: one.start],
                "completion_ids": one.row[one.start :],
                "KL_completion_ids": one.mismatched[one.start :],
                "label": bool(one.liked),
            }
            for one in drawn
        ]
    found = []
    for one in (ready.ranked[i] for i in order):
        first, second = sorted(zip(one.ranks, one.rows, one.starts, strict=True))
        (_, better, a), (_, worse, b) = first, second
        found.append({"prompt_ids": better[:a], "chosen_ids": better[a:], "rejected_ids": worse[b:]})
    return found


def learn(part: str, ready: Any, order: list[int], policy: Any, given: Any) -> dict[str, Any]:
    """The steps, by the learner that the loop runs; the reference of the drawn examples alone."""
    from ziggurat.memory import keep_freed_memory
    from ziggurat.stages import dpo, kto
    from ziggurat.stages.comparison_batches import ComparisonBatches, split_batch
    from ziggurat.training.supervised import Supervised

    keep_freed_memory()
    drawn, device = sorted(set(order)), policy.embedding.weight.device
    t0 = CLOCKS[given.clock]()
    if part == "dpo":
        some = replace(ready, ranked=[ready.ranked[i] for i in drawn], held_out_ranked=[])
        known = dict(zip(drawn, dpo.with_reference(some, policy)[0], strict=True))
        ranked = [known.get(i, one) for i, one in enumerate(ready.ranked)]
        batches: Any = ComparisonBatches(ranked, BATCH[part], ready.tokenizer.pad_id, ready.seed, device)
        loss, split = dpo.loss_of(ready.config), split_batch
    else:
        some = replace(ready, rated=[ready.rated[i] for i in drawn], held_out=[])
        known = dict(zip(drawn, kto.with_reference(some, policy)[0], strict=True))
        rated = [known.get(i, one) for i, one in enumerate(ready.rated)]
        batches = kto.RatedBatches(rated, BATCH[part], ready, device)
        loss, split = kto.loss_of(ready.config), kto.split_rated
    reference_s = CLOCKS[given.clock]() - t0
    learner = Supervised(policy, batches, loss, ready.config.train, split, None, None, "examples", None)
    losses, seconds = [], []
    for step in range(given.steps):
        t0 = CLOCKS[given.clock]()
        losses.append(learner.update(step)["loss"])
        seconds.append(CLOCKS[given.clock]() - t0)
    return {"losses": losses, "step_s": seconds, "reference_s": reference_s}


# --- GRPO ------------------------------------------------------------------------------------------------------------


def of_grpo(folder: Path, given: Any) -> dict[str, Any]:
    from ziggurat.memory import keep_freed_memory
    from ziggurat.model.config import ModelConfig
    from ziggurat.model.hub import save_model
    from ziggurat.model.transformer import Transformer
    from ziggurat.records import Message, Prompt
    from ziggurat.stages.grpo import GRPO, grpo_config, prepare
    from ziggurat.tokenizer.bpe import Tokenizer

    keep_freed_memory()
    rows = json.loads((Path(os.environ["ZIGGURAT_DATA"]) / "alpaca_en_demo.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.train([f"{row['instruction']} {row['output']}" for row in rows], 4096)
    sizes: dict[str, Any] = {
        "layers": 6,
        "d_model": 384,
        "heads": 6,
        "kv_heads": 6,
        "d_head": 64,
        "d_ff": 1024,
    }
    shape = ModelConfig(**sizes, vocab_size=tokenizer.vocab_size, context=512)
    save_model(Transformer(shape), folder / "model", tokenizer)
    (folder / "letters.py").write_text(
        "def score(prompt, completion, row):\n    return completion.count('e') / max(1, len(completion))\n",
        encoding="utf-8",
    )
    settings = {
        "train": {
            "steps": given.steps,
            "final_lr_factor": 1.0,
            "dtype": {"bfloat16": "bf16", "float32": "fp32"}[given.dtype],
        },
        "prompts_per_step": PROMPTS,
        "group": GROUP,
        "minibatches": 1,
        "epochs": 1,
        "max_new_tokens": WORDS,
        "beta": GRPO_BETA,
        "policy": {"lr_adam": 1e-5},
        "reward_function": f"{folder / 'letters.py'}:score",
    }
    asked = [row["instruction"] for row in rows[: PROMPTS * given.steps]]
    prompts = [Prompt(prompt=[Message(role="user", content=text)]) for text in asked]
    ready = prepare(grpo_config(folder / "model", ("benchmark", settings)), folder / "model", prompts)
    task = {
        "part": "grpo",
        "steps": given.steps,
        "batch": GROUP * PROMPTS,
        "group": GROUP,
        "words": WORDS,
        "beta": GRPO_BETA,
        "lr": 1e-5,
        "prompts": [tokenizer.decode(ids, skip_special=False) for ids in ready.prompt_ids],
    }
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    learner, seconds, words = GRPO(ready), [], []
    for step in range(given.steps):
        t0 = CLOCKS[given.clock]()
        row = learner.measure(step)
        learner.update(step)
        seconds.append(CLOCKS[given.clock]() - t0)
        words.append(row["tokens"] / (GROUP * PROMPTS))
    return {"step_s": seconds, "words": words}


if __name__ == "__main__":
    main()
