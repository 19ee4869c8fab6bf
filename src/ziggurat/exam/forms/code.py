"""A program that the model writes, run with the row's tests in a sandbox: right if they all pass.

A row holds `tests` (Python: a text, or a list of assertions) and may hold `start` (the beginning of a program, such as
a function's first line and docstring, which the answer continues). The program is the first fenced block of an answer,
or all of it. With several samples: `pass@1` without bias and `pass@k`, by the estimator of arXiv:2107.03374, section
2.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ziggurat.errors import DataError
from ziggurat.exam.candidate import Candidate
from ziggurat.exam.forms.answer import found, settings_of, write
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.reading import TASK_FILE, Task
from ziggurat.exam.sandbox import Limits, run
from ziggurat.exam.switches import Switches
from ziggurat.lineage import usable_cores

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)
_DEFINES = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)
TESTS = '\n\n__name__ = "__main__"\n'
"""Between a program and its tests: what an answer does only where it is run as a program is left out, the tests not."""
_CONTINUES = re.compile(r"\n(?=\S)")


def sit(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    written = write(candidate, task, items, switches)
    limits = Limits(
        **{k: v for k, v in settings_of(task, switches).items() if k in Limits.__dataclass_fields__}
    )
    programs = [
        (program_of(answer, str(item.row.get("start", ""))) + TESTS + tests_of(task, item))
        for item, answers in zip(items, written, strict=True)
        for answer in answers
    ]
    with ThreadPoolExecutor(usable_cores()) as pool:
        ran = iter(list(pool.map(lambda program: run(program, limits), programs)))
    results = []
    for item, answers in zip(items, written, strict=True):
        own = [next(ran) for _ in answers]
        right = sum(one.passed for one in own)
        scores = {"score": right / len(own)}
        if len(own) > 1:
            scores |= {f"pass@{k}": pass_at(len(own), right, k) for k in (1, len(own))}
        why = next((one.why for one in own if not one.passed), "")
        results.append(found(item, answers, Mark(scores, why)))
    return results


def pass_at(n: int, right: int, k: int) -> float:
    """The chance that one of k answers drawn from n, of which `right` are right, is right: 1 - C(n-c, k) / C(n, k)."""
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def program_of(answer: str, start: str = "") -> str:
    """The program in an answer; after `start`, unless the answer defines again what that defines."""
    fenced = _FENCE.search(answer)
    code = fenced[1] if fenced else answer
    if not start:
        return code
    names = set(_DEFINES.findall(start))
    if names & set(_DEFINES.findall(code)):
        first = _DEFINES.search(start)
        return (start[: first.start()] if first else "") + code
    if fenced is None:  # raw text goes on after the function: what begins a line again is no part of it
        code = _CONTINUES.split(code, maxsplit=1)[0]
    return start + code


def tests_of(task: Task, item: Item) -> str:
    tests = item.row.get("tests")
    if isinstance(tests, list) and tests:
        return "\n".join(map(str, tests))
    if isinstance(tests, str) and tests:
        return tests
    raise DataError(
        f"row {item.id} needs `tests`: Python that fails where the program is wrong; add them.",
        path=task.folder / TASK_FILE,
    )
