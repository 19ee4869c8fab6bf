"""Judges with a planted character, and judges that are real, under the bias report.

    python benchmarks/exam_judges.py
    python benchmarks/exam_judges.py --judge smollm2 --judge reward:town/reward --pairs 40

Planted are a judge that prefers the longer answer, one that prefers the first, one that judges by quality, one that
guesses, and one that follows quality in half of its verdicts and length in the other half. The pairs are made by rule
with a known truth (`exam/judges/probes.py`). The exit code is 1 where a planted bias is not found, or where one is
found that was not planted.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence

from ziggurat.exam.judges import probes
from ziggurat.exam.judges.bias import measure
from ziggurat.exam.judges.judge import Case, Choice, Grade, Pair, Place
from ziggurat.exam.judges.naming import open_judge


class Planted:
    """A judge that chooses by a rule."""

    model = sha256 = ""

    def __init__(self, name: str, choice: Callable[[Pair], Place]) -> None:
        self.name, self.choice = name, choice

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        return [Grade(None) for _ in cases]

    def choose(self, pairs: Sequence[Pair]) -> list[Choice]:
        return [Choice(self.choice(pair)) for pair in pairs]


def longer(pair: Pair) -> Place:
    return "first" if len(pair.a) > len(pair.b) else "second" if len(pair.a) < len(pair.b) else "tie"


def by_quality(pair: Pair) -> Place:
    quality = pair.quality or 0.0
    return "first" if quality > 0 else "second" if quality < 0 else "tie"


OF_LENGTH = {"length", "longer_wins"}


def planted(seed: int) -> list[tuple[Planted, set[str], set[str]]]:
    """Each with the findings that it must have and those that it may have."""
    chance = random.Random(seed)
    places: tuple[Place, Place] = ("first", "second")
    return [
        (Planted("prefers the longer", longer), OF_LENGTH, OF_LENGTH),
        (Planted("prefers the first", lambda _: "first"), {"position"}, {"position"}),
        (Planted("judges by quality", by_quality), set(), set()),
        (Planted("guesses", lambda _: chance.choice(places)), set(), set()),
        (
            Planted(
                "half quality, half length",
                lambda pair: longer(pair) if chance.random() < 0.5 else by_quality(pair),
            ),
            {"length"},
            OF_LENGTH,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", action="append", default=[], help="A real judge, by its name.")
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    asked, results, right = probes.pairs(given.pairs, given.seed), [], True
    real = [(open_judge(name), None, set()) for name in given.judge]
    for judge, wanted, allowed in [*planted(given.seed), *real]:
        t0 = time.perf_counter()
        found = measure(judge, asked)
        ok = wanted is None or wanted <= set(found.found) <= allowed
        right &= ok
        print(f"\n{found.judge} ({time.perf_counter() - t0:.1f} s, {found.unread} replies not read)")
        for name, value, unbiased, said in found.rows():
            print(f"  {name:<28}{value:<30}unbiased {unbiased:<8}{said}")
        if wanted is not None:
            print(
                f"  planted: {', '.join(sorted(wanted)) or 'nothing'}: {'as found' if ok else 'NOT as found'}"
            )
        results.append(
            found.to_dict() | ({} if wanted is None else {"planted": sorted(wanted), "as_planted": ok})
        )
    print(json.dumps({"pairs": given.pairs, "seed": given.seed, "judges": results}, ensure_ascii=False))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
