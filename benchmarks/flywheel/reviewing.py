"""Expert review: the owner switches it on, people ask, and an expert decides before anybody sees an answer.

The expert approves what is right by the taste, writes a better answer over what is not, and withholds the rest.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from people import Person, Team
from tastes import Asked, Taste
from voting import Round, Vote

GOOD = 0.99
"""Points at which an answer is approved as it is."""


def review(
    team: Team,
    expert: Person,
    customers: Sequence[Person],
    taste: Taste,
    prompts: Sequence[Asked],
    *,
    model: str,
    settings: dict[str, Any],
) -> Round:
    """Each prompt is asked by a customer in turn; the expert empties the inbox. Review is off again afterwards."""
    begun = time.perf_counter()
    asked = {one.text: one for one in prompts}
    team.owner.call("PUT", "/api/admin/settings", {"review": "all"})
    try:
        for i, one in enumerate(prompts):
            person = customers[i % len(customers)]
            answer = person.ask(person.new_chat(model), one.text, settings=settings)
            if answer.state != "held" or answer.text:
                raise AssertionError(f"an answer left before its decision: {answer}")
        votes: list[Vote] = []
        while waiting := open_items(expert):
            votes += [decide(expert, taste, asked, item) for item in waiting]
    finally:
        team.owner.call("PUT", "/api/admin/settings", {"review": "off"})
    return Round(votes, time.perf_counter() - begun)


def open_items(expert: Person) -> list[dict[str, Any]]:
    """Those that wait for somebody."""
    return [one for one in expert.get("/api/review/items")["data"] if one["state"] == "queued"]


def decide(expert: Person, taste: Taste, asked: dict[str, Asked], item: dict[str, Any]) -> Vote:
    path = f"/api/review/items/{item['id']}"
    card = expert.call("POST", f"{path}/claim", {})
    one, text = asked[card["prompt"][-1]["content"]], card["versions"][-1]["text"]
    points = taste.points(one, text)
    better = taste.better(one, text, random.Random(text))
    body: dict[str, Any] = {"version": card["item"]["version"]}
    if points >= GOOD:
        body["decision"] = "approve"
    elif better and better.strip() != text.strip():
        body |= {"decision": "edit", "text": better, "reasons": ["fact"]}
    else:
        body |= {"decision": "reject", "reasons": ["other"], "then": "withhold"}
    expert.call("POST", f"{path}/decision", body)
    return Vote("decision", -1, one.kind, (points,), body["decision"])
