"""GSM8K, ARC, HellaSwag and LAMBADA: JSON Lines as their publishers ship them.

Choices are compared by their log-likelihood a byte, which lm-evaluation-harness calls acc_bytes (its acc_norm divides
by characters); LAMBADA is scored as there.

Sources: Cobbe et al., arXiv:2110.14168; Clark et al., arXiv:1803.05457; Zellers et al., arXiv:1905.07830; Paperno et
al., arXiv:1606.06031.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ziggurat.corpus.rows import read_rows
from ziggurat.errors import DataError, UsageError
from ziggurat.exam.publishers.words import last_words, perplexity
from ziggurat.exam.reading import Row, Task
from ziggurat.exam.task import Metric, Shots, TaskFile


def read(path: str, change: Callable[[dict[str, Any]], dict[str, Any]], split: str) -> tuple[Path, list[Row]]:
    """The rows of a file, or of the file of a folder whose name holds `split`. DataError names a row that has other
    fields."""
    file = Path(path).expanduser()
    if file.is_dir():
        named = [each for each in sorted(file.rglob("*.json*")) if split in each.name.lower()]
        if len(named) != 1:
            raise UsageError(f"{file} has {len(named)} files of {split}*.jsonl; name the file itself.")
        file = named[0]
    if not file.is_file():
        raise UsageError(f"there is no file {file}; correct the path.")
    found: list[Row] = []
    for line, row in read_rows(file):
        try:
            found.append(change(row))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"the row is not as published ({type(error).__name__}: {error}); get the file again.",
                path=file,
                line=line,
            ) from None
    return file, found


def gsm8k(path: str) -> list[Task]:
    """Grade-school sums with their solution; the number that is written last is compared."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        steps, _, answer = row["answer"].partition("####")
        return {
            "question": row["question"],
            "steps": re.sub(r"<<.*?>>", "", steps).strip(),
            "answer": answer.strip().replace(",", ""),
        }

    file, rows = read(path, change, "test")
    return [
        Task(
            TaskFile(
                name="gsm8k",
                title={"en": "GSM8K: grade-school sums", "zh": "GSM8K 小学应用题"},
                version=1,
                ability="reasoning",
                source="openai/grade-school-math",
                licence="MIT",
                rows=file.name,
                form="answer",
                prompt="Question: {{ question }}\nAnswer:",
                answer="{{ answer }}",
                metric=Metric(name="number"),
                shots=Shots(think=True),
                max_tokens=256,
                stop=["Question:"],
            ),
            file.parent,
            given=rows,
        )
    ]


def arc(path: str) -> list[Task]:
    """Science questions of schools; the texts of the choices are compared."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        question = row["question"]
        if isinstance(question, Mapping):  # as in AI2's own archive
            labels = [choice["label"] for choice in question["choices"]]
            texts = [choice["text"] for choice in question["choices"]]
            question = question["stem"]
        else:
            labels, texts = row["choices"]["label"], row["choices"]["text"]
        found = {"question": question, "choices": texts, "answer": labels.index(row["answerKey"])}
        return found | ({"id": row["id"]} if "id" in row else {})

    file, rows = read(path, change, "test")
    name = (
        "arc-challenge"
        if "challenge" in str(file).lower()
        else "arc-easy"
        if "easy" in str(file).lower()
        else "arc"
    )
    return [
        Task(
            TaskFile(
                name=name,
                title={"en": f"{name.replace('-', ' ').title().replace('Arc', 'ARC')}: science of schools"},
                version=1,
                ability="knowledge",
                source="allenai/ai2_arc",
                licence="CC BY-SA 4.0",
                rows=file.name,
                form="choice",
                prompt="Question: {{ question }}\nAnswer:",
                choices="choices",
                answer="{{ answer }}",
                normalise="byte",
            ),
            file.parent,
            given=rows,
        )
    ]


def hellaswag(path: str) -> list[Task]:
    """How a scene goes on: four endings, compared by their length."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
        return {
            "query": _bare(context),
            "choices": [_bare(ending) for ending in row["endings"]],
            "answer": int(row["label"]),
        }

    file, rows = read(path, change, "val")
    return [
        Task(
            TaskFile(
                name="hellaswag",
                title={"en": "HellaSwag: how a scene goes on"},
                version=1,
                ability="continuation",
                source="rowanz/hellaswag",
                licence="MIT",
                rows=file.name,
                form="choice",
                prompt="{{ query }}",
                choices="choices",
                answer="{{ answer }}",
                normalise="byte",
            ),
            file.parent,
            given=rows,
        )
    ]


def _bare(text: str) -> str:
    """Without the marks of WikiHow, as the harness cleans it."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def lambada(path: str) -> list[Task]:
    """The last word of a passage, which the whole passage decides."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        before, _, word = row["text"].rpartition(" ")
        if not before or not word:
            raise ValueError("a passage of one word")
        return {"before": before, "word": word}

    file, rows = read(path, change, "test")
    return [
        Task(
            TaskFile(
                name="lambada",
                title={"en": "LAMBADA: the last word", "zh": "LAMBADA 末词预测"},
                version=1,
                ability="continuation",
                source="EleutherAI/lambada_openai",
                licence="MIT",
                rows=file.name,
                form="answer",
                prompt="{{ before }}",
                answer="{{ word }}",
                raw=True,
                metric=Metric(name="exact"),
                max_tokens=8,
            ),
            file.parent,
            given=rows,
            sit=last_words,
            heeds=frozenset({"shots"}),
            summary=perplexity,
        )
    ]
