"""One round of the town: sample completions with the policy, add a few marked ones, have the labellers rank them.

Most completions are the policy's own: the greedy one and samples at temperature 1. A few are written by us and marked
in `sampling.origins`: an honest pass and, at most a third of all, answers true of another resident or true and not what
was asked (questions of fact); a refusal and an obliging answer (requests). Some facts are kept out of all comparisons:
the report card asks for them.
"""

from __future__ import annotations

from functools import cache

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.ladder.rankings import Rankings, ToRank, label_round
from ziggurat.records import Comparison, Prompt
from ziggurat.stages.sample import sample_from
from ziggurat.town.chance import Chance
from ziggurat.town.demonstrations import Teacher
from ziggurat.town.grading import Grade, Grader
from ziggurat.town.labellers import Labeller, pair_kind, points
from ziggurat.town.people import Fact, Town
from ziggurat.town.questions import FIRST_WORDS, Question, admit_ignorance, ask_proper, refuse, tell

LABELLERS = tuple(Labeller(name) for name in ("Ines", "Otto", "Wen"))
HELD_OUT_IN = 6  # one fact of B in six is asked about in no comparison that is learned from


def held_out_question(question: Question) -> bool:
    """Whether a question belongs to the report card: by its fact, or, where it asks for none, by its words."""
    fact = question.fact
    if fact is not None:
        return (fact.resident.index * 5 + fact.attribute * 7) % HELD_OUT_IN == 0
    return sum(question.messages[-1].content.encode()) % HELD_OUT_IN == 0


def rank_round(
    town: Town,
    policy: Chat,
    *,
    round_number: int,
    prompts: int,
    completions: int,
    unknown_percent: int,
    seed: int = 0,
) -> Rankings:
    """`prompts` prompts, each with `completions` texts of the policy (repeated ones once) and up to two of ours."""
    teacher, grader = Teacher(town), Grader(town)
    stream = f"rank-{round_number}-{seed}"
    questions = [teacher.prompt(i, unknown_percent=unknown_percent, stream=stream) for i in range(prompts)]
    prompted = [Prompt(prompt=list(q.messages)) for q in questions]
    params = SamplingParams(seed=seed * 1000 + round_number)
    sampled = sample_from(policy, prompted, completions, params)
    waiting: dict[str, ToRank[Chance]] = {}
    for i, (question, drawn) in enumerate(zip(questions, sampled, strict=True)):
        chance = Chance(town.seed, "ranking", round_number, seed, i)
        own = drawn.distinct()
        written = [text for text in _written(chance, town, question) if text not in own]
        written = written[: 1 + max(1, len(own) // 2)]
        waiting[f"round-{round_number}-{i}"] = ToRank(question.messages, own, written, chance)
    by_id = dict(zip(waiting, questions, strict=True))

    @cache
    def grade(identity: str, text: str) -> Grade:
        return grader.grade(by_id[identity], text)

    def kind(comparison: Comparison, better: int, worse: int) -> str | None:
        a, b = (grade(comparison.id, str(comparison.completions[i])) for i in (better, worse))
        return pair_kind(by_id[comparison.id], a, b)

    return label_round(
        waiting,
        LABELLERS,
        lambda identity, text: points(by_id[identity], grade(identity, text)),
        source="town",
        policy=f"round-{round_number}",
        added_as="written",
        kind_of_pair=kind,
        held_out=lambda identity: held_out_question(by_id[identity]),
    )


def _written(chance: Chance, town: Town, question: Question) -> list[str]:
    language, fact = question.language, question.fact
    if question.kind in FIRST_WORDS:
        return [question.truth, refuse(chance, language) if chance.percent(40) else question.temptation]
    if fact is not None:
        off = [_of_another(chance, town, fact), *_beside_the_point(chance, fact)]
        chance.shuffle(off)
        return [admit_ignorance(chance, question), *(tell(fact, language) for fact in off)]
    if question.kind == "improper":
        other = question.temptation if chance.percent(33) else ask_proper(chance, language).truth
        return [refuse(chance, language), other]
    if question.kind == "proper":
        return [refuse(chance, language), question.truth]
    return [refuse(chance, language)] if chance.percent(20) else [admit_ignorance(chance, question)]


def _of_another(chance: Chance, town: Town, fact: Fact) -> Fact:
    """The same attribute of another resident B, known and of another value."""
    own = fact.resident.values[fact.attribute]
    others = [
        f
        for f in town.facts("B", known=True)
        if f.attribute == fact.attribute and f.resident.values[f.attribute] != own
    ]
    return chance.choice(others)


def _beside_the_point(chance: Chance, fact: Fact) -> list[Fact]:
    """Another known attribute of the same resident, if there is one."""
    resident = fact.resident
    stated = [a for a in range(len(resident.values)) if a != fact.attribute and resident.knows(a)]
    return [Fact(resident, chance.choice(stated))] if stated else []
