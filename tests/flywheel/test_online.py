"""The bound that stops for harm keeps its error rate, and notices harm; the split by person is stable."""

from __future__ import annotations

import random

import numpy as np

from ziggurat.flywheel.release.sequential import evidence, harmful
from ziggurat.flywheel.release.split import takes_canary


def test_the_evidence_is_the_integral_worked_by_hand() -> None:
    """x = k = 10 at share 0.5: the mean of (2p)^10 over (0.5, 1) is 2^11 (1 - 0.5^11) / 11 = 186.1."""
    assert abs(evidence(10, 10, 0.5) - 2**11 * (1 - 0.5**11) / 11) < 0.1
    assert evidence(0, 0, 0.3) == 1.0


def ever(chance: random.Random, rate: float, share: float, people: int) -> bool:
    treated = 0
    for number in range(1, people + 1):
        treated += chance.random() < rate
        if harmful(treated, number, share, 0.05):
            return True
    return False


def test_looking_after_every_person_stops_without_harm_in_at_most_5_percent() -> None:
    """400 tests of 80 bad experiences at share 0.3, looked at after each: at 5 %, more than 36 has odds below 1e-4."""
    chance = random.Random(3)
    stopped = sum(ever(chance, 0.3, 0.3, 80) for _ in range(400))
    assert stopped <= 36


def test_a_release_that_does_twice_the_harm_is_stopped() -> None:
    """Half of the people, twice the rate: two thirds of bad experiences are of the treatment."""
    chance = random.Random(4)
    assert np.mean([ever(chance, 2 / 3, 0.5, 150) for _ in range(60)]) > 0.8


def test_a_person_stays_on_one_side_and_a_greater_share_only_adds() -> None:
    people = [f"person_{i}" for i in range(2000)]
    small = {one for one in people if takes_canary(one, "r", 0.1)}
    large = {one for one in people if takes_canary(one, "r", 0.3)}
    assert small < large
    assert abs(len(large) / 2000 - 0.3) < 0.04
    assert small != {one for one in people if takes_canary(one, "other", 0.1)}
