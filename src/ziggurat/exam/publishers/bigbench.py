"""BIG-bench's JSON tasks: an exact match or a multiple-choice grade, and smooth figures beside both.

A task jumps or grows slowly with size as its figure is sharp or smooth (Schaeffer et al., arXiv:2304.15004), so:

    target_scores   score = what BIG-bench gives the likeliest choice; smooth: the probability of right choices, Brier
    target          score = exact match; smooth: log-probability of the target a token, where the model gives it

Format: BIG-bench, docs/doc.md (`example_input_prefix`, `choice_prefix`, `append_choices_to_input`, `task_prefix`).
Source: Srivastava et al., arXiv:2206.04615. Left out: tasks in Python, and the metrics bleu, rouge, bleurt.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggurat.errors import DataError, UsageError
from ziggurat.exam.candidate import Ask, Candidate, with_cuts
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.reading import Row, Task
from ziggurat.exam.task import Shots, TaskFile

if TYPE_CHECKING:
    from ziggurat.exam.switches import Switches

INPUT, OUTPUT, CHOICE = "\nQ: ", "\nA: ", "\n  choice: "
"""What BIG-bench puts before an input, an output and a choice, where a task says nothing else."""
MAX_TOKENS = 64


def bigbench(path: str) -> list[Task]:
    """The tasks of a task.json, of its folder, or of all folders below. UsageError where there is none."""
    given = Path(path).expanduser()
    files = [given] if given.is_file() else sorted({*given.glob("task.json"), *given.glob("*/task.json")})
    if not files:
        raise UsageError(f"there is no task.json at {given} or in a folder of it; name a BIG-bench task.")
    return [_task(file) for file in files]


def _task(path: Path) -> Task:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        examples: list[dict[str, Any]] = value["examples"]
        rows = [_row(value, example) for example in examples]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"not a JSON task of BIG-bench ({type(error).__name__}: {error}); it needs examples with input and target "
            "or target_scores.",
            path=path,
        ) from None
    chooses = "target_scores" in examples[0]
    name = re.sub(r"[^a-z0-9_.-]+", "-", path.parent.name.lower()).strip("-._") or "task"
    file = TaskFile(
        name=f"bigbench-{name}",
        title={"en": f"BIG-bench: {value.get('name') or name}"},
        about={"en": str(value.get("description") or "")[:300]},
        version=1,
        ability="unseen-tasks",
        source="google/BIG-bench",
        licence="Apache-2.0",
        rows=path.name,
        form="choice" if chooses else "answer",
        prompt="{{ prompt }}",
        choices="choices" if chooses else None,
        answer="{{ answer }}",
        raw=True,
        max_tokens=MAX_TOKENS,
        stop=[] if chooses else ["\n"],
        shots=Shots(delimiter="\n"),
    )
    before = str(value.get("task_prefix") or "")
    return Task(
        file,
        path.parent,
        given=rows,
        items=lambda task, switches: items(task, switches, before),
        also=before,
        sit=choose if chooses else write,
        heeds=frozenset({"shots"} if chooses else {"shots", "max_tokens"}),
    )


def _row(task: Mapping[str, Any], example: Mapping[str, Any]) -> Row:
    text = task.get("example_input_prefix", INPUT) + example["input"]
    scores: Mapping[str, float] | None = example.get("target_scores")
    if scores is not None:
        if len(scores) < 2:
            raise ValueError("target_scores of fewer than two choices")
        if task.get("append_choices_to_input", True):
            text += "".join(task.get("choice_prefix", CHOICE) + choice for choice in scores)
    text += task.get("example_output_prefix", OUTPUT)
    if scores is None:
        targets = example["target"] if isinstance(example["target"], list) else [example["target"]]
        return {"prompt": text, "targets": [str(target) for target in targets], "answer": str(targets[0])}
    values = [float(value) for value in scores.values()]
    best = values.index(max(values))
    return {
        "prompt": text,
        "choices": list(scores),
        "grades": values,
        "answer": best,
        "best": list(scores)[best],
    }


def items(task: Task, switches: Switches, before: str) -> list[Item]:
    """Prompts with `switches.shots` other examples before them: those that follow in the file, around its end."""
    rows, count = task.rows, switches.shots or 0
    if count >= len(rows):
        raise UsageError(f"{task.name} has {len(rows)} examples; ask for fewer shots than that.")
    found = []
    for i, row in enumerate(rows[: switches.limit]):
        shown = [rows[(i + 1 + k) % len(rows)] for k in range(count)]
        worked = "".join(one["prompt"] + str(one.get("best", one["answer"])) + "\n" for one in shown)
        prompt = (before + worked + row["prompt"]).strip("\n")
        found.append(
            Item(
                id=str(row["id"]),
                raw=prompt,
                choices=tuple(row.get("choices", ())),
                target=row["answer"],
                row=row,
            )
        )
    return found


def choose(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    """The multiple-choice grade; `right_p` and `brier` are smooth."""
    del task, switches
    given = candidate.likelihoods([(item.raw, item.choices) for item in items])
    results = []
    for item, each in zip(items, given, strict=True):
        nats, grades = [one.nats for one in each], item.row["grades"]
        most = max(nats)
        weights = [math.exp(one - most) for one in nats]
        shares = [weight / sum(weights) for weight in weights]
        picked = nats.index(most)
        wanted = [grade / (sum(grades) or 1.0) for grade in grades]
        scores = {
            "score": grades[picked],
            "right_p": sum(share * grade for share, grade in zip(shares, grades, strict=True)),
            "brier": sum((share - right) ** 2 for share, right in zip(shares, wanted, strict=True)),
        }
        why = "" if grades[picked] else f"right is {item.choices[item.target]}"
        detail = {"picked": picked, "right": item.target, "scores": [round(one, 6) for one in nats]}
        results.append(_found(item, (item.choices[picked],), Mark(scores, why, detail)))
    return with_cuts(candidate, results)


def write(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    """Exact match, and how likely the target is."""
    tokens = switches.max_tokens or task.file.max_tokens
    ask = Ask(max_tokens=tokens, stop=tuple(task.file.stop), seed=switches.seed)
    smooth: list[dict[str, float]] = [{} for _ in items]
    try:
        given = candidate.likelihoods([(item.raw, item.row["targets"]) for item in items])
    except UsageError:  # a server that gives none: the sharp figure remains
        given = []
    written = candidate.continuations([item.raw for item in items], ask)  # the last call, for with_cuts
    for scores, each in zip(smooth, given, strict=False):
        scores["target_nats"] = max(one.nats / one.tokens for one in each)
        scores["target_p"] = math.exp(max(one.nats for one in each))
    results = []
    for item, (answer, *_), more in zip(items, written, smooth, strict=True):
        right = answer.strip().lower() in {target.strip().lower() for target in item.row["targets"]}
        mark = Mark({"score": float(right), **more}, "" if right else f"right is {item.target}")
        results.append(_found(item, (answer,), mark))
    return with_cuts(candidate, results)


def _found(item: Item, answers: tuple[str, ...], mark: Mark) -> Found:
    return Found(item.id, item.stratum, item.cluster, item.pair, answers, mark)
