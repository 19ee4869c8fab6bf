"""Multiple choice, our exam room against lm-evaluation-harness with transformers, on the same cores in one run.

    python benchmarks/exam_speed.py --model smollm2 [--questions 1000] [--shots 5] [--letters]

The questions are made by rule; both sides read one task file, with the same prompts and choices, in the dtype that the
model is served in (bf16 where the CPU multiplies it, else fp32). Loading is not timed; cutting texts into tokens is.
Each side runs `--turns` times, in turns, and its best time counts. The harness gets the fastest of its batch sizes that
are tried on `--tune` questions before. Prints a table, then one JSON document.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

NAMES = ("Mira", "Tom", "Ana", "Jonas", "Lena", "Omar", "Sofia", "Ken")
THINGS = ("apples", "books", "stamps", "coins", "shells", "pencils", "cards", "marbles")
PLACES = ("in the kitchen", "at the market", "on the way home", "in the library", "by the river")


def questions(count: int, letters: bool, seed: int = 0) -> list[dict[str, Any]]:
    """Sums in a sentence; four answers, texts of several tokens or the letters A to D."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        who, other = draw.sample(NAMES, 2)
        thing, place = draw.choice(THINGS), draw.choice(PLACES)
        a, b, c = draw.randint(3, 60), draw.randint(2, 40), draw.randint(1, 9)
        right = a + b - min(c, a)
        wrong = draw.sample([n for n in range(max(0, right - 9), right + 10) if n != right], 3)
        numbers = [right, *wrong]
        draw.shuffle(numbers)
        texts = [f"{n} {thing} are left {place}" for n in numbers]
        question = (
            f"{who} has {a} {thing} and finds {b} more {place}. Then {who} gives {min(c, a)} of them to {other}, who "
            f"puts them into a box. How many {thing} does {who} have now?"
        )
        if letters:
            question += "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", texts, strict=True))
        found.append(
            {
                "question": question,
                "choices": list("ABCD") if letters else texts,
                "answer": numbers.index(right),
            }
        )
    return found


def write_task(folder: Path, count: int, shots: int, letters: bool) -> Path:
    """A task file of lm-evaluation-harness with local data, which both sides read."""
    files = {}
    for split, rows in {
        "test": questions(count, letters),
        "dev": questions(max(shots, 1), letters, 1),
    }.items():
        files[split] = str(folder / f"{split}-{count}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {
        "task": "speed",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "output_type": "multiple_choice",
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": shots,
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
    }
    path = folder / f"speed-{count}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


class Theirs:
    """lm-evaluation-harness with transformers."""

    def __init__(self, folder: Path, dtype: torch.dtype, cache: Path) -> None:
        import datasets
        import transformers
        from lm_eval.models.huggingface import HFLM

        datasets.config.HF_DATASETS_CACHE = cache
        datasets.disable_progress_bars()
        logging.disable(logging.WARNING)
        os.environ["TQDM_DISABLE"] = "1"
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.lm = HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=8)

    def run(self, path: Path, batch_size: int) -> tuple[float, list[list[float]], dict[str, float]]:
        import lm_eval
        from lm_eval.tasks import TaskManager

        self.lm.batch_size_per_gpu = batch_size
        manager = TaskManager(include_path=str(path.parent), include_defaults=False)
        task = manager.load(str(path))
        t0 = time.perf_counter()
        found = lm_eval.simple_evaluate(
            model=self.lm,
            tasks=[task] if not isinstance(task, dict) else [path],
            task_manager=manager,
            bootstrap_iters=0,
        )
        seconds = time.perf_counter() - t0
        samples = sorted(found["samples"]["speed"], key=lambda sample: sample["doc_id"])
        nats = [[float(response[0][0]) for response in sample["resps"]] for sample in samples]
        results = {k: v for k, v in found["results"]["speed"].items() if "," in k and "stderr" not in k}
        return seconds, nats, results


class Ours:
    """The exam room, from the task file to the marks."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        from ziggurat.exam.candidates import open_candidate
        from ziggurat.model.transformer import set_compute_dtype

        self.candidate: Any = open_candidate(name)
        model = self.candidate.chat.model
        if dtype != model.compute_dtype:
            model.to(dtype)
            set_compute_dtype(model, dtype)

    def run(self, path: Path) -> tuple[float, list[list[float]], dict[str, float]]:
        from ziggurat.exam.harness.opening import open_yaml
        from ziggurat.exam.switches import Switches

        t0 = time.perf_counter()
        (task,) = open_yaml(path)
        assert task.items is not None
        assert task.sit is not None
        assert task.summary is not None
        found = task.sit(self.candidate, task, task.items(task, Switches()), Switches())
        results = dict(task.summary(found))
        seconds = time.perf_counter() - t0
        return seconds, [one.mark.detail["scores"] for one in found], results


def best_of(
    turns: int, runs: dict[str, Callable[[], tuple[float, Any, Any]]]
) -> dict[str, tuple[float, Any, Any]]:
    """The fastest run of each, taken in turns."""
    found: dict[str, tuple[float, Any, Any]] = {}
    for _ in range(turns):
        for name, run in runs.items():
            one = run()
            if name not in found or one[0] < found[name][0]:
                found[name] = one
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2", help="a model of `ziggurat models`, or a folder")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--letters", action="store_true", help="choices are A, B, C, D")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[8, 32], help="batch sizes tried for the harness"
    )
    parser.add_argument("--tune", type=int, default=24)
    args = parser.parse_args()
    from ziggurat.places import model_folder
    from ziggurat.training.precision import SHORT_NAMES, choose_dtype

    torch.set_num_threads(args.threads)
    dtype = choose_dtype(args.dtype)[0]
    folder = model_folder(args.model)
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        path = write_task(base, args.questions, args.shots, args.letters)
        (base / "small").mkdir()
        small = write_task(base / "small", min(args.tune, args.questions), args.shots, args.letters)
        ours, theirs = Ours(args.model, dtype), Theirs(folder, dtype, base / "cache")
        ours.run(small)
        tuned = {batch: theirs.run(small, batch)[0] for batch in args.batches}
        batch = min(tuned, key=lambda size: tuned[size])
        found = best_of(
            args.turns, {"ours": lambda: ours.run(path), "theirs": lambda: theirs.run(path, batch)}
        )
    (own_s, own, own_figures), (their_s, their, their_figures) = found["ours"], found["theirs"]
    apart = max(abs(a - b) for x, y in zip(own, their, strict=True) for a, b in zip(x, y, strict=True))
    picks = sum(x.index(max(x)) != y.index(max(y)) for x, y in zip(own, their, strict=True))
    document = {
        "model": args.model,
        "dtype": SHORT_NAMES[dtype],
        "threads": args.threads,
        "questions": args.questions,
        "shots": args.shots,
        "letters": args.letters,
        "harness_batch": batch,
        "harness_tuning_s": {str(size): round(seconds, 2) for size, seconds in tuned.items()},
        "ours_s": round(own_s, 2),
        "harness_s": round(their_s, 2),
        "times": round(their_s / own_s, 2),
        "greatest_difference_nats": round(apart, 5),
        "other_choice_picked": picks,
        "ours": own_figures,
        "harness": their_figures,
    }
    print(
        f"{args.questions} questions x 4 choices, {args.shots} shots, {document['dtype']}, {args.threads} threads"
    )
    print(f"  exam room                {own_s:8.1f} s   {args.questions / own_s:8.1f} questions/s")
    print(
        f"  lm-evaluation-harness    {their_s:8.1f} s   {args.questions / their_s:8.1f} questions/s   batch {batch}"
    )
    print(
        f"  {their_s / own_s:.2f} times; log-likelihoods differ by {apart:.4f} nats at most; other choice {picks}"
    )
    print(json.dumps(document))


if __name__ == "__main__":
    main()
