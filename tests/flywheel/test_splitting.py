"""How many conversations are held out by time, and why a metric of an episode trains nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.flywheel.planted import vote

from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.splitting import group_of, late_groups


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(9, 0.1, 0), (12, 0.1, 4), (40, 0.1, 13), (100, 0.1, 30), (400, 0.1, 40), (40, 0, 0)],
)
def test_a_small_team_holds_out_enough_for_a_gate(count: int, share: float, held: int) -> None:
    """A tenth of 40 rankings are 4, and a gate needs 30: it was undecided for ever. At most a third is held out."""
    samples = [vote(0, number, number, "a b", "c d", True) for number in range(count)]
    late = late_groups(samples, share)
    assert late == {group_of(one) for one in samples[count - held :]}


def test_a_metric_of_an_episode_trains_nothing() -> None:
    """Its judgement was called withdrawn, which is what a person does."""
    row = SimpleNamespace(subject_kind="episode", subject_id="ep_1", data_use=True, chat_id=None)
    assert Permission({}, {}, frozenset(), frozenset()).reason_against(row) == "no_training_use"
    row.subject_kind = "inference"
    assert Permission({}, {}, frozenset(), frozenset()).reason_against(row) == "withdrawn"
