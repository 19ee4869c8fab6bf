"""Rankings on the workbench: the owner leads a project, samples of the serving release become items, people rank them.

Gold items are questions whose answers the noise-free taste orders: two answers of the release and a better one that the
lead wrote. Labellers do not see which items are gold; how they answer them is what tells the careful from the hostile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from people import Person, Team
from tastes import Asked, Taste, Voter, ranks_of
from voting import AT_ONCE, Round, Vote

K = 4
AT_A_TIME = 50
"""Prompts of one request for samples; the server's limit."""
SETTINGS = {"overlap_pct": 0, "gold_pct": 20, "open_to": "workspace"}


@dataclass
class Workbench:
    """A project of rankings and what its items ask."""

    team: Team
    taste: Taste
    project: str
    asked: dict[str, Asked] = field(default_factory=dict)
    """By the text of the question."""

    @classmethod
    def open(cls, team: Team, taste: Taste) -> Workbench:
        body = {"name": f"Rank answers ({taste.name})", "template": "ranking", "settings": SETTINGS}
        return cls(team, taste, str(team.owner.call("POST", "/api/label/projects", body)["id"]))

    @property
    def path(self) -> str:
        return f"/api/label/projects/{self.project}"

    def sample(self, prompts: Sequence[Asked], model: str, settings: dict[str, Any]) -> int:
        """Items of K answers each; those whose answers are all alike are left out."""
        self.asked |= {one.text: one for one in prompts}
        added = 0
        for start in range(0, len(prompts), AT_A_TIME):
            texts = [one.text for one in prompts[start : start + AT_A_TIME]]
            body = {"prompts": texts, "model": model, "k": K, "settings": settings}
            added += len(self.team.owner.call("POST", f"{self.path}/items/samples", body)["added"])
        return added

    def add_gold(self, prompts: Sequence[Asked], model: str, settings: dict[str, Any], count: int) -> int:
        """Gold items out of the first prompts whose answers differ by the taste."""
        entries: list[dict[str, Any]] = []
        for asked in prompts:
            if len(entries) == count:
                break
            chat_id = self.team.owner.new_chat(model, data_use=False)
            shown = self.team.owner.ask_two(chat_id, asked.text, models=(model, model), settings=settings)
            better = self.taste.better(asked, shown[0].text, random.Random(asked.text))
            texts = list(
                dict.fromkeys(t.strip() for t in (better, *(one.text for one in shown)) if t and t.strip())
            )
            points = [self.taste.points(asked, text) for text in texts]
            if len(set(points)) < 2:
                continue
            ids = [f"c{i + 1}" for i in range(len(texts))]
            ranks = dict(zip(ids, ranks_of(points), strict=True))
            self.asked[asked.text] = asked
            entries.append(
                {
                    "kind": "gold",
                    "messages": [{"role": "user", "content": asked.text}],
                    "completions": [{"id": i, "content": t} for i, t in zip(ids, texts, strict=True)],
                    "gold": {"ranks": ranks, "not_rankable": False},
                }
            )
        if not entries:
            return 0
        return len(self.team.owner.call("POST", f"{self.path}/items", {"items": entries})["added"])

    def rank(self, people: Sequence[tuple[Person, Voter]], shares: Sequence[int]) -> Round:
        """Each person ranks as many items as `shares` says, gold ones among them, or all that there are."""
        begun = time.perf_counter()

        def all_of(i: int) -> list[Vote]:
            person, voter = people[i]
            found = []
            while len(found) < shares[i]:
                task = person.call("POST", f"{self.path}/next", {"holding": []})["task"]
                if task is None:
                    break
                found.append(self._rank_one(person, voter, task))
            return found

        with ThreadPoolExecutor(AT_ONCE) as pool:
            votes = [vote for some in pool.map(all_of, range(len(people))) for vote in some]
        return Round(votes, time.perf_counter() - begun)

    def _rank_one(self, person: Person, voter: Voter, task: dict[str, Any]) -> Vote:
        asked = self.asked[task["messages"][-1]["content"]]
        ids = [one["id"] for one in task["completions"]]
        texts = [one["content"] for one in task["completions"]]
        chance = voter.chance("rank", asked.text)
        ranks = ranks_of([voter.sees(self.taste, asked, text, chance) for text in texts])
        value = {"ranks": dict(zip(ids, ranks, strict=True)), "not_rankable": False}
        path = f"/api/label/items/{task['item_id']}/answer"
        person.call("POST", path, {"value": value, "seconds": 20.0, "version": task["version"]})
        points = tuple(self.taste.points(asked, text) for text in texts)
        return Vote("ranking", voter.number, asked.kind, points, tuple(ranks))
