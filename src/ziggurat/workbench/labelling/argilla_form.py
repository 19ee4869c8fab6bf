"""Items and answers in Argilla's form and back (github.com/argilla-io/argilla, SDK 2.8: settings.json, records.json).

    fields        messages (chat), brief, completion_1 ... completion_K (text)
    ranking       a ranking question over the completions, and the label not_rankable
    pairwise      the label preference: -3 ... 3, tie, both_bad
    labels        a rating for each scale; a label with yes, no, cant_tell for each binary one; options as they are;
                  cant_tell names the scales that the person could not judge
    spans         a span question for each completion
    texts         the text answer (and, of prompts, prompt_kind, use_case, examples)

Comments of spans are not kept; everything else comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.workbench.labelling.values import CANT_TELL

COMMENT, ANSWER = "comment", "answer"
BOOL = {True: "yes", False: "no", CANT_TELL: CANT_TELL}
BACK = {word: value for value, word in BOOL.items()}
NOTES = ("Comments of spans are not in it.",)


def settings(
    task: str, questions: Mapping[str, Any], guidelines: str, k: int, *, brief: bool
) -> dict[str, Any]:
    """`settings.json`; k: the most completions of an item."""
    fields = [_field("messages", {"type": "chat", "use_markdown": True}, required=task != "prompt")]
    if brief:
        fields.append(_field("brief", {"type": "text", "use_markdown": False}, required=False))
    names = completion_names(k)
    for n, name in enumerate(names):
        fields.append(_field(name, {"type": "text", "use_markdown": True}, required=n == 0))
    asked = _questions(task, questions, names)
    asked.append(_question(COMMENT, {"type": "text", "use_markdown": False}, required=False))
    return {
        "guidelines": guidelines or None,
        "questions": asked,
        "fields": fields,
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def completion_names(k: int) -> list[str]:
    return [f"completion_{n}" for n in range(1, k + 1)]


def _field(name: str, chosen: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "title": name, "required": required, "description": None, "settings": dict(chosen)}


def _question(
    name: str, chosen: Mapping[str, Any], *, required: bool = True, title: str = ""
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title or name,
        "description": None,
        "required": required,
        "settings": dict(chosen),
    }


def _options(values: Sequence[str]) -> list[dict[str, str]]:
    return [{"value": value, "text": value} for value in values]


def _choice(name: str, values: Sequence[str], *, required: bool = True, title: str = "") -> dict[str, Any]:
    return _question(
        name,
        {"type": "label_selection", "options": _options(values), "visible_options": None},
        required=required,
        title=title,
    )


def _text(name: str, *, required: bool = True) -> dict[str, Any]:
    return _question(name, {"type": "text", "use_markdown": True}, required=required)


def _questions(task: str, questions: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    if task == "ranking":
        ranking = _question("ranking", {"type": "ranking", "options": _options(names)}, required=False)
        return [ranking, _choice("not_rankable", ("yes", "no"), required=False)]
    if task == "pairwise":
        most = (questions["points"] - 1) // 2
        strengths = [str(n) for n in range(-most, most + 1) if n]
        return [_choice("preference", [*strengths, "tie", "both_bad"])]
    if task == "labels":
        return _label_questions(questions["labels"])
    if task == "spans":
        keys = [label["key"] for label in questions["labels"]]
        return [
            _question(
                f"spans_{name}",
                {
                    "type": "span",
                    "field": name,
                    "allow_overlapping": True,
                    "options": _options(keys),
                    "visible_options": None,
                },
                required=False,
            )
            for name in names
        ]
    if task == "prompt":
        kinds = _choice("prompt_kind", questions["kinds"])
        return [kinds, _text(ANSWER), _text("use_case", required=False), _text("examples", required=False)]
    return [_text(ANSWER)]


def _label_questions(labels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for label in labels:
        title = label["title"].get("en") or next(iter(label["title"].values()), label["key"])
        if label["scale"] == "likert":
            options = [{"value": n} for n in range(1, label["points"] + 1)]
            made.append(
                _question(label["key"], {"type": "rating", "options": options}, required=False, title=title)
            )
            continue
        keys = ("yes", "no") if label["scale"] == "binary" else [one["key"] for one in label["options"]]
        made.append(_choice(label["key"], (*keys, CANT_TELL), required=False, title=title))
    scales = [label["key"] for label in labels if label["scale"] == "likert"]
    if scales:
        chosen = {
            "type": "multi_label_selection",
            "options": _options(scales),
            "visible_options": None,
            "options_order": "natural",
        }
        made.append(_question("cant_tell", chosen, required=False))
    return made


# --- values -----------------------------------------------------------------------------------------------------------


def responses(task: str, value: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """Question to answer, of one value; `ids`: of the item's completions."""
    name = dict(zip(ids, completion_names(len(ids)), strict=True))
    made: dict[str, Any] = {COMMENT: value["comment"]} if value.get("comment") else {}
    if task == "ranking":
        if value.get("ranks"):
            made["ranking"] = [{"value": name[one], "rank": value["ranks"][one]} for one in ids]
        made["not_rankable"] = "yes" if value.get("not_rankable") else "no"
    elif task == "pairwise":
        made["preference"] = value.get("verdict") or str(value["strength"])
    elif task == "labels":
        unknown = []
        for key, one in value["labels"].items():
            if isinstance(one, bool):
                made[key] = BOOL[one]
            else:
                made[key] = one
        unknown = [key for key, one in value["labels"].items() if one == CANT_TELL]
        made["cant_tell"] = unknown
    elif task == "spans":
        for one in ids:
            made[f"spans_{name[one]}"] = [
                {"start": span["start"], "end": span["end"], "label": span["label"]}
                for span in value["spans"]
                if span["completion"] == one
            ]
    elif task == "demonstration":
        turns = value["messages"]
        plain = len(turns) == 1
        made[ANSWER] = turns[0]["content"] if plain else json.dumps(turns, ensure_ascii=False)
    else:
        made[ANSWER] = value["text"]
        for extra in ("prompt_kind", "use_case"):
            if value.get(extra):
                made[extra] = value[extra]
        if value.get("examples"):
            made["examples"] = json.dumps(value["examples"], ensure_ascii=False)
    return made


def fitted(task: str, made: Mapping[str, Any], questions: Mapping[str, Any]) -> dict[str, Any]:
    """The answers that a question has a place for: a scale that nobody can tell is named in `cant_tell` alone."""
    if task != "labels":
        return dict(made)
    scales = {label["key"] for label in questions["labels"] if label["scale"] == "likert"}
    kept = {key: one for key, one in made.items() if not (key in scales and one == CANT_TELL)}
    unknown = [key for key in made.get("cant_tell", ()) if key in scales]
    kept.pop("cant_tell", None)
    return kept | ({"cant_tell": unknown} if unknown else {})


def value_of(task: str, given: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """The value of one person's responses: the reverse of `responses`."""
    of = dict(zip(completion_names(len(ids)), ids, strict=True))
    comment = {"comment": given[COMMENT]} if given.get(COMMENT) else {}
    if task == "ranking":
        ranks = {of[one["value"]]: one["rank"] for one in given.get("ranking") or ()}
        return {"ranks": ranks, "not_rankable": given.get("not_rankable") == "yes"} | comment
    if task == "pairwise":
        said = given["preference"]
        verdict = said if said in ("tie", "both_bad") else None
        return {"strength": 0 if verdict else int(said), "verdict": verdict} | comment
    if task == "labels":
        rest = {key: one for key, one in given.items() if key not in (COMMENT, "cant_tell")}
        labels = {key: BACK.get(one, one) if isinstance(one, str) else one for key, one in rest.items()}
        return {"labels": labels | dict.fromkeys(given.get("cant_tell") or (), CANT_TELL)} | comment
    if task == "spans":
        spans = [
            {"completion": one, **span, "comment": ""}
            for name, one in of.items()
            for span in given.get(f"spans_{name}") or ()
        ]
        return {"spans": spans} | comment
    text = given[ANSWER]
    if task == "demonstration":
        return {"messages": _turns(text)} | comment
    made: dict[str, Any] = {"text": text}
    if task == "prompt":
        made["prompt_kind"] = given["prompt_kind"]
        if given.get("examples"):
            made["examples"] = json.loads(given["examples"])
        if given.get("use_case"):
            made["use_case"] = given["use_case"]
    else:
        made["of"] = ids[0]
    return made | comment


def _turns(text: str) -> list[dict[str, str]]:
    """Several turns are JSON; anything else is the one answer."""
    try:
        turns = json.loads(text)
    except ValueError:
        turns = None
    if (
        isinstance(turns, list)
        and turns
        and all(isinstance(t, dict) and {"role", "content"} <= set(t) for t in turns)
    ):
        return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    return [{"role": "assistant", "content": text}]


# --- records ----------------------------------------------------------------------------------------------------------


def record(
    item_id: str, payload: Mapping[str, Any], metadata: Mapping[str, Any], status: str
) -> dict[str, Any]:
    """A record without answers."""
    completions = payload.get("completions", ())
    fields: dict[str, Any] = {
        "messages": [{"role": m["role"], "content": m["content"]} for m in payload.get("messages", ())]
    }
    if payload.get("brief"):
        fields["brief"] = payload["brief"]
    names = completion_names(len(completions))
    fields |= {name: one["content"] for name, one in zip(names, completions, strict=True)}
    return {
        "id": item_id,
        "fields": fields,
        "metadata": {key: one for key, one in metadata.items() if one is not None},
        "suggestions": {},
        "responses": {},
        "vectors": {},
        "status": status,
        "_server_id": None,
    }


def entry(task: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The item of a record: prompt, completions in order, language, and its suggestion.

    Raises:
        KeyError, ValueError: the record has other fields or questions.
    """
    fields = dict(row["fields"])
    said = fields.pop("messages", None) or fields.pop("prompt", None) or []
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    made: dict[str, Any] = {"messages": list(said)}
    if fields.get("brief"):
        made["brief"] = fields.pop("brief")
    texts = [fields[name] for name in sorted(fields, key=_number) if isinstance(fields[name], str)]
    if task not in ("prompt", "demonstration"):
        made["completions"] = texts
    ids = [f"c{n + 1}" for n in range(len(texts))]
    metadata = row.get("metadata") or {}
    if metadata.get("lang"):
        made["lang"] = metadata["lang"]
    suggested = row.get("suggestions") or {}
    if suggested:
        values = {name: one["value"] for name, one in suggested.items()}
        first = next(iter(suggested.values()))
        score = first.get("score")
        made["suggestion"] = {
            "value": value_of(task, values, ids),
            "agent": first.get("agent") or "argilla",
            "score": score if isinstance(score, int | float) else None,
        }
    return made


def _number(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits or 0), name
