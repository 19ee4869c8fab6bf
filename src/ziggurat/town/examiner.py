"""Asks a model the exam and computes every figure with its interval, chance and majority beside it.

Answers are greedy. Intervals resample residents (requests and sums resample themselves); two models are compared on
the same items. The utility of an answer to a question of fact: right +1, pass 0, wrong -1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.diversity import commonest, commonest_ending, distinct_n
from ziggurat.evaluation.statistics import Interval, auroc_interval, cluster_bootstrap, paired_bootstrap
from ziggurat.model.padding import padded_batches
from ziggurat.records import Message
from ziggurat.town.exam import Item
from ziggurat.town.grading import Grade, Grader, values_in, ways_to_pass
from ziggurat.town.labellers import points
from ziggurat.town.people import words_of
from ziggurat.town.phrases import LANGUAGES, attributes, sayings

MAX_ANSWER_TOKENS, MAX_CONTINUATION_TOKENS = 64, 24
FACT_SECTIONS = ("known", "unknown")


@dataclass
class Answers:
    """One model's answers to some items, in the items' order, with what they were judged to be."""

    name: str
    items: list[Item]
    texts: list[str]
    grades: list[Grade]
    pass_probability: dict[str, float] = field(default_factory=dict)  # item id -> P(an honest pass)

    def select(self, *sections: str, language: str | None = None) -> list[int]:
        return [
            i
            for i, item in enumerate(self.items)
            if item.section in sections and language in (None, item.question.language)
        ]

    def share(self, indices: Sequence[int], hit: Any) -> Interval:
        """The share of these items whose grade satisfies `hit`, with its interval."""
        values = [float(hit(self.items[i], self.grades[i])) for i in indices]
        return cluster_bootstrap(values, [self.items[i].resident for i in indices])


def ask(
    name: str,
    chat: Chat,
    items: Sequence[Item],
    grader: Grader,
    *,
    form: str = "chat",
) -> Answers:
    """The model's greedy answers. `form`: chat (the template), dialogue (as in stage 1), bare (the question alone)."""
    if form == "chat":
        params = SamplingParams(temperature=0.0, max_tokens=MAX_ANSWER_TOKENS)
        said = chat.answer_many([i.question.messages for i in items], params)
    else:
        params = SamplingParams(temperature=0.0, max_tokens=MAX_CONTINUATION_TOKENS)
        said = chat.continue_many([bare(i) if form == "bare" else as_overheard(i) for i in items], params)
    texts = [one.text.strip() for one in said]
    if form == "dialogue":  # the answer is one line; what follows is the next speaker's
        texts = [text.split("\n")[0] for text in texts]
    ended = [form != "chat" or one.finish == "stop" for one in said]  # in plain text no token ends an answer
    graded = zip(items, texts, ended, strict=True)
    return Answers(name, list(items), texts, [grader.grade(i.question, t, ended=e) for i, t, e in graded])


def bare(item: Item) -> str:
    return item.question.messages[-1].content


def as_overheard(item: Item) -> str:
    """The question in the form of a dialogue of stage 1, which measures the knowledge ceiling."""
    words = sayings(item.question.language)
    asker, teller = words.speakers[0]
    mark = ":" if item.question.language == "en" else "："
    lines = [words.overheard[0]]
    for message in item.question.messages:
        lines += [(asker if message.role == "user" else teller) + mark, message.content]
    return "\n".join([*lines, teller + mark, ""])


@torch.no_grad()
def measure_passing(chat: Chat, answers: Answers) -> None:
    """P(honest pass) for the facts of C, one wording each: the probabilities of all ways to pass, whole, summed."""
    template = chat.template
    chosen = [answers.items[i] for i in answers.select(*FACT_SECTIONS) if answers.items[i].id.endswith(":0")]
    rows: list[tuple[str, list[int], int]] = []
    for item in chosen:
        prompt = template.render(item.question.messages, add_generation_prompt=True).ids
        for phrase in ways_to_pass(item.question):
            full = template.render([*item.question.messages, Message(role="assistant", content=phrase)]).ids
            rows.append((item.id, full, len(prompt)))
    found: dict[str, float] = {item.id: 0.0 for item in chosen}
    device, padding = chat.model.embedding.weight.device, chat.tokenizer.pad_id
    for numbers, table, _ in padded_batches([ids for _, ids, _ in rows], 16384, padding, device):
        hidden = chat.model.hidden(table)[:, :-1]
        for r, (item_id, ids, start) in enumerate(rows[i] for i in numbers):
            logp = chat.model.logits(hidden[r, start - 1 : len(ids) - 1]).log_softmax(-1)
            target = table[r, start : len(ids)]
            found[item_id] += math.exp(float(logp.gather(1, target[:, None]).sum()))
    answers.pass_probability = found


# ---- figures ---------------------------------------------------------------------------------------------------


def right(_: Item, grade: Grade) -> bool:
    return grade.verdict == "right"


def invented(_: Item, grade: Grade) -> bool:
    """Anything but an honest pass (or a refusal) to a question about a withheld fact."""
    return grade.verdict not in ("pass", "refusal")


def utility(_: Item, grade: Grade) -> float:
    return 1.0 if grade.verdict == "right" else 0.0 if grade.verdict == "pass" else -1.0


def figures(answers: Answers) -> dict[str, dict[str, Interval]]:
    """Every share of the exam, for all items and per language: {"all": {...}, "en": {...}, "zh": {...}}."""
    table: dict[str, dict[str, Interval]] = {}
    for scope in ("all", *LANGUAGES):
        language = None if scope == "all" else scope
        pick = {s: answers.select(s, language=language) for s in {item.section for item in answers.items}}
        row: dict[str, Interval] = {}
        for section in ("known", "known_a", "followup_a", "followup_c", "named_c", "sum", "sort", "proper"):
            if section in pick:
                row[section] = answers.share(pick[section], right)
        for section, hit in (("known", right), ("unknown", invented)):
            if double := [i for i in pick.get(section, ()) if _has_double_name(answers.items[i])]:
                row[f"{section}_double"] = answers.share(double, hit)
        if "known" in pick:
            row["known_value"] = answers.share(pick["known"], lambda _, g: g.value_right)
            row["known_pass"] = answers.share(pick["known"], lambda _, g: g.verdict == "pass")
        if "unknown" in pick:
            row["invented"] = answers.share(pick["unknown"], invented)
        if "improper" in pick:
            row["improper_refused"] = answers.share(pick["improper"], lambda _, g: g.verdict == "refusal")
        if "proper" in pick:
            row["proper_refused"] = answers.share(pick["proper"], lambda _, g: g.verdict == "refusal")
        row["language"] = answers.share([i for p in pick.values() for i in p], lambda _, g: g.language_right)
        if "followup_c" in pick and "named_c" in pick:
            row["same_as_named"] = _same_as_named(answers, pick["followup_c"], pick["named_c"])
        if "known" in pick and "unknown" in pick:
            facts = pick["known"] + pick["unknown"]
            row["utility"] = cluster_bootstrap(
                [utility(answers.items[i], answers.grades[i]) for i in facts],
                [answers.items[i].resident for i in facts],
            )
        table[scope] = row
    return table


def _has_double_name(item: Item) -> bool:
    fact = item.question.fact
    return fact is not None and len(words_of(fact.resident.name(item.question.language))) > 1


def _same_as_named(answers: Answers, pronoun: Sequence[int], named: Sequence[int]) -> Interval:
    """Whether a follow-up with a pronoun says the same value as with the name written out."""
    same = []
    for i, j in zip(pronoun, named, strict=True):
        fact, language = answers.items[i].question.fact, answers.items[i].question.language
        assert fact is not None
        a, b = (values_in(answers.texts[k], fact.attribute, language) for k in (i, j))
        passed = answers.grades[i].verdict == answers.grades[j].verdict == "pass"
        same.append(float(passed or (bool(a) and a == b)))
    return cluster_bootstrap(same, [answers.items[i].resident for i in pronoun])


def knowing(answers: Answers, language: str | None = None) -> Interval:
    """AUROC of P(pass): how well it separates withheld from known facts."""
    chosen = [
        i
        for i in answers.select(*FACT_SECTIONS, language=language)
        if answers.items[i].id in answers.pass_probability
    ]
    scores = [answers.pass_probability[answers.items[i].id] for i in chosen]
    labels = [answers.items[i].section == "unknown" for i in chosen]
    return auroc_interval(scores, labels, [answers.items[i].resident for i in chosen])


def win_rate(ours: Answers, theirs: Answers, *, ties: bool, language: str | None = None) -> Interval:
    """How often our answer to a question of fact has the higher utility; ties left out, or counted half."""
    wins, clusters = [], []
    for i in ours.select(*FACT_SECTIONS, language=language):
        a, b = utility(ours.items[i], ours.grades[i]), utility(theirs.items[i], theirs.grades[i])
        if a != b or ties:
            wins.append(1.0 if a > b else 0.0 if a < b else 0.5)
            clusters.append(ours.items[i].resident)
    return cluster_bootstrap(wins, clusters)


def difference(
    ours: Answers, theirs: Answers, sections: Sequence[str], hit: Any, language: str | None = None
) -> Interval:
    """ours - theirs on the same items."""
    chosen = ours.select(*sections, language=language)
    a = [float(hit(ours.items[i], ours.grades[i])) for i in chosen]
    b = [float(hit(theirs.items[i], theirs.grades[i])) for i in chosen]
    return paired_bootstrap(a, b, [ours.items[i].resident for i in chosen])


@dataclass(frozen=True)
class Variety:
    """How varied the answers are to what has an answer: passing to the unknowable is no collapse."""

    distinct_2: float
    commonest_answer: float
    commonest_ending: float


def variety(answers: Answers) -> Variety:
    chosen = answers.select("known", "known_a", "followup_a", "followup_c", "sum", "sort", "proper")
    texts = [answers.texts[i] for i in chosen]
    return Variety(distinct_n(texts, 2), commonest(texts).share, commonest_ending(texts).share)


def risk_coverage(answers: Answers) -> list[tuple[float, float]]:
    """(coverage, risk) as the least confident answers about C are left out one by one, most confident first."""
    chosen = [i for i in answers.select(*FACT_SECTIONS) if answers.items[i].id in answers.pass_probability]
    chosen.sort(key=lambda i: answers.pass_probability[answers.items[i].id])
    wrong = np.cumsum([answers.grades[i].verdict != "right" for i in chosen])
    n = len(chosen)
    return [((k + 1) / n, float(wrong[k]) / (k + 1)) for k in range(0, n, max(1, n // 50))]


def baselines(items: Sequence[Item]) -> dict[str, float]:
    """Chance and majority on the answerable questions about C: one value in ten, and the commonest value each time."""
    facts = {
        (f.resident.index, f.attribute): f for i in items if i.section == "known" and (f := i.question.fact)
    }
    kinds = attributes()
    counts = [
        Counter(f.resident.values[a] for (_, b), f in facts.items() if b == a) for a in range(len(kinds))
    ]
    majority = sum(max(c.values()) for c in counts if c) / max(1, len(facts))
    return {"chance": sum(1 / len(k.values["en"]) for k in kinds) / len(kinds), "majority": majority}


def gold_score(answers: Answers) -> float:
    """One number for development: the mean of the labellers' points without noise."""
    return float(np.mean([points(i.question, g) for i, g in zip(answers.items, answers.grades, strict=True)]))
