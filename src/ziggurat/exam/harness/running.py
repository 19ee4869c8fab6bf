"""Puts the documents of task files to a candidate, and marks what is found by the files' own metrics.

A document becomes an `Item`: `raw` is its prompt, `choices` are continuations with the delimiter before them, `stratum`
the task's name. Tasks are asked as raw text, as the harness asks without `--apply_chat_template`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.candidate import Ask, Candidate, Likelihood
from ziggurat.exam.harness.prompts import MAX_GEN_TOKENS, HarnessTask
from ziggurat.exam.harness.scoring import AVERAGE_OF, AVERAGES, choice_scores, exact_match, filtered
from ziggurat.exam.item import Found, Item, Mark


def items_of(task: HarnessTask, shots: int | None, limit: int | None, seed: int = 0) -> list[Item]:
    """One for each document, in order."""
    found = []
    for number, (doc, prompt) in enumerate(task.prompts(task.shots(shots), limit, seed)):
        choices: Sequence[str] = ()
        target = task.target(doc)
        raw = prompt
        if task.output == "multiple_choice":
            choices = [task.delimiter + choice for choice in task.choices(doc)]
        elif task.output == "loglikelihood":
            choices = [str(target)]
        elif task.output == "loglikelihood_rolling":
            raw = str(target)
        found.append(
            Item(
                id=f"{task.name}/{number}",
                raw=raw,
                choices=tuple(choices),
                target=target,
                stratum=task.name,
                row=doc,
            )
        )
    return found


def sit(candidate: Candidate, task: HarnessTask, items: Sequence[Item], seed: int = 0) -> list[Found]:
    """What a candidate does with documents of one task, marked."""
    if task.output == "generate_until":
        return [
            _found(item, answers, _written(task, item, answers))
            for item, answers in zip(items, _generated(candidate, task, items, seed), strict=True)
        ]
    if task.output == "loglikelihood_rolling":
        read = candidate.text_nats([item.raw for item in items])
        return [
            _found(item, (), _rolled(task, item, nats)) for item, (nats, _) in zip(items, read, strict=True)
        ]
    alone: list[list[Likelihood]] | None = None
    if task.output == "multiple_choice" and any(one["metric"] == "acc_mutual_info" for one in task.metrics):
        alone = candidate.likelihoods([("", item.choices) for item in items])
    given = candidate.likelihoods([(item.raw, item.choices) for item in items])  # last, for with_cuts
    if task.output == "loglikelihood":
        return [
            _found(item, (), _predicted(task, item, one)) for item, (one,) in zip(items, given, strict=True)
        ]
    return [
        _chosen(task, item, one, alone[i] if alone else None)
        for i, (item, one) in enumerate(zip(items, given, strict=True))
    ]


def _found(item: Item, answers: Sequence[str], mark: Mark) -> Found:
    return Found(item.id, item.stratum, item.cluster, item.pair, tuple(answers), mark)


# --- marks ----------------------------------------------------------------------------------------------------------


def _mark(values: Mapping[str, Any], good: bool = True, **detail: Any) -> Mark:
    """`values`: of every metric, by its name, or `name,filter`. The score is the first that is no perplexity, the same
    metric for every document."""
    numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    plain = [value for name, value in numbers.items() if "perplexity" not in name]
    score = next(iter(plain or numbers.values()), 0.0)
    detail = detail | {"values": dict(values)}
    return Mark({"score": score, **numbers}, "" if good else "another answer is right", detail)


def _own_results(task: HarnessTask, doc: Mapping[str, Any], results: list[Any]) -> Mapping[str, Any] | None:
    process = task.settings.get("process_results")
    return None if process is None else process(dict(doc), results)


def _chosen(
    task: HarnessTask, item: Item, given: Sequence[Likelihood], alone: Sequence[Likelihood] | None
) -> Found:
    choices = [choice.removeprefix(task.delimiter) for choice in item.choices]
    both = [*given, *(alone or ())]
    values = _own_results(task, item.row, [(one.nats, one.greedy) for one in both])
    if values is None:
        scores = choice_scores(choices, given, alone, item.target)
        values = {metric["metric"]: scores[metric["metric"]] for metric in task.metrics}
    nats = [one.nats for one in given]
    picked = nats.index(max(nats))
    right = item.target if isinstance(item.target, int) else None
    mark = _mark(
        values,
        right is None or picked == right,
        picked=picked,
        right=right,
        scores=[round(value, 6) for value in nats],
        tokens=[one.tokens for one in given],
    )
    return _found(item, (choices[picked],), mark)


def _predicted(task: HarnessTask, item: Item, one: Likelihood) -> Mark:
    values = _own_results(task, item.row, [(one.nats, one.greedy)])
    if values is None:
        found = {"perplexity": one.nats, "acc": float(one.greedy)}
        values = {metric["metric"]: found[metric["metric"]] for metric in task.metrics}
    return _mark(values, nats=one.nats, tokens=one.tokens)


def _rolled(task: HarnessTask, item: Item, nats: float) -> Mark:
    values = _own_results(task, item.row, [nats])
    size, words = len(item.raw.encode()), len(re.split(r"\s+", item.raw))
    if values is None:
        found = {
            "word_perplexity": (nats, words),
            "byte_perplexity": (nats, size),
            "bits_per_byte": (nats, size),
        }
        values = {metric["metric"]: found[metric["metric"]] for metric in task.metrics}
    mark = _mark(values, nats=-nats, bytes=size, words=words, weight=size)
    return Mark({**mark.scores, "score": AVERAGES["bits_per_byte"]([(nats, size)])}, mark.why, mark.detail)


def _written(task: HarnessTask, item: Item, answers: Sequence[str]) -> Mark:
    values: dict[str, Any] = {}
    for pipeline in task.filters:
        answer, name = filtered(answers, pipeline["filter"]), pipeline["name"]
        own = _own_results(task, item.row, [answer])
        if own is None:
            own = {metric["metric"]: _compared(task, item, answer, metric) for metric in task.metrics}
        values |= {f"{metric},{name}": value for metric, value in own.items()}
    return _mark(values, bool(max((v for v in values.values() if isinstance(v, int | float)), default=0)))


def _compared(task: HarnessTask, item: Item, answer: Any, metric: Mapping[str, Any]) -> float:
    kept = ("regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers")
    options = {name: metric[name] for name in kept if name in metric}
    gold: Any = item.target
    if task.settings.get("doc_to_choice") is not None:
        gold = task.choices(dict(item.row))[int(gold)]
    golds = (gold if isinstance(gold, list) else [gold]) if task.many else [gold]
    answered = answer[0] if isinstance(answer, list) else answer
    return max(exact_match(str(answered), str(one), **options) for one in golds)


# --- generation -------------------------------------------------------------------------------------------------------

ALIASES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SETTINGS = frozenset({*ALIASES, "until", "do_sample", "temperature"})


def ask_of(task: HarnessTask, seed: int = 0) -> Ask:
    """`generation_kwargs`, read as the harness's `normalize_gen_kwargs` reads them."""
    given = task.generation
    for key in given.keys() - SETTINGS:
        raise UsageError(
            f"the task {task.name} has generation_kwargs.{key}; {', '.join(sorted(SETTINGS))} are read here."
        )
    temperature = float(given.get("temperature") or 0.0)
    until = given["until"]
    return Ask(
        max_tokens=int(
            next((given[name] for name in ALIASES if given.get(name) is not None), MAX_GEN_TOKENS)
        ),
        temperature=temperature if given.get("do_sample", temperature > 0) else 0.0,
        samples=int(task.settings.get("repeats") or 1),
        stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        seed=seed,
    )


def _generated(
    candidate: Candidate, task: HarnessTask, items: Sequence[Item], seed: int
) -> list[tuple[str, ...]]:
    ask = ask_of(task, seed)
    written = candidate.continuations([item.raw for item in items], ask)
    return [tuple(_stopped(text, ask.stop) for text in texts) for texts in written]


def _stopped(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text


# --- figures ----------------------------------------------------------------------------------------------------------


def figures(task: HarnessTask, found: Sequence[Found]) -> dict[str, float]:
    """Every metric of a task as the harness's result table names it: `acc,none`, `exact_match,strict-match`."""
    averages = {
        str(metric["metric"]): metric.get("aggregation") or AVERAGE_OF.get(metric["metric"], "mean")
        for metric in task.metrics
    }
    results: dict[str, float] = {}
    for name in found[0].mark.detail["values"] if found else ():
        values = [one.mark.detail["values"][name] for one in found]
        metric = name.partition(",")[0]
        average = averages.get(metric, "mean")
        compute = average if callable(average) else AVERAGES[average]
        results[name if "," in name else f"{name},none"] = float(compute(values))
    return results
