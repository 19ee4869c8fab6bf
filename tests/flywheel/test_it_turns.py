"""The proof of `benchmarks/flywheel`, short: two people use a real server, and its next release is better for it.

Everything goes over HTTP as the page does it: set-up, invitations, logins, chats, picks, thumbs, rankings on the
workbench, build, turn, gate, signature, promotion, rollback. The model writes four letters; people like the letter b.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "flywheel"))
sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

import alphabet
from people import Person, Refused, Team
from ranking import Workbench
from tastes import Asked, Voter
from tests.service.conftest import serving  # noqa: F401 - a fixture
from voting import vote_in_chats

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.flywheel.work.worker import Worker
from ziggurat.home import located
from ziggurat.places import models_home, runs_home
from ziggurat.product import registration
from ziggurat.records import Message
from ziggurat.service.server import create_app
from ziggurat.store.store import Store

WARM = {"temperature": 1.0, "max_tokens": 6}
QUICK = {
    "train.dtype": "fp32", "train.threads": 1, "train.optimizer": "adamw", "train.lr_adam": 2e-3, "beta": 0.3,
    "epochs": 8.0,
}  # fmt: skip
POLICY = {"least": 5, "required": ["win_rate"], "max_tokens": 8}


class Letters:
    """More b is better."""

    name = "letters"

    def prompts(self, stream: str, count: int) -> list[Asked]:
        return [Asked(text, "letters") for text in random.Random(stream).sample(alphabet.QUESTIONS, count)]

    def points(self, asked: Asked, text: str) -> float:
        return 2 * alphabet.likes(text) - 1

    def better(self, asked: Asked, text: str, chance: random.Random) -> str | None:
        return "bbb"


def finished(store: Store, owner: Person, path: str) -> dict[str, Any]:
    """A turn or a gate, worked on here as `ziggurat flywheel work` does it, as the API shows it then."""
    while Worker(store).once():
        pass
    found: dict[str, Any] = owner.get(path)
    assert found["state"] in ("candidate", "done"), found
    return found


def taste_of(model: str) -> float:
    """The mean points of what a release's model writes."""
    chat = Chat.load(located(model), as_trained=True)
    asked = [[Message(role="user", content=text)] for text in alphabet.QUESTIONS]
    said = chat.answer_many(asked, SamplingParams(max_tokens=6, seed=1, n=4))
    return sum(Letters().points(Asked("", ""), one.text) for one in said) / len(said)


@pytest.mark.slow
def test_what_two_people_say_becomes_a_better_release_and_goes_back(
    serving: Any,  # noqa: F811
    tmp_path: Path,
    ziggurat_home: Path,
) -> None:
    alphabet.make_policy(models_home() / "letters", steps=40)
    store = Store.open(tmp_path / "ziggurat.db")
    token = registration.setup_token(store)
    taste = Letters()
    with serving(create_app({}, store=store, accounts=True)) as address:
        team = Team.found(address, str(token))
        owner = team.owner
        first = owner.call("POST", "/api/flywheel/releases", {"model": "letters"})
        promote = "/api/flywheel/channels/assistant/promote"
        owner.call("POST", promote, {"release": first["name"]})
        people = [
            (person, Voter(i, 0, noise=0.05)) for i, person in enumerate(team.invite(2, role="labeller"))
        ]

        prompts = taste.prompts("all", 30)
        chatted = vote_in_chats(people, taste, prompts[:6], [3, 3], model="assistant", settings=WARM)
        bench = Workbench.open(team, taste)
        bench.sample(prompts[6:], "assistant", WARM)
        ranked = bench.rank(people, [12, 12])
        assert chatted.counts().keys() >= {"pick", "thumb"}
        assert len(ranked.votes) >= 20
        assert (ranked.agreement() or 0) > 0.9
        with pytest.raises(Refused, match="403"):
            people[0][0].call("POST", "/api/flywheel/datasets", {})

        build = {"settings": {"held_out_time": 0.4}}
        dataset = owner.call("POST", "/api/flywheel/datasets", build)
        learn = {"dataset": dataset["ref"], "method": "dpo", "trainable": "all", "settings": {"dpo": QUICK}}
        turn = owner.call("POST", "/api/flywheel/turns", learn)
        turn = finished(store, owner, f"/api/flywheel/turns/{turn['name']}")
        assert quoting(prompts) == []  # a text that its person deletes has no copy there
        runs = [one for one in owner.get("/api/runs")["climbs"] if one["name"] == "flywheel"]
        assert [one["card"] for one in runs] == [False]  # a turn is no climb
        gate = owner.call("POST", "/api/flywheel/gates", {"turn": turn["name"], "policy": POLICY})
        gate = finished(store, owner, f"/api/flywheel/gates/{gate['id']}")
        assert gate["verdict"] == "passed", gate["criteria"]
        signed = owner.call("POST", f"/api/flywheel/gates/{gate['id']}/sign", {"note": "More b."})["release"]
        owner.call("POST", promote, {"release": signed["name"]})
        assert who_answers(people[0][0]) == signed["name"]
        assert taste_of(signed["model"]) > taste_of(first["model"]) + 0.2
        owner.call("POST", "/api/flywheel/channels/assistant/rollback", {"note": "Back."})
        assert who_answers(people[0][0]) == first["name"]
        team.close()


def quoting(prompts: Sequence[Asked]) -> list[Path]:
    """The files below runs/flywheel that hold one of these questions."""
    texts = [one.text.encode() for one in prompts]
    files = [path for path in (runs_home() / "flywheel").rglob("*") if path.is_file()]
    read = [path for path in files if path.suffix in (".json", ".jsonl", ".html", ".log", ".md", ".yaml")]
    assert any(path.name == "report.json" for path in read)
    return [path for path in read if any(text in path.read_bytes() for text in texts)]


def who_answers(person: Person) -> str:
    """The release behind an answer that is asked for now."""
    answer = person.ask(person.new_chat("assistant"), "x1?", settings=WARM)
    return str(person.get(f"/api/flywheel/answers/{answer.message_id}")["release"])
