"""What an answer must hold, by task type, and how near it is to a known value.

The values are those of the one store of judgements; docs/workbench.md describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

from ziggurat.errors import did_you_mean
from ziggurat.product.common import clean, clean_json, known
from ziggurat.product.errors import Invalid

MAX_COMMENT = 8_000
MAX_SPANS = 500
CANT_TELL = "cant_tell"
VERDICTS = (None, "tie", "both_bad")

Payload = Mapping[str, Any]
Value = Mapping[str, Any]


def checked(task: str, questions: Mapping[str, Any], payload: Payload, value: Any) -> dict[str, Any]:
    """The value as it is kept.

    Raises:
        Invalid: something is missing, unknown or out of range.
    """
    if not isinstance(value, Mapping):
        raise Invalid("value must be a JSON object.", param="value")
    found = CHECKS[task](questions, payload, clean_json(value))
    if value.get("comment"):
        found["comment"] = clean(value["comment"], "value.comment", limit=MAX_COMMENT)
    return found


def _completions(payload: Payload) -> dict[str, str]:
    return {str(one["id"]): str(one["content"]) for one in payload.get("completions", ())}


def _ranking(questions: Mapping[str, Any], payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("ranks", "not_rankable", "comment"))
    ids, ranks = list(_completions(payload)), value.get("ranks") or {}
    unacceptable = _truth(value.get("not_rankable", False), "value.not_rankable")
    if not isinstance(ranks, Mapping) or (unacceptable and not ranks):
        ranks = {}
    if unacceptable and not ranks:
        return {"ranks": {}, "not_rankable": True}
    if set(ranks) != set(ids):
        raise Invalid(
            f"ranks names {len(ranks)} completions; it must name each of the {len(ids)} of the item, by id.",
            param="value.ranks",
        )
    numbers = {one: _whole(ranks[one], f"value.ranks.{one}", 1, len(ids)) for one in ids}
    if not questions["ties"] and len(set(numbers.values())) < len(ids):
        raise Invalid("this project allows no ties; give each completion its own rank.", param="value.ranks")
    dense = {rank: n for n, rank in enumerate(sorted(set(numbers.values())), start=1)}
    return {"ranks": {one: dense[rank] for one, rank in numbers.items()}, "not_rankable": unacceptable}


def _pairwise(questions: Mapping[str, Any], _payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("strength", "verdict", "comment"))
    most = (questions["points"] - 1) // 2
    verdict = value.get("verdict")
    if verdict not in VERDICTS:
        raise Invalid(f'verdict is {verdict!r}; it must be null, "tie" or "both_bad".', param="value.verdict")
    strength = _whole(value.get("strength", 0), "value.strength", -most, most)
    if (verdict is None) == (strength == 0):
        raise Invalid(
            "strength must be 0 with a verdict, and another number without one.", param="value.strength"
        )
    return {"strength": strength, "verdict": verdict}


def _labels(questions: Mapping[str, Any], _payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("labels", "comment"))
    given = value.get("labels")
    if not isinstance(given, Mapping):
        raise Invalid("labels must be a JSON object of label and value.", param="value.labels")
    asked = {label["key"]: label for label in questions["labels"]}
    for key in given:
        if key not in asked:
            raise Invalid(f'there is no label "{key}".{did_you_mean(key, asked)}', param="value.labels")
    found: dict[str, Any] = {}
    for key, label in asked.items():
        if given.get(key) is None:
            if label["required"]:
                raise Invalid(f"the label {key} is missing; every answer needs it.", param="value.labels")
            continue
        found[key] = _label(label, given[key])
    if not found:
        raise Invalid("no label has a value; set at least one.", param="value.labels", code="empty")
    return {"labels": found}


def _label(label: Mapping[str, Any], value: Any) -> Any:
    where = f"value.labels.{label['key']}"
    if value == CANT_TELL:
        return value
    if label["scale"] == "binary":
        return _truth(value, where)
    if label["scale"] == "likert":
        return _whole(value, where, 1, label["points"])
    keys = [option["key"] for option in label["options"]]
    if value not in keys:
        raise Invalid(f"{where} is {value!r}; it must be one of {', '.join(keys)}.", param=where)
    return value


def _spans(questions: Mapping[str, Any], payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("spans", "comment"))
    given, texts = value.get("spans"), _completions(payload)
    if not isinstance(given, list) or len(given) > MAX_SPANS:
        raise Invalid(f"spans must be a list of at most {MAX_SPANS}.", param="value.spans")
    keys = [label["key"] for label in questions["labels"]]
    found = []
    for n, span in enumerate(given):
        where = f"value.spans.{n}"
        if not isinstance(span, Mapping) or span.get("completion") not in texts:
            raise Invalid(f"{where} must name a completion of the item.", param=where)
        if span.get("label") not in keys:
            raise Invalid(
                f"{where}.label is {span.get('label')!r}; it must be one of {', '.join(keys)}.", param=where
            )
        length = len(texts[span["completion"]])
        start = _whole(span.get("start"), f"{where}.start", 0, length)
        end = _whole(span.get("end"), f"{where}.end", start + 1, max(length, start + 1))
        if end > length:
            raise Invalid(f"{where} ends after the text, which has {length:,} characters.", param=where)
        note = clean(span.get("comment") or "", f"{where}.comment", limit=MAX_COMMENT, empty=True)
        found.append(
            {
                "completion": span["completion"],
                "start": start,
                "end": end,
                "label": span["label"],
                "comment": note,
            }
        )
    order = list(texts)
    found.sort(key=lambda span: (order.index(span["completion"]), span["start"], span["end"], span["label"]))
    return {"spans": found}


def _demonstration(questions: Mapping[str, Any], _payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("messages", "comment"))
    given = value.get("messages")
    if not isinstance(given, list) or not given or len(given) > 20:
        raise Invalid("messages must be a list of 1 to 20 answers.", param="value.messages")
    found = []
    for n, message in enumerate(given):
        where = f"value.messages.{n}"
        if not isinstance(message, Mapping) or message.get("role") not in ("assistant", "user"):
            raise Invalid(f"{where} must have a role, user or assistant, and a content.", param=where)
        found.append({"role": message["role"], "content": _written(questions, message.get("content"), where)})
    if found[-1]["role"] != "assistant":
        raise Invalid("the last of messages must be an answer (role assistant).", param="value.messages")
    return {"messages": found}


def _prompt(questions: Mapping[str, Any], _payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("prompt_kind", "text", "examples", "use_case", "comment"))
    kind, kinds = value.get("prompt_kind"), questions["kinds"]
    if kind not in kinds:
        raise Invalid(
            f"prompt_kind is {kind!r}; it must be one of {', '.join(kinds)}.", param="value.prompt_kind"
        )
    found: dict[str, Any] = {
        "prompt_kind": kind,
        "text": _written(questions, value.get("text"), "value.text"),
    }
    if kind == "few_shot":
        examples = value.get("examples")
        if not isinstance(examples, list) or not 1 <= len(examples) <= 20:
            raise Invalid("a few-shot prompt needs 1 to 20 examples.", param="value.examples")
        found["examples"] = [
            {
                side: clean(
                    one.get(side) if isinstance(one, Mapping) else None,
                    f"value.examples.{n}.{side}",
                    limit=8_000,
                )
                for side in ("input", "output")
            }
            for n, one in enumerate(examples)
        ]
    if kind == "user_based" or value.get("use_case"):
        found["use_case"] = clean(value.get("use_case") or "", "value.use_case", limit=500)
    return found


def _rewrite(questions: Mapping[str, Any], payload: Payload, value: Value) -> dict[str, Any]:
    known(value, ("text", "of", "comment"))
    texts = _completions(payload)
    of = value.get("of", next(iter(texts), None))
    if of not in texts:
        raise Invalid("of must be the id of the completion that was rewritten.", param="value.of")
    text = _written(questions, value.get("text"), "value.text")
    if text.strip() == texts[of].strip():
        raise Invalid("the text is the answer itself; change it first.", param="value.text", code="unchanged")
    return {"text": text, "of": of}


CHECKS: dict[str, Callable[[Mapping[str, Any], Payload, Value], dict[str, Any]]] = {
    "ranking": _ranking,
    "pairwise": _pairwise,
    "labels": _labels,
    "spans": _spans,
    "demonstration": _demonstration,
    "prompt": _prompt,
    "rewrite": _rewrite,
}


def _written(questions: Mapping[str, Any], text: Any, where: str) -> str:
    found = clean(text, where, limit=questions["max_chars"])
    if len(found.strip()) < questions["min_chars"]:
        raise Invalid(
            f"{where} has {len(found.strip())} characters; this project asks for at least {questions['min_chars']}.",
            param=where,
            code="too_short",
        )
    return found


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{where} must be true or false.", param=where)
    return value


def _whole(value: Any, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(f"{where} is {value!r}; it must be a whole number from {low} to {high}.", param=where)
    return value


# --- nearness to a known value ----------------------------------------------------------------------------------------


def score(task: str, value: Value, gold: Value | None) -> float | None:
    """How well an answer agrees with a known value, 0 to 1; None where nothing can be compared (written texts)."""
    if gold is None:
        return None
    if task == "ranking":
        return _rank_score(value, gold)
    if task == "pairwise":
        return float(_sign(value) == _sign(gold) and value["verdict"] == gold["verdict"])
    if task == "labels":
        return _label_score(value["labels"], gold["labels"])
    if task == "spans":
        return _span_score(value["spans"], gold["spans"])
    return None


def _rank_score(value: Value, gold: Value) -> float:
    """Share of the pairs of completions that both order alike, a tie counting as an order of its own."""
    if not value["ranks"] or not gold["ranks"]:
        return float(bool(value["not_rankable"]) == bool(gold["not_rankable"]))
    ours, theirs = value["ranks"], gold["ranks"]
    pairs = list(combinations(sorted(theirs), 2))
    alike = sum(_order(ours, a, b) == _order(theirs, a, b) for a, b in pairs)
    return alike / len(pairs)


def _order(ranks: Mapping[str, int], a: str, b: str) -> int:
    return (ranks[a] > ranks[b]) - (ranks[a] < ranks[b])


def _sign(value: Value) -> int:
    return int(value["strength"] > 0) - int(value["strength"] < 0)


def _label_score(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float | None:
    """Share of the known labels that agree; on a scale, one point of difference is agreement."""
    if not theirs:
        return None
    return sum(_alike(ours.get(key), known_value) for key, known_value in theirs.items()) / len(theirs)


def _alike(ours: Any, theirs: Any) -> bool:
    numbers = [v for v in (ours, theirs) if isinstance(v, int) and not isinstance(v, bool)]
    return (
        abs(ours - theirs) <= 1 if len(numbers) == 2 else ours is theirs or (ours == theirs and not numbers)
    )


def _span_score(ours: list[Any], theirs: list[Any]) -> float:
    """F1 over the marked characters with their labels."""
    mine, known_marks = _marks(ours), _marks(theirs)
    if not mine and not known_marks:
        return 1.0
    return 2 * len(mine & known_marks) / (len(mine) + len(known_marks))


def _marks(spans: list[Any]) -> set[tuple[str, str, int]]:
    return {
        (span["completion"], span["label"], at) for span in spans for at in range(span["start"], span["end"])
    }


def unchanged(task: str, value: Value, shown: list[str]) -> bool:
    """Whether a ranking is exactly the order of the screen: the labeller may have changed nothing."""
    ranks = value.get("ranks") or {}
    return task == "ranking" and [ranks.get(one) for one in shown] == list(range(1, len(shown) + 1))


def kinds_of(task: str) -> tuple[int, int]:
    """How few and how many completions an item of this task has."""
    return {
        "ranking": (2, 9),
        "pairwise": (2, 2),
        "labels": (0, 1),
        "spans": (1, 9),
        "demonstration": (0, 1),
        "rewrite": (1, 1),
        "prompt": (0, 0),
    }[task]
