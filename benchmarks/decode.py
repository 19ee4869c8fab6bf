"""Writing tokens with a real model: bf16, int8 and int4 here, llama.cpp and transformers beside them, all in one run.

    python benchmarks/decode.py smollm2 --llama /path/to/python --out decode.json           # all cases
    python benchmarks/decode.py smollm2 --llama /path/to/python --out decode.json --case "one stream" --rounds 5
    python benchmarks/decode.py smollm2 --show decode.json                                   # the table again

`--llama` is a Python that has `llama-cpp-python`; without it llama.cpp is left out. Its files are this model exported
as f16 and q8_0, and, for a model that `ziggurat models get` fetches as GGUF, that file. Every contestant is a process
of its own that has loaded its model and has run the case once. They take turns in an order that alternates; a figure is
the median of the rounds, a ratio the median of the ratios of single rounds. `--out` keeps all rounds, and later runs
add to it.

Memory: one question, answered in a fresh process; its peak above what `import torch` alone takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

CASES = {
    "one stream": {"streams": 1, "prompt": 32, "new": 96},
    "16 streams": {"streams": 16, "prompt": 32, "new": 64},
    "16 streams at 512": {"streams": 16, "prompt": 512, "new": 24},
    "prefill of 512": {"streams": 1, "prompt": 512, "new": 1, "prefill": True},
}
OURS = {"bf16": "auto", "int8": "int8", "int4": "int4"}
PEERS = {"bf16": "llama.cpp f16", "int8": "llama.cpp q8_0", "int4": "llama.cpp Q4"}
TARGETS = {"16 streams": 1.25, "16 streams at 512": 1.4}
"""Of the best peer. One stream: 1.0 of llama.cpp in like bits."""
QUESTION = "What is the capital of France?"


# --- contestants: each reads cases from standard input and writes seconds ---------------------------------------------


def ours(name: str, weights: str) -> None:
    import torch

    from ziggurat.engine.engine import Engine
    from ziggurat.engine.params import SamplingParams
    from ziggurat.model.cpu.quantized import load_to_serve
    from ziggurat.places import model_folder
    from ziggurat.training.precision import choose_dtype

    model = load_to_serve(model_folder(name), choose_dtype("bf16")[0], weights).eval()

    def run(streams: int, prompt: int, new: int) -> tuple[float, float]:
        engine = Engine(model, max_slots=streams, context=prompt + new)
        generator = torch.Generator().manual_seed(0)
        for _ in range(streams):
            ids = torch.randint(10, model.config.vocab_size, (prompt,), generator=generator).tolist()
            engine.submit(ids, SamplingParams(temperature=0, max_tokens=new))
        began = time.perf_counter()
        engine.step()
        read, began = time.perf_counter() - began, time.perf_counter()
        while engine.has_work:
            engine.step()
        return read, time.perf_counter() - began

    _answer(run)


def transformers(folder: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def run(streams: int, prompt: int, new: int) -> tuple[float, float]:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(10, model.config.vocab_size, (streams, prompt), generator=generator)

        def seconds(tokens: int) -> float:
            began = time.perf_counter()
            model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=tokens,
                max_new_tokens=tokens, pad_token_id=0,
            )  # fmt: skip
            return time.perf_counter() - began

        read = seconds(1)
        return read, 0.0 if new == 1 else max(1e-9, seconds(new) - read)

    _answer(run)


def _answer(run: Callable[[int, int, int], tuple[float, float]]) -> None:
    import resource

    for line in sys.stdin:
        case = json.loads(line)
        read, wrote = run(case["streams"], case["prompt"], case["new"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps([read, wrote, peak]), flush=True)


def memory(name: str, weights: str) -> None:
    """MiB that `import torch` takes, and the peak of a process that answers one question."""
    import resource

    import torch  # noqa: F401

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    imported = peak()
    from ziggurat.api import chat

    answer = chat(name, weights=weights).complete(
        [{"role": "user", "content": QUESTION}], max_tokens=32, temperature=0.0
    )
    print(json.dumps({"imported_mib": imported, "peak_mib": peak(), "answer": str(answer)}))


# --- taking turns -----------------------------------------------------------------------------------------------------


class Contestant:
    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, case: dict[str, Any]) -> float:
        """Tokens per second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        read, wrote, _ = json.loads(self.process.stdout.readline())
        tokens = case["streams"] * (case["prompt"] if case.get("prefill") else case["new"] - 1)
        return float(tokens / (read if case.get("prefill") else wrote))


@contextmanager
def contestants(options: argparse.Namespace) -> Iterator[dict[str, Contestant]]:
    from ziggurat.places import model_folder

    own = [sys.executable, __file__, options.model]
    folder = model_folder(options.model)
    commands = {name: [*own, "--ours", weights] for name, weights in OURS.items()}
    commands["transformers bf16"] = [*own, "--transformers", str(folder)]
    with ExitStack() as stack:
        if options.llama:
            scratch = options.files or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            scratch.mkdir(parents=True, exist_ok=True)
            script = str(Path(__file__).with_name("decode_llama.py"))
            for name, path in gguf_files(options, scratch).items():
                commands[name] = [options.llama, script, str(path), str(options.threads)]
        if options.only:
            commands = {name: command for name, command in commands.items() if name in options.only}
        started = {name: Contestant(command) for name, command in commands.items()}
        try:
            yield started
        finally:
            for one in started.values():
                one.process.kill()
                one.process.wait()


def gguf_files(options: argparse.Namespace, scratch: Path) -> dict[str, Path]:
    """f16 and q8_0 by our own export; 4 bits as the model's package ships it, or `--q4`."""
    from ziggurat.models import packages
    from ziggurat.models.export import export

    found = {}
    for kind in ("f16", "q8_0"):
        found[f"llama.cpp {kind}"] = path = scratch / f"{kind}.gguf"
        if not path.is_file():
            export(options.model, "gguf", path, kind=kind)
    if options.q4:
        found["llama.cpp Q4"] = Path(options.q4)
    elif options.model in packages.PACKAGES:
        package, unpacked = packages.PACKAGES[options.model], scratch / "model"
        path = unpacked / Path(package.inside).name
        if not path.is_file():
            packages.unpack(package, packages.download(package, scratch), unpacked)
        found["llama.cpp Q4"] = path
    return found


def measure(options: argparse.Namespace, rounds: dict[str, list[dict[str, float]]]) -> None:
    with contestants(options) as started:
        for name in options.case or CASES:
            case = CASES[name]
            for one in started.values():
                one.run(case)  # compiles, casts, packs
            for turn in range(options.rounds):
                order = list(started)[:: 1 if turn % 2 == 0 else -1]
                found = {each: started[each].run(case) for each in order}
                rounds.setdefault(name, []).append(found)
                print(
                    name,
                    {each: round(value, 1) for each, value in found.items()},
                    file=sys.stderr,
                    flush=True,
                )


# --- the table --------------------------------------------------------------------------------------------------------


def summary(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """By case: medians, and ratios of ours to the peer in like bits and to the best peer."""
    found = {}
    for name, turns in rounds.items():
        every = sorted({each for turn in turns for each in turn}, key=list(turns[0]).index)
        medians = {each: statistics.median(turn[each] for turn in turns if each in turn) for each in every}
        peers = [each for each in every if each not in OURS]
        best = max(peers, key=lambda each: medians[each], default="")
        ratios = {
            f"{own} / {peer}": statistics.median(t[own] / t[peer] for t in turns if own in t and peer in t)
            for own in OURS
            for peer in dict.fromkeys((PEERS[own], best))
            if own in medians and peer in medians
        }
        found[name] = {"rounds": len(turns), "tokens_per_s": medians, "best_peer": best, "ratios": ratios}
    return found


def show(kept: dict[str, Any]) -> None:
    from ziggurat.console import out, table

    found = summary(kept["rounds"])
    if found:
        names = list(next(iter(found.values()))["tokens_per_s"])
        rows = [
            [case, *(f"{one['tokens_per_s'].get(n, float('nan')):,.0f}" for n in names), str(one["rounds"])]
            for case, one in found.items()
        ]
        out.print(table("tokens per second, medians", ["", *names, "rounds"], rows, right=names))
        rows = [[case, each, f"{r:.2f}"] for case, one in found.items() for each, r in one["ratios"].items()]
        out.print(table("medians of the ratios of single rounds", ["", "", ""], rows, right=[""]))
    for weights, one in kept.get("memory", {}).items():
        over = one["peak_mib"] - one["imported_mib"]
        out.print(f"one answer, {weights}: peak {one['peak_mib']:.0f} MiB, {over:.0f} above torch's import")
    print(json.dumps({"machine": kept.get("machine"), "summary": found, "memory": kept.get("memory", {})}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--llama", help="a Python with llama-cpp-python")
    parser.add_argument("--q4", help="a GGUF file of 4 bits")
    parser.add_argument("--files", type=Path, help="a folder that keeps llama.cpp's files for the next run")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--only", action="append", help="contestants, by name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", action="store_true", help="only the memory of one answer")
    parser.add_argument("--out", type=Path, help="a JSON file of all rounds, added to")
    parser.add_argument("--show", type=Path, help="print the table of such a file")
    for hidden in ("--ours", "--transformers", "--answer"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        return ours(options.model, options.ours)
    if options.transformers:
        return transformers(options.transformers)
    if options.answer:
        return memory(options.model, options.answer)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from ziggurat.lineage import machine

    path = options.show or options.out
    kept = json.loads(path.read_text()) if path and path.is_file() else {"rounds": {}, "machine": machine()}
    if options.memory:
        for weights in OURS.values():
            command = [sys.executable, __file__, options.model, "--answer", weights]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            kept.setdefault("memory", {})[weights] = json.loads(done.stdout.splitlines()[-1])
    elif not options.show:
        measure(options, kept["rounds"])
    if options.out:
        options.out.write_text(json.dumps(kept, indent=1))
    return show(kept)


if __name__ == "__main__":
    main()
