"""Targets: the bound that counts, the margin, the words."""

from __future__ import annotations

import math

from ziggurat.evaluation.statistics import Interval
from ziggurat.ladder.report import targets_of
from ziggurat.ladder.targets import at_least, at_most, summarize, target_table

X = Interval(0.93, 0.90, 0.96, 100, 50)


def test_the_figure_or_its_confidence_bound_counts() -> None:
    assert at_least("sft", "known", X, 0.92).passed
    assert not at_least("sft", "known", X, 0.92, use_low=True).passed
    assert at_most("ppo", "lost", X, 0.95).passed
    assert not at_most("ppo", "lost", X, 0.95, use_high=True).passed
    assert math.isclose(at_most("ppo", "lost", X, 0.95, use_high=True).margin, -0.01)


def test_a_figure_exactly_at_the_bound_meets_it() -> None:
    assert at_least("sft", "known", 0.8, 0.8).passed
    assert at_most("sft", "known", 0.8, 0.8).passed


def test_what_could_not_be_measured_fails_and_is_null_in_json() -> None:
    nothing = at_least("reward", "truth", Interval(math.nan, math.nan, math.nan, 0, 0), 0.85)
    assert not nothing.passed
    assert nothing.to_dict()["value"] is None
    assert nothing.to_dict()["margin"] is None
    assert nothing.figure == "nothing to measure"


def test_the_summary_names_every_target_that_is_not_met() -> None:
    targets = [at_least("sft", "known", X, 0.9), at_most("ppo", "lost", X, 0.05, scope="en")]
    assert summarize(targets) == "1 of 2 targets met; not met: ppo: lost (en) 0.930, target <= 5%"
    assert [row[-2] for row in target_table(targets).rows] == ["met", "NOT MET"]


def test_reports_of_before_are_read() -> None:
    """Version 1 of report.json calls the targets gates."""
    assert targets_of({"gates": [{"name": "old"}]}) == [{"name": "old"}]
    assert targets_of({"format_version": 2, "targets": [{"name": "new"}]}) == [{"name": "new"}]
