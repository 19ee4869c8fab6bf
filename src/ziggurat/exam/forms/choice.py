"""The likeliest of given continuations; with `generate`, the letter that is read from what the model writes.

All four ways of comparing are marked, and `normalise` of the task says which one is the score:

    none        log p(choice | question)                       lm-evaluation-harness's acc
    token       the same, divided by the choice's tokens
    byte        the same, divided by its bytes                 lm-evaluation-harness's acc_bytes (acc_norm: characters)
    calibrated  the same, less log p(choice | empty question)  Zhao et al., arXiv:2102.09690; PMI: Holtzman et al.,
                                                               arXiv:2104.08315

Of equal values the first choice counts, as in the harness. `brier` and `right_p` are smooth: the squared error, and the
probability of the right choice, among the choices by the task's way of comparing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ziggurat.exam.candidate import Candidate, Likelihood
from ziggurat.exam.forms.answer import found, write
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics.letters import letter_in
from ziggurat.exam.reading import Task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import are_letters, choices_of, final, joint
from ziggurat.records import Message

EMPTY = {"en": "Answer:", "zh": "答案："}
"""The empty question of calibration."""


def sit(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    if switches.generate:
        return _written(candidate, task, items, switches)
    questions: list[tuple[str | Sequence[Message], Sequence[str]]] = [
        (item.messages if switches.chat else item.raw, item.choices) for item in items
    ]
    calibrated = task.file.normalise == "calibrated"
    empty = candidate.likelihoods([_empty(task, item, switches) for item in items]) if calibrated else None
    given = candidate.likelihoods(questions)  # the last call: what is cut are these prompts
    results = []
    for number, item in enumerate(items):
        mark = compare(item, given[number], empty[number] if empty else None, task.file.normalise)
        results.append(found(item, (item.choices[mark.detail["picked"]].strip(),), mark))
    return results


def compare(
    item: Item, given: Sequence[Likelihood], empty: Sequence[Likelihood] | None, normalise: str
) -> Mark:
    """The mark of a choice from the likelihoods of all; `empty`: those after an empty question."""
    ways = {
        "none": [one.nats for one in given],
        "token": [one.nats / max(1, one.tokens) for one in given],
        "byte": [
            one.nats / max(1, len(text.encode())) for one, text in zip(given, _texts(item), strict=True)
        ],
    }
    if empty is not None:
        ways["calibrated"] = [one.nats - before.nats for one, before in zip(given, empty, strict=True)]
    picks = {name: values.index(max(values)) for name, values in ways.items()}
    scores = {name: float(pick == item.target) for name, pick in picks.items()}
    compared = ways[normalise]
    shares = softmax(compared)
    picked = picks[normalise]
    wanted = [float(i == item.target) for i in range(len(shares))]
    return Mark(
        {
            "score": scores[normalise],
            **scores,
            "right_p": shares[item.target],
            "brier": sum((p - w) ** 2 for p, w in zip(shares, wanted, strict=True)),
        },
        "" if picked == item.target else f"right is {item.choices[item.target].strip()}",
        _detail(item, picked)
        | {
            "scores": [round(value, 6) for value in compared],
            "nats": [round(one.nats, 6) for one in given],
        },
    )


def _texts(item: Item) -> list[str]:
    """The choices without the blank that joins them to raw text: the harness does not count it either."""
    return [choice.removeprefix(joint(item.raw)) for choice in item.choices]


def _detail(item: Item, picked: int | None) -> dict[str, object]:
    return {"picked": picked, "right": item.target, "answer": picked, "target": item.target}


def softmax(values: Sequence[float]) -> list[float]:
    """Shares of exp(value), which add up to 1."""
    most = max(values)
    weights = [math.exp(value - most) for value in values]
    return [weight / sum(weights) for weight in weights]


def _empty(task: Task, item: Item, switches: Switches) -> tuple[str | Sequence[Message], Sequence[str]]:
    text = EMPTY.get(task.file.language, EMPTY["en"])
    if switches.chat:
        return (Message(role="user", content=text),), item.choices
    return text, [joint(text) + choice.strip() for choice in item.choices]


def _written(candidate: Candidate, task: Task, items: Sequence[Item], switches: Switches) -> list[Found]:
    results = []
    for item, answers in zip(items, write(candidate, task, items, switches), strict=True):
        choices = choices_of(task, item.row)
        texts = () if are_letters(choices) else choices
        picks = [
            letter_in(final(answer) if switches.think else answer, texts, len(choices)) for answer in answers
        ]
        right = sum(pick == item.target for pick in picks) / len(picks)
        read = sum(pick is not None for pick in picks) / len(picks)
        first = picks[0]
        why = "" if first == item.target else "no letter" if first is None else f"picked {choices[first]}"
        results.append(found(item, answers, Mark({"score": right, "read": read}, why, _detail(item, first))))
    return results
