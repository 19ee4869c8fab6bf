"""The exam's questions of fact and its requests put to checkpoints of a kept climb: what stages 2 and 4 did to C.

    python benchmarks/town_sheet.py --climb town --town 1 sft-1 ppo-1

For development only: who has looked at a town's exam must not tune by it and then call the same sheet an exam. It needs
no finished climb, so it also reads the trials of `town_stage.py`.
"""

from __future__ import annotations

import argparse

from ziggurat.dialogue.chat import Chat
from ziggurat.places import ladder_folder
from ziggurat.town import examiner
from ziggurat.town.exam import write_exam
from ziggurat.town.grading import Grader
from ziggurat.town.people import build_town
from ziggurat.town.phrases import LANGUAGES

SECTIONS = ("known", "unknown", "improper", "proper")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="run folders inside the climb: sft-1, ppo-1")
    parser.add_argument("--climb", default="town")
    parser.add_argument("--town", type=int, default=1)
    options = parser.parse_args()
    town = build_town(options.town)
    items = [item for item in write_exam(town) if item.section in SECTIONS]
    for run in options.runs:
        policy = Chat.load(ladder_folder(options.climb) / run)
        answers = examiner.ask(run, policy, items, Grader(town))
        for language in LANGUAGES:
            print(run, language, shares(answers, language), flush=True)


def shares(answers: examiner.Answers, language: str) -> str:
    """'known: right 0.992, malformed 0.008; unknown: ...'"""
    told = []
    for section in SECTIONS:
        verdicts = [answers.grades[i].verdict for i in answers.select(section, language=language)]
        parts = [f"{v} {verdicts.count(v) / len(verdicts):.3f}" for v in sorted(set(verdicts))]
        told.append(f"{section}: {', '.join(parts)}")
    return "; ".join(told)


if __name__ == "__main__":
    main()
