"""Can the candidate still do what it could? Tasks of the exam room that the policy names, or the town's exam."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggurat.errors import ZigguratError
from ziggurat.files import read_json
from ziggurat.flywheel.gate.criterion import Bench, Finding, of_chance, percent, verdict_of_fall
from ziggurat.home import located
from ziggurat.lineage import manifest_around

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.town.examiner import Answers

ANSWERABLE = ("known", "known_a", "followup_a", "followup_c", "named_c", "sum", "sort", "proper")


class Exam:
    name = "exam"

    def measure(self, bench: Bench) -> Finding:
        if bench.policy.exam_tasks:
            from ziggurat.flywheel.gate.criteria.exam_tasks import measure

            return measure(bench)
        bar, seed = bench.policy.exam_tolerance, town_of(bench)
        if bench.policy.exam == "none" or seed is None:
            why = (
                "The policy asks for no exam."
                if bench.policy.exam == "none"
                else "The model is not of the town."
            )
            sentence = f"{why} There is no exam that it sat before."
            return Finding(verdict="not_measured", bar=-bar, unit="difference", sentence=sentence)
        if bench.theirs is None:
            sentence = "No release serves yet, so there is no exam to compare with."
            return Finding(verdict="passed", bar=-bar, unit="difference", sentence=sentence)
        from ziggurat.town import examiner

        ours, theirs = (sit(bench, chat, seed) for chat in (bench.ours, bench.theirs))
        fall = examiner.difference(ours, theirs, ANSWERABLE, examiner.right)
        chosen = ours.select(*ANSWERABLE)
        before, after = (one.share(chosen, examiner.right).value for one in (theirs, ours))
        sentence = (
            f"Right answers in the town's exam go from {percent(before)} to {percent(after)} "
            f"({100 * fall.value:+.1f} points); a fall of {100 * bar:.1f} points is allowed."
            + of_chance(fall, bar, "exam_tolerance")
        )
        return Finding(
            verdict=verdict_of_fall(fall, bar),
            figure=fall.value,
            low=fall.low,
            high=fall.high,
            bar=-bar,
            unit="difference",
            n=fall.n,
            sentence=sentence,
            detail={"candidate": after, "serving": before, "town": seed},
        )


def sit(bench: Bench, chat: Chat, seed: int) -> Answers:
    """A model's answers to a fixed part of the exam; each model sits once."""
    kept: dict[int, Answers] = bench.__dict__.setdefault("_sat", {})
    if id(chat) not in kept:
        from ziggurat.town.exam import write_exam
        from ziggurat.town.examiner import ask
        from ziggurat.town.grading import Grader
        from ziggurat.town.people import build_town

        town = build_town(seed)
        items = write_exam(town)
        part = items[:: max(1, len(items) // bench.policy.exam_items)]
        kept[id(chat)] = ask(str(chat.name), chat, part, Grader(town))
    return kept[id(chat)]


def town_of(bench: Bench) -> int | None:
    """The seed of the town whose model the candidate descends from; None for any other model."""
    return town_in(manifest_around(bench.candidate) or parent_of_copy(bench.candidate))


def parent_of_copy(folder: Path) -> Mapping[str, Any] | None:
    """The lineage that a turn wrote beside a model whose adapter it worked in."""
    for place in (folder, folder.parent):
        if (place / "lineage.json").is_file():
            return read_json(place / "lineage.json", 1)
    return None


def town_in(manifest: Mapping[str, Any] | None) -> int | None:
    """The first ladder of the lineage that was climbed in the town."""
    while isinstance(manifest, Mapping):
        for written in (manifest.get("path"), *(one.get("path") for one in manifest.get("data") or ())):
            if (seed := _ladder_of(str(written or ""))) is not None:
                return seed
        manifest = manifest.get("parent")
    return None


def _ladder_of(written: str) -> int | None:
    folder = located(written) if written else Path()
    for above in (folder, *folder.parents):
        plan = above / "plan.json"
        if plan.is_file():
            try:
                world = read_json(plan, 1_000).get("world")
            except ZigguratError:
                return None
            return int(world["town"]) if isinstance(world, dict) and world.get("name") == "town" else None
        if above.name == "runs":
            break
    return None
