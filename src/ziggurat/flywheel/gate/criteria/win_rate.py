"""Does the candidate answer better than the serving release? By people, else by a judge that agrees with them.

By people's held-out comparisons (held out by person or by time, never trained on) of answers that models wrote: where
the better side is what a person wrote (a rewrite, an edit, an answer, a demonstration), the other one was sampled from
the serving release, and any training on written answers makes it less probable. A model's **implicit preference**
between two completions is how much more probable it makes one than the other, against the serving release:

    margin = (log p_candidate(better) - log p_serving(better)) - (log p_candidate(worse) - log p_serving(worse))

The candidate wins a pair if its margin is positive: it moved towards what the person preferred. The share of pairs won
in a comparison is one observation. Persons are resampled where at least PERSONS judged, else comparisons.

Else by battles between both (votes of the arena). Else, where no judge is named, by people's held-out thumbs
(`thumbs.py`). Else by a judge: a reward model that learned from other labels, or a
function, which scores both models' answers to held-out prompts. It counts only if it orders people's held-out pairs as
they do often enough. The reward model that trained the candidate, or one that learned from the same labels, is refused.
A kind of evidence that cannot decide leaves it to the next one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ziggurat.errors import UsageError
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.flywheel.gate.criteria.thumbs import (
    BY_THUMBS,
    EACH,
    PEOPLE,
    by_people,
    liked_rate,
    missing,
    moved_of,
)
from ziggurat.flywheel.gate.criterion import Bench, Finding, Judged, Rated, percent
from ziggurat.lineage import manifest_around, parent_entry
from ziggurat.places import find_run
from ziggurat.records import Message

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat

PERSONS = 8
PAIRS = 20
"""Of people's pairs that a judge must have ordered before its agreement counts."""
BY_PEOPLE = "people's held-out comparisons"
WRITTEN = tuple(f"flywheel/{one}" for one in ("rewrite", "edit", "answer", "demonstration"))
"""Sources of comparisons whose better side a person wrote."""


class WinRate:
    name = "win_rate"

    def measure(self, bench: Bench) -> Finding:
        policy = bench.policy
        if bench.theirs is None:
            return Finding(verdict="passed", sentence="No release serves yet, so there is none to beat.")
        open_: list[Finding] = []
        for measure in self._kinds(bench):
            found = measure()
            if found.verdict != "undecided":
                return found
            open_.append(found)
        if policy.judge is not None:
            return open_[-1]
        people, thumbs = clear(bench.judged, written=False), by_people(bench.rated)
        said = "".join(f" {one.sentence}" for one in open_)
        return Finding(
            verdict="undecided",
            bar=policy.win_rate,
            n=len(people),
            sentence=f"People have judged {len(people)} held-out comparisons, {len(bench.battles)} battles and "
            f"{len(thumbs)} held-out thumbs; {policy.least} of one kind are needed (of thumbs {EACH} up and {EACH} "
            f"down at least, of {PEOPLE} people).{said} Collect more, or name a judge.",
        )

    def _kinds(self, bench: Bench) -> Iterator[Callable[[], Finding]]:
        """What may decide, the strongest evidence first."""
        policy, theirs = bench.policy, bench.theirs
        assert theirs is not None
        people = clear(bench.judged, written=False)
        if not policy.judge_only:
            if len(people) >= policy.least:
                yield lambda: self._found(bench, BY_PEOPLE, *implicit_wins(bench.ours, theirs, people))
            if len(bench.battles) >= policy.least:
                wins = [float(one["outcome"]) for one in bench.battles]
                yield lambda: self._found(
                    bench, "battles", wins, [str(one["person"]) for one in bench.battles]
                )
            thumbs = by_people(bench.rated)
            if policy.judge is None and len(thumbs) >= policy.least:
                yield lambda: self._by_thumbs(bench, thumbs)
        if policy.judge is not None:
            yield lambda: self._by_judge(bench, clear(bench.judged))

    def _found(
        self, bench: Bench, by: str, wins: Sequence[float], persons: Sequence[str], **detail: Any
    ) -> Finding:
        policy, many = bench.policy, len(set(persons)) >= PERSONS
        if len(wins) < policy.least:
            sentence = f"Only {len(wins)} held-out prompts could be judged; {policy.least} are needed."
            return Finding(
                verdict="undecided", n=len(wins), bar=policy.win_rate, sentence=sentence, detail=detail
            )
        rate = cluster_bootstrap(wins, list(persons) if many else None)
        passed = rate.low > policy.win_rate
        above = "is above" if passed else "is not above"
        sentence = (
            f"By {by}, the candidate wins {rate.percent()} of {rate.n} prompts against the serving release; the lower "
            f"bound {above} {percent(policy.win_rate)}."
        )
        return Finding(
            verdict="passed" if passed else "refused",
            figure=rate.value,
            low=rate.low,
            high=rate.high,
            bar=policy.win_rate,
            n=rate.n,
            sentence=sentence,
            detail={
                "by": by,
                "persons": len(set(persons)),
                "resampled": "persons" if many else "prompts",
                **detail,
            },
        )

    def _by_thumbs(self, bench: Bench, thumbs: Sequence[Rated]) -> Finding:
        assert bench.theirs is not None
        policy, kept = bench.policy, moved_of(bench.ours, bench.theirs, thumbs)
        if reason := missing(kept, policy.least):
            return Finding(verdict="undecided", n=len(kept), bar=policy.win_rate, sentence=f"{reason}.")
        persons = len({one.person for one in kept})
        rate = liked_rate(kept, [one.moved for one in kept], persons=persons >= PERSONS)
        alone = liked_rate(kept, [one.before for one in kept], persons=persons >= PERSONS)
        bar = max(policy.win_rate, alone.value)
        passed = rate.low > bar
        above = "is above" if passed else "is not above"
        which = (
            "" if bar == policy.win_rate else ", the rate that the serving release's own probabilities give"
        )
        sentence = (
            f"By {BY_THUMBS}, the candidate moved further towards the liked answer than towards the disliked one in "
            f"{rate.percent()} of the pairs of one person, of {rate.n} thumbs; the lower bound {above} {percent(bar)}"
            f"{which}. No person has compared two answers to one question."
        )
        return Finding(
            verdict="passed" if passed else "refused",
            figure=rate.value,
            low=rate.low,
            high=rate.high,
            bar=bar,
            n=rate.n,
            sentence=sentence,
            detail={
                "by": BY_THUMBS,
                "persons": persons,
                "resampled": "persons" if persons >= PERSONS else "thumbs",
                "serving_alone": alone.value,
            },
        )

    def _by_judge(self, bench: Bench, people: Sequence[Judged]) -> Finding:
        policy, name = bench.policy, str(bench.policy.judge)
        if reason := own_judge(name, bench):
            return Finding(verdict="undecided", bar=policy.win_rate, sentence=reason, detail={"judge": name})
        score = scorer_of(name)
        agreement = agreement_of(score, people)
        shown = {"judge": name, "agreement": agreement.to_dict(), "agreement_bar": policy.judge_agreement}
        if agreement.n < PAIRS or not agreement.value >= policy.judge_agreement or not agreement.low > 0.5:
            have = (
                "no pairs of people" if not agreement.n else f"{agreement.percent()} of {agreement.n} pairs"
            )
            sentence = (
                f"The judge {name} orders {have} as people do; {percent(policy.judge_agreement)} of at least {PAIRS} "
                "are needed, surely more than half, so it decides nothing."
            )
            return Finding(verdict="undecided", bar=policy.win_rate, sentence=sentence, detail=shown)
        wins = judged_wins(bench, score)
        by = f"the judge {name}, which orders {agreement.percent()} of people's held-out pairs as they do"
        return self._found(bench, by, wins, [str(i) for i in range(len(wins))], **shown)


def clear(judged: Sequence[Judged], *, written: bool = True) -> list[Judged]:
    """Those with at least one pair that is not tied; without `written` only those whose answers models wrote."""
    kept = [one for one in judged if written or one.comparison.source not in WRITTEN]
    return [one for one in kept if len(set(one.comparison.ranks)) > 1]


# --- people -----------------------------------------------------------------------------------------------------------


def implicit_wins(ours: Chat, theirs: Chat, judged: Sequence[Judged]) -> tuple[list[float], list[str]]:
    """For each comparison that fits both contexts the share of its clear pairs that the candidate wins; whose it is."""
    wins, persons = [], []
    texts = [
        (number, k, conversation(one, k))
        for number, one in enumerate(judged)
        for k in range(len(one.comparison.completions))
    ]
    scores = [completion_scores(chat, [messages for _, _, messages in texts]) for chat in (ours, theirs)]
    moved: dict[tuple[int, int], float] = {}
    for (number, k, _), a, b in zip(texts, *scores, strict=True):
        if a is not None and b is not None:
            moved[number, k] = a - b
    for number, one in enumerate(judged):
        won = [
            1.0
            if moved[number, b] > moved[number, w]
            else 0.0
            if moved[number, b] < moved[number, w]
            else 0.5
            for b, w in pairs(one.comparison.ranks)
            if (number, b) in moved and (number, w) in moved
        ]
        if won:
            wins.append(sum(won) / len(won))
            persons.append(one.person)
    return wins, persons


def pairs(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(better, worse) of all pairs that are not tied."""
    found = [(a, b) for a, b in combinations(range(len(ranks)), 2) if ranks[a] != ranks[b]]
    return [(a, b) if ranks[a] < ranks[b] else (b, a) for a, b in found]


def conversation(one: Judged, k: int) -> tuple[list[Message], list[Message]]:
    """The prompt, and the whole conversation with completion k."""
    completion = one.comparison.completions[k]
    said = (
        [Message(role="assistant", content=completion)] if isinstance(completion, str) else list(completion)
    )
    return list(one.comparison.prompt), [*one.comparison.prompt, *said]


def completion_scores(
    chat: Chat, conversations: Sequence[tuple[list[Message], list[Message]]]
) -> list[float | None]:
    """log p of each completion; None where it does not fit the context."""
    from ziggurat.stages.likelihood import rows_logp

    rows, starts, places = [], [], []
    for place, (prompt, whole) in enumerate(conversations):
        start = len(chat.template.render(prompt, add_generation_prompt=True).ids)
        ids = chat.template.render(whole).ids
        if start < len(ids) <= chat.context:
            rows.append(ids)
            starts.append(start)
            places.append(place)
    found: list[float | None] = [None] * len(conversations)
    if rows:
        for place, value in zip(
            places, rows_logp(chat.model, rows, starts, chat.tokenizer.pad_id), strict=True
        ):
            found[place] = value
    return found


# --- a judge ----------------------------------------------------------------------------------------------------------

Score = Callable[[Sequence[list[Message]]], list[float]]


def scorer_of(name: str) -> Score:
    """A reward model, or module:function of (messages, answer).

    Raises UsageError where the function cannot be found, RunError where there is no such run.
    """
    module, colon, function = name.partition(":")
    if colon and not module.startswith(("/", ".", "~")):
        try:
            call: Callable[[list[Message], str], float] = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise UsageError(f"the judge {name} cannot be imported ({error}).") from None
        return lambda talks: [float(call(list(talk[:-1]), talk[-1].content)) for talk in talks]
    from ziggurat.stages.judge import Judge

    judge = Judge.load(name)
    return lambda talks: judge.score(judge.rows(talks))


def own_judge(name: str, bench: Bench) -> str | None:
    """Why this judge must not judge: it trained the candidate, or learned from the candidate's labels."""
    if ":" in name and not name.startswith(("/", ".", "~")):
        return None
    folder = find_run(name)
    hashes = set((parent_entry(folder).get("weights_sha256") or {}).values())
    if hashes & set(bench.scorers):
        return (
            f"The judge {name} is the reward model that trained the candidate; name a judge of other labels."
        )
    known = manifest_around(folder)
    learned = {str(one.get("sha256")) for one in (known or {}).get("data") or () if one.get("role") == "data"}
    if learned & set(bench.labels):
        return f"The judge {name} learned from the candidate's own labels; name a judge of other labels."
    return None


def agreement_of(score: Score, people: Sequence[Judged]) -> Interval:
    """How often the judge orders people's held-out pairs as they do; a tie of the judge counts as a miss. The pairs of
    one comparison depend on one another, so comparisons are resampled, not pairs."""
    agreed: list[float] = []
    of: list[int] = []
    for number, one in enumerate(people):
        scores = score([conversation(one, k)[1] for k in range(len(one.comparison.completions))])
        found = [float(scores[better] > scores[worse]) for better, worse in pairs(one.comparison.ranks)]
        agreed += found
        of += [number] * len(found)
    return cluster_bootstrap(agreed, of)


def judged_wins(bench: Bench, score: Score) -> list[float]:
    """For each held-out prompt 1, a half or 0, as the candidate's answer has the higher score."""
    sides = []
    for answers in (bench.our_answers, bench.their_answers):
        talks = [
            [*prompt.prompt, Message(role="assistant", content=answer.text.strip() or "…")]
            for prompt, answer in zip(bench.asked, answers, strict=True)
        ]
        sides.append(score(talks))
    return [1.0 if a > b else 0.0 if a < b else 0.5 for a, b in zip(*sides, strict=True)]
