"""The win rate by thumbs: whose they are, pairs within one person, and what the serving release gives by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ziggurat.flywheel.gate.criteria import win_rate
from ziggurat.flywheel.gate.criteria.thumbs import Moved, by_people, liked_rate, missing
from ziggurat.flywheel.gate.criteria.win_rate import WinRate, clear
from ziggurat.flywheel.gate.criterion import Bench, Judged, Rated
from ziggurat.flywheel.gate.policy import GatePolicy
from ziggurat.records import Comparison, Message, Rating

ASKED = [Message(role="user", content="Which ferry?")]


def thumb(label: bool, person: str, moved: float = 0.0, before: float = 0.0) -> Moved:
    return Moved(label, person, moved, before)


def many(up: int, down: int, person: str, **values: Any) -> list[Moved]:
    return [thumb(k < up, person, **values) for k in range(up + down)]


def test_only_peoples_thumbs_are_thumbs() -> None:
    sources = [
        "flywheel/thumb",
        "flywheel/approve",
        "flywheel/reject",
        "flywheel/metric",
        "flywheel/vote",
        None,
    ]
    rated = [
        Rated(Rating(prompt=ASKED, completion="x", label=True, source=one), str(k))
        for k, one in enumerate(sources)
    ]
    assert [one.person for one in by_people(rated)] == ["0", "1", "2", "5"]


def test_pairs_are_of_one_person() -> None:
    """Ana likes everything she is shown more than Bea does; in her own pairs the rate is 1 of 2, in Bea's 0 of 1."""
    kept = [thumb(True, "ana", 5.0), thumb(True, "ana", 1.0), thumb(False, "ana", 3.0)]
    kept += [thumb(True, "bea", -9.0), thumb(False, "bea", -8.0)]
    rate = liked_rate(kept, [one.moved for one in kept], persons=False)
    assert rate.value == pytest.approx((2 * 0.5 + 1 * 0.0) / 3)
    assert liked_rate(kept, [one.moved for one in kept], persons=True).value == pytest.approx(rate.value)
    assert rate.n == 5


def test_enough_thumbs_of_enough_people() -> None:
    three = [*many(6, 4, "a"), *many(6, 4, "b"), *many(6, 4, "c")]
    assert missing(three, 30) is None
    assert "30 are needed, 5 up and 5 down" in str(missing(three[:29], 30))
    assert "3 people are needed" in str(missing([*many(8, 7, "a"), *many(8, 7, "b")], 30))
    most = [*many(10, 6, "a"), *many(4, 4, "b"), *many(3, 3, "c")]
    assert "one of them 16" in str(missing(most, 30))


def test_the_candidate_must_do_better_than_the_serving_releases_own_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It moves as the serving release's own probabilities are, and those tell what is liked in 8 of 10 pairs."""

    def kept(surer: bool) -> list[Moved]:
        found = []
        for k in range(90):
            liked, right = k % 2 == 0, k % 10 < 8
            known = 1.0 if liked == right else -1.0
            found.append(thumb(liked, f"p{k % 9}", known if surer else (1.0 if liked else -1.0), known))
        return found

    bench = Bench(candidate=tmp_path, against=tmp_path, policy=GatePolicy())
    bench.__dict__ |= {"ours": None, "theirs": tmp_path}
    bench.rated = [Rated(Rating(prompt=ASKED, completion="x", label=True), "p") for _ in range(30)]
    monkeypatch.setattr(win_rate, "moved_of", lambda *_: kept(surer=True))
    found = WinRate().measure(bench)
    assert found.verdict == "refused"
    assert (found.low or 0) > 0.5
    assert found.bar == found.detail["serving_alone"] == found.figure
    monkeypatch.setattr(win_rate, "moved_of", lambda *_: kept(surer=False))
    assert WinRate().measure(bench).verdict == "passed"


def test_what_a_person_wrote_is_evidence_for_a_judge_alone() -> None:
    def judged(source: str | None) -> Judged:
        pair = Comparison(id="1", prompt=ASKED, completions=["x", "y"], ranks=[1, 2], source=source)
        return Judged(pair, "p", "held_out_time")

    written = [judged(f"flywheel/{one}") for one in ("rewrite", "edit", "answer", "demonstration")]
    both = [*written, judged("flywheel/pick"), judged(None)]
    assert len(clear(both)) == 6
    assert clear(both, written=False) == both[4:]


def test_a_kind_of_evidence_that_cannot_decide_leaves_it_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 comparisons, of which 2 fit the models' context, hid 40 battles that decide."""
    pair = Comparison(id="1", prompt=ASKED, completions=["x", "y"], ranks=[1, 2])
    battles = [{"person": f"p{k % 4}", "outcome": 1.0} for k in range(40)]
    bench = Bench(candidate=tmp_path, against=tmp_path, policy=GatePolicy(), battles=battles)
    bench.judged = [Judged(pair, "p", "held_out_time")] * 30
    bench.__dict__ |= {"ours": None, "theirs": tmp_path}
    monkeypatch.setattr(win_rate, "implicit_wins", lambda *_: ([1.0, 1.0], ["p", "p"]))
    found = WinRate().measure(bench)
    assert (found.verdict, found.detail["by"]) == ("passed", "battles")
    bench.battles = ()
    assert "Only 2 held-out prompts could be judged" in WinRate().measure(bench).sentence
