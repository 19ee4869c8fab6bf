"""Has the candidate collapsed? Distinct pairs of words, the commonest answer, length, and answers that end.

Everything is compared with the serving release on the same held-out prompts; the sentence names each part that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ziggurat.evaluation.diversity import commonest, distinct_n
from ziggurat.evaluation.statistics import bootstrap_statistic
from ziggurat.flywheel.gate.criterion import Bench, Finding, percent

if TYPE_CHECKING:
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
        theirs = facts(bench.their_answers)
        a, b = ([one.text for one in side] for side in (bench.our_answers, bench.their_answers))
        n = 2 if distinct_n(b, 2) else 1  # of answers of one word each there are no pairs
        ratio = bootstrap_statistic(
            lambda i: distinct_n([a[j] for j in i], n) / max(SMALL, distinct_n([b[j] for j in i], n)), len(a)
        )
        reasons = reasons_of(ours, theirs, ratio.value, policy)
        good = (
            f"The answers stay varied: {percent(ratio.value)} of the serving release's distinct pairs of words, "
            f"{percent(ours['ended'])} end by themselves, {ours['tokens']:.0f} tokens on average "
            f"(serving {theirs['tokens']:.0f})."
        )
        return Finding(
            verdict="refused" if reasons else "passed",
            figure=ratio.value,
            low=ratio.low,
            high=ratio.high,
            bar=policy.distinct,
            unit="ratio",
            n=len(a),
            sentence="The candidate has collapsed: " + "; ".join(reasons) + "." if reasons else good,
            detail={"candidate": ours, "serving": theirs},
        )


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


def reasons_of(ours: dict[str, Any], theirs: dict[str, Any], ratio: float, policy: Any) -> list[str]:
    """What shows a collapse, each as half a sentence."""
    found = []
    if ratio < policy.distinct:
        found.append(f"it has {percent(ratio)} of the serving release's distinct pairs of words")
    if ours["commonest_share"] > theirs["commonest_share"] + policy.commonest:
        found.append(
            f"{percent(ours['commonest_share'])} of its answers are the same (serving "
            f"{percent(theirs['commonest_share'])})"
        )
    if ours["ended"] < theirs["ended"] - policy.ended:
        found.append(
            f"{percent(ours['ended'])} of its answers end by themselves (serving {percent(theirs['ended'])})"
        )
    longer = (ours["tokens"] + SMALL) / (theirs["tokens"] + SMALL)
    if not 1 / policy.longer <= longer <= policy.longer:
        found.append(
            f"its answers have {ours['tokens']:.0f} tokens on average (serving {theirs['tokens']:.0f})"
        )
    return found
