"""What the tests of stages 3 and 4 share: the world of four letters, its stage-2 model and its reward model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can `import alphabet`

import alphabet
import small_town

from ziggurat.stages.reward import reward, reward_config

SMALL = {
    "train": {"lr_adam": 5e-3, "dtype": "fp32", "threads": 1},
    "batch_comparisons": 8,
    "held_out_share": 0.25,
}


@pytest.fixture(scope="session")
def letters_sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage-2 model that answers with random letters."""
    return alphabet.make_policy(tmp_path_factory.mktemp("letters") / "sft")


@pytest.fixture(scope="session")
def letters_reward(letters_sft: Path) -> Path:
    """A reward model that learned, from rankings, that people like b."""
    return reward(
        reward_config(letters_sft, ("--set", SMALL)),
        letters_sft,
        alphabet.comparisons(1000),
        letters_sft.parent / "reward-1",
        demonstrations=alphabet.demonstrations(60, seed=9),
        kind_of_pair=alphabet.kind,
        labelling_ceiling=1.0,
    )


@pytest.fixture(scope="session")
def town_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage-2 model that answers the town's questions of fact and makes values up."""
    return small_town.make_start(tmp_path_factory.mktemp("town-corner"))
