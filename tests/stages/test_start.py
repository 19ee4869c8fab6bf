"""How a stage settles its loop: steps from epochs, a bounded microbatch, blocks computed again where a row is long."""

from __future__ import annotations

from typing import Any

import pytest

from ziggurat.model.config import ModelConfig
from ziggurat.settings import resolve
from ziggurat.stages.dpo_config import DPOConfig
from ziggurat.stages.start import settle_epochs

SHAPE = ModelConfig(
    vocab_size=49_152, layers=30, d_model=576, heads=9, kv_heads=3, d_head=64, d_ff=1536, context=8192
)
"""SmolLM2-135M's."""


@pytest.mark.parametrize(
    ("whole", "given", "again"),
    [
        (300, {}, False),
        (4_574, {}, True),  # the longest row of dpo_en_demo.json would keep 8 GiB
        (4_574, {"train": {"recompute": False}}, False),
        (300, {"train": {"recompute": True}}, True),
    ],
)
def test_blocks_are_computed_again_where_one_row_would_keep_too_much(
    whole: int, given: dict[str, Any], again: bool
) -> None:
    resolved = resolve(DPOConfig, ("--set", given))
    settled, lines = settle_epochs(resolved, 10, SHAPE, whole=whole)
    assert settled.config.train.recompute is again
    assert ("recompute" in [line.name for line in lines]) == (again and not given)
