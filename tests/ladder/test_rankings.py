"""One round of simulated labellers."""

from __future__ import annotations

from ziggurat.ladder.rankings import Labeller, ToRank, label_round
from ziggurat.records import Message


class Honest(Labeller[None]):
    """A labeller who never errs."""

    tie_width = 0.5

    def error(self, chance: None) -> float:
        return 0.0

    def right_order(self, gap: float) -> float:
        return 1.0 if self.name == "Ada" else 0.75


def test_labellers_take_turns_and_a_prompt_with_one_completion_is_left_out() -> None:
    """By hand: the longer completion is better, and equal lengths are a tie. The second prompt keeps its turn."""
    asked = [Message(role="user", content="Say a word.")]
    waiting = {
        "first": ToRank(asked, ["a", "bbb"], ["cc"], None),
        "lone": ToRank(asked, ["a"], [], None),
        "third": ToRank(asked, ["a", "b"], [], None),
    }
    found = label_round(
        waiting,
        [Honest("Ada", 0.0), Honest("Ben", 0.0)],
        lambda identity, text: float(len(text)),
        source="test",
        policy="round-1",
        added_as="written",
        kind_of_pair=lambda *_: "longer/shorter",
        held_out=lambda identity: identity == "third",
    )
    first, third = found.comparisons
    assert (first.id, first.ranks, first.labeller) == ("first", [3, 1, 2], "Ada")
    assert first.sampling == {"origins": ["policy", "policy", "written"]}
    assert (third.id, third.ranks, third.labeller) == ("third", [1, 1], "Ada")
    assert found.take(held_out=True) == [third]
    assert found.truth is not None
    assert list(found.truth.taste(first)) == [1.0, 3.0, 2.0]
    assert found.truth.labelling_ceiling([first]) == 1.0
