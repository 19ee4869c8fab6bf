"""Candidates of a few lines sit the probes through the exam's own forms and commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.exam.test_probes_b_kinds import RIGHT

from ziggurat.cli.main import run
from ziggurat.exam import card
from ziggurat.exam.candidate import Ask
from ziggurat.exam.forms import form
from ziggurat.exam.item import Found
from ziggurat.exam.reading import SHIPPED, read_task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items
from ziggurat.records import Message


class Remembers:
    """Answers with all that was said in its conversation; a leaky one also with all that was said in others."""

    name, sha256, chats = "remembers", "0" * 64, True

    def __init__(self, *, leaky: bool = False) -> None:
        self.leaky, self.seen = leaky, ""

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        said = [" ".join(message.content for message in one) for one in conversations]
        self.seen += " ".join(said)
        return [[text + (self.seen if self.leaky else "")] for text in said]


def sat(candidate: object, name: str, limit: int) -> list[Found]:
    task, switches = read_task(SHIPPED / name), Switches(limit=limit)
    return form(task.file.form)(candidate, task, items(task, switches), switches)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sessions", "sessions-zh"])
def test_sessions_pass_with_separate_histories_and_fail_with_a_leak(name: str) -> None:
    assert [one.mark.scores["score"] for one in sat(Remembers(), name, 4)] == [1] * 4
    leaky = sat(Remembers(leaky=True), name, 4)
    assert [one.mark.scores["score"] for one in leaky] == [0] * 4
    assert all(one.mark.scores["secret"] == one.mark.scores["reset"] == 0 for one in leaky)


def test_twenty_turns_reach_the_candidate() -> None:
    """All 19 turns before the question are in the conversation: 1 of facts, 18 of small talk, each with its answer."""
    seen: list[int] = []

    class Counts(Remembers):
        def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
            seen.extend(len(one) for one in conversations)
            return super().answers(conversations, ask)

    found = sat(Counts(), "memory", 4)
    assert sorted(seen) == [2 * d + 1 for d in (1, 5, 10, 19)]
    assert [one.stratum for one in found] == ["1", "5", "10", "19"]


class Knows:
    """Answers the kinds of requests from a list; after its fine-tune it has forgotten them."""

    sha256, chats = "1" * 64, True

    def __init__(self, name: str) -> None:
        self.name = name
        self.sha256 = {"old": "1", "new": "2"}[name] * 64
        rows = read_task(SHIPPED / "kinds").rows
        self.known = {row["prompt"]: RIGHT[row["id"]] for row in rows}

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        said = [self.known[one[-1].content] for one in conversations]
        return [[text if self.name == "old" else "Sure!"] * ask.samples for text in said]


def test_ziggurat_tax_names_the_lost_ability(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    monkeypatch.setattr(card, "open_candidate", lambda name, _: Knows(name))
    command = ["tax", "old", "new", "--tasks", "kinds", "--limit", "12"]
    assert run([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (ability,) = report["compared"][0]["abilities"]
    assert (ability["name"], ability["before"], ability["after"]) == ("instructions", 1, 0)
    assert ability["verdict"] == "lost"
    assert report["retention"][0]["kept"]["value"] == 0
    assert len(report["retention"][0]["forgotten"]) == 12
    assert run([*command, "--out", str(tmp_path / "tax.html")]) == 0
    assert "lost" in capsys.readouterr().out
    assert "What was right at old" in (tmp_path / "tax.html").read_text()


def test_ziggurat_tax_needs_two_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tax", "old"]) == 2
    assert "at least one trained from it" in " ".join(capsys.readouterr().err.split())
