"""Has the candidate collapsed? Distinct pairs of words, the commonest answer, length, and answers that end.

Everything is compared with the serving release on the same held-out prompts. A part fails where the interval of the
change (95 %, prompts resampled) leaves out its bar; the sentence names each part that failed, and what may be chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ziggurat.evaluation.diversity import commonest, distinct_n
from ziggurat.evaluation.statistics import Interval, bootstrap_statistic, paired_bootstrap
from ziggurat.flywheel.gate.criterion import Bench, Finding, percent
from ziggurat.flywheel.gate.policy import GatePolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ziggurat.dialogue.chat import Answer

LEAST = 10
SMALL = 1e-9


class Collapse:
    name = "collapse"

    def measure(self, bench: Bench) -> Finding:
        policy, ours = bench.policy, facts(bench.our_answers)
        if len(bench.our_answers) < LEAST:
            sentence = (
                f"There are {len(bench.our_answers)} held-out prompts; {LEAST} are needed to see a collapse."
            )
            return Finding(verdict="undecided", n=len(bench.our_answers), sentence=sentence, unit="ratio")
        if not bench.their_answers:
            bad = ours["commonest_share"] > 0.5 or ours["ended"] < 0.5
            said = "collapsed" if bad else "varied"
            sentence = (
                f"Nothing serves yet. The answers are {said}: {percent(ours['ended'])} end by themselves, the "
                f"commonest one makes {percent(ours['commonest_share'])}."
            )
            return Finding(
                verdict="refused" if bad else "passed",
                figure=ours["distinct_2"],
                unit="ratio",
                n=len(bench.our_answers),
                sentence=sentence,
                detail={"candidate": ours},
            )
        theirs, found = facts(bench.their_answers), changes(bench.our_answers, bench.their_answers)
        ratio = found["distinct"]
        sure, maybe = reasons_of(ours, theirs, found, policy)
        sentence = (
            f"The answers stay varied: {percent(ratio.value)} of the serving release's distinct pairs of words, "
            f"{percent(ours['ended'])} end by themselves, {ours['tokens']:.0f} tokens on average "
            f"(serving {theirs['tokens']:.0f})."
        )
        if sure:
            collapsed = "; ".join(said for name, said in sure.items() if name != "length")
            parts = [f"The candidate has collapsed: {collapsed}."] if collapsed else []
            parts += [f"The length of answers has changed: {sure['length']}."] if "length" in sure else []
            sentence = " ".join(parts)
        if maybe:
            sentence += f" This may be chance: {'; '.join(maybe.values())}."
        return Finding(
            verdict="refused" if sure else "passed",
            figure=ratio.value,
            low=ratio.low,
            high=ratio.high,
            bar=policy.distinct,
            unit="ratio",
            n=len(bench.our_answers),
            sentence=sentence,
            detail={"candidate": ours, "serving": theirs},
        )


def changes(ours: Sequence[Answer], theirs: Sequence[Answer]) -> dict[str, Interval]:
    """Of paired answers: the ratios of distinct pairs of words and of length, the differences of both shares."""
    a, b = ([one.text.strip() for one in side] for side in (ours, theirs))
    n = 2 if distinct_n(b, 2) else 1  # of answers of one word each there are no pairs
    tokens = [[len(one.ids) for one in side] for side in (ours, theirs)]
    ended = [[float(one.finish == "stop") for one in side] for side in (ours, theirs)]

    def distinct(i: NDArray[np.int64]) -> float:
        return distinct_n([a[j] for j in i], n) / max(SMALL, distinct_n([b[j] for j in i], n))

    def same(i: NDArray[np.int64]) -> float:
        return commonest([a[j] for j in i]).share - commonest([b[j] for j in i]).share

    def longer(i: NDArray[np.int64]) -> float:
        mine, before = (sum(side[j] for j in i) for side in tokens)
        return float((mine + SMALL) / (before + SMALL))

    found = {
        name: bootstrap_statistic(of, len(a))
        for name, of in (("distinct", distinct), ("commonest", same), ("length", longer))
    }
    return {**found, "ended": paired_bootstrap(*ended)}


def facts(answers: Sequence[Answer]) -> dict[str, Any]:
    texts = [one.text.strip() for one in answers]
    most = commonest(texts)
    count = max(1, len(texts))
    return {
        "distinct_2": distinct_n(texts, 2),
        "commonest": most.text[:200],
        "commonest_share": most.share,
        "ended": sum(one.finish == "stop" for one in answers) / count,
        "tokens": sum(len(one.ids) for one in answers) / count,
    }


def reasons_of(
    ours: dict[str, Any], theirs: dict[str, Any], found: Mapping[str, Interval], policy: GatePolicy
) -> tuple[dict[str, str], dict[str, str]]:
    """What is beyond its bar, each as half a sentence: for sure, and what may be chance."""
    ratio, same, ended, longer = (found[name] for name in ("distinct", "commonest", "ended", "length"))
    short = 1 / policy.longer
    tests = {
        "distinct": (
            ratio.value < policy.distinct,
            ratio.high < policy.distinct,
            f"it has {percent(ratio.value)} of the serving release's distinct pairs of words",
        ),
        "commonest": (
            same.value > policy.commonest,
            same.low > policy.commonest,
            f"{percent(ours['commonest_share'])} of its answers are the same (serving "
            f"{percent(theirs['commonest_share'])})",
        ),
        "ended": (
            ended.value < -policy.ended,
            ended.high < -policy.ended,
            f"{percent(ours['ended'])} of its answers end by themselves (serving {percent(theirs['ended'])})",
        ),
        "length": (
            not short <= longer.value <= policy.longer,
            longer.high < short or longer.low > policy.longer,
            f"its answers have {ours['tokens']:.0f} tokens on average (serving {theirs['tokens']:.0f})",
        ),
    }
    sure = {name: said for name, (_, certain, said) in tests.items() if certain}
    return sure, {name: said for name, (beyond, _, said) in tests.items() if beyond and name not in sure}
