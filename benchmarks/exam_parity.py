"""The same tasks by our exam room and by lm-evaluation-harness, side by side: what differs, and by how much.

    ZIGGURAT_DATA=FOLDER python benchmarks/exam_parity.py --model smollm2 [--limit 20] [--dtype fp32]

GSM8K by the harness's own task file (`include`), read with local data; the objective questions of the Gaokao as a task
file of ours. Both sides read the same files. Prints a table, the items whose answers differ, and one JSON document.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from exam_speed import Ours, Theirs

CLOSE = 1e-4
"""Nats a token in fp32."""


def write_tasks(folder: Path, data: Path, limit: int) -> dict[str, Path]:
    """Task files over the first documents of published files."""
    import lm_eval

    from ziggurat.exam.publishers import open_published

    shipped = Path(lm_eval.__file__).parent / "tasks"
    splits = {}
    for split in ("test", "train"):
        lines = (data / f"gsm8k_{split}.jsonl").read_text(encoding="utf-8").splitlines()
        splits[split] = str(folder / f"gsm8k-{split}.jsonl")
        kept = lines[: limit if split == "test" else 200]
        Path(splits[split]).write_text("\n".join(kept) + "\n", encoding="utf-8")
    (gaokao,) = open_published("gaokao", data / "gaokao_objective_zh.jsonl.gz")
    single = [row for row in gaokao.rows if row["of"] == 1][:: max(1, 1100 // limit)][:limit]
    questions = str(folder / "gaokao.jsonl")
    Path(questions).write_text("".join(json.dumps(dict(row)) + "\n" for row in single), encoding="utf-8")
    tasks: dict[str, dict[str, Any]] = {
        "gsm8k": {
            "include": str(shipped / "gsm8k" / "gsm8k.yaml"),
            "task": "parity_gsm8k",
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": splits},
        },
        "gaokao": {
            "task": "parity_gaokao",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": questions}},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "{{question}}\n答案：",
            "doc_to_choice": ["A", "B", "C", "D"],
            "doc_to_target": "{{['A', 'B', 'C', 'D'].index(answer)}}",
            "target_delimiter": "",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        },
    }
    paths = {}
    for name, settings in tasks.items():
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return paths


def ours_of(ours: Ours, path: Path) -> tuple[list[Any], dict[str, float]]:
    """What was found, in order, and the figures."""
    from ziggurat.exam.harness.opening import open_yaml
    from ziggurat.exam.switches import Switches

    (task,) = open_yaml(path)
    assert task.items is not None
    assert task.sit is not None
    assert task.summary is not None
    found = task.sit(ours.candidate, task, task.items(task, Switches()), Switches())
    return list(found), dict(task.summary(found))


def theirs_of(theirs: Theirs, path: Path, name: str) -> tuple[list[Any], dict[str, float]]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    found = lm_eval.simple_evaluate(model=theirs.lm, tasks=[name], task_manager=manager, bootstrap_iters=0)
    samples: dict[int, Any] = {sample["doc_id"]: sample for sample in found["samples"][name]}
    figures = {k: v for k, v in found["results"][name].items() if "," in k and "stderr" not in k}
    return [samples[i] for i in sorted(samples)], figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2", help="a model of `ziggurat models`, or a folder")
    parser.add_argument("--data", type=Path, help="default: $ZIGGURAT_DATA")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--dtype", choices=["auto", "fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tasks", nargs="+", default=["gsm8k", "gaokao"])
    args = parser.parse_args()
    import os

    from ziggurat.places import model_folder
    from ziggurat.training.precision import SHORT_NAMES, choose_dtype

    data = args.data or Path(os.environ["ZIGGURAT_DATA"])
    torch.set_num_threads(args.threads)
    dtype = choose_dtype(args.dtype)[0]
    document: dict[str, Any] = {
        "model": args.model,
        "dtype": SHORT_NAMES[dtype],
        "limit": args.limit,
        "tasks": {},
    }
    notes = []
    print(f"{'task':10} {'metric':32} {'exam room':>10} {'harness':>10}   differences")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        paths = write_tasks(base, data, args.limit)
        ours, theirs = Ours(args.model, dtype), Theirs(model_folder(args.model), dtype, base / "cache")
        for name in args.tasks:
            found, figures = ours_of(ours, paths[name])
            samples, expected = theirs_of(theirs, paths[name], f"parity_{name}")
            apart = 0.0
            other = []
            for one, sample in zip(found, samples, strict=True):
                responses = [response for (response,) in sample["resps"]]
                if "scores" in one.mark.detail:
                    nats = [float(value) for value, _ in responses]
                    gaps = zip(one.mark.detail["scores"], nats, one.mark.detail["tokens"], strict=True)
                    apart = max([apart, *(abs(a - b) / tokens for a, b, tokens in gaps)])
                    top = sorted(nats)
                    if nats.index(max(nats)) != one.mark.detail["picked"]:
                        other.append(one.id)
                        notes.append(
                            f"{one.id}: the harness's two likeliest are {top[-1] - top[-2]:.5f} nats apart"
                        )
                elif list(one.answers) != responses:
                    other.append(one.id)
                    pairs = zip(one.answers[0], responses[0], strict=False)
                    at = next(
                        (i for i, (a, b) in enumerate(pairs) if a != b),
                        min(len(one.answers[0]), len(responses[0])),
                    )
                    notes.append(f"{one.id}: the texts part at character {at}: {one.answers[0][at:][:30]!r}")
            shown = f"{apart:.1e} nats a token at most" if apart else ""
            for metric in expected:
                print(f"{name:10} {metric:32} {figures[metric]:10.4f} {expected[metric]:10.4f}   {shown}")
            print(f"{name:10} {'answers that differ':32} {len(other):10} of {len(found)}")
            document["tasks"][name] = {
                "ours": figures,
                "harness": expected,
                "items": len(found),
                "other_answers": other,
                "greatest_difference_nats_a_token": apart,
            }
    for note in notes:
        print(f"  {note}")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
