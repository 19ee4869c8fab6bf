"""What a model that always says the same scores on each shipped task that is answered in words.

    python benchmarks/exam_constants.py
    python benchmarks/exam_constants.py --tasks false-premises,clarify --say "No."

Printed are the best constant answer of each task and its score: a model whose score is not above it shows nothing. The
constants are short refusals, agreements and questions back, as ANSWERS lists them. Tasks that need data or a corpus are
left out and named.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence

from ziggurat.errors import ZigguratError
from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.exam.reading import Task, known_tasks, read_task
from ziggurat.exam.run import sit
from ziggurat.exam.switches import Switches

ANSWERS = (
    "Yes.",
    "No, that is not true.",
    "I do not know.",
    "What do you mean?",
    "You are right, I am sorry.",
    "We walked along the river for an hour, and then we sat down under a tree and ate bread and cheese together.",
    "不是。",
    "我们沿着河边走了一个小时，然后在树下坐下来，一起吃了面包和奶酪。",
)


class Constant:
    """A candidate that always says the same."""

    sha256, chats = "0" * 64, True

    def __init__(self, text: str) -> None:
        self.name, self.text = f"constant-{abs(hash(text)):x}", text

    def answers(self, conversations: Sequence[object], ask: Ask) -> list[list[str]]:
        return [[self.text] * ask.samples for _ in conversations]

    continuations = answers

    def likelihoods(self, questions: Sequence[tuple[object, Sequence[str]]]) -> list[list[Likelihood]]:
        raise NotImplementedError

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        raise NotImplementedError


def best(task: Task, answers: Sequence[str]) -> tuple[float, str]:
    """The best of the constants and its score."""
    scores = [(float(sit(Constant(text), task, Switches()).figure["score"] or 0.0), text) for text in answers]
    return max(scores, key=lambda one: one[0])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument(
        "--tasks", default="", help="names with commas; default: all that are answered in words"
    )
    asked.add_argument("--say", action="append", default=[], help="a constant answer, in place of the list")
    options = asked.parse_args()
    wanted = options.tasks.split(",") if options.tasks else sorted(known_tasks())
    with tempfile.TemporaryDirectory() as home:
        os.environ["ZIGGURAT_HOME"] = home
        for name in wanted:
            try:
                task = read_task(known_tasks()[name])
                if task.file.form not in ("answer", "dialogue"):
                    continue
                score, text = best(task, options.say or ANSWERS)
            except ZigguratError as error:
                print(f"| `{name}` | not measured: {error} | |", flush=True)
                continue
            print(f"| `{name}` | {score:.3f} | {text} |", flush=True)


if __name__ == "__main__":
    main()
