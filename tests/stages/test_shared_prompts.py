"""Groups in one row: the same states, numbers and gradients as rows of their own, and where prompts are not shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.model.config import ModelConfig
from ziggurat.model.layers import SHARED, causal_bias
from ziggurat.model.transformer import Transformer
from ziggurat.stages import grpo as stage
from ziggurat.stages.grpo import GRPO, grpo_config, prepare
from ziggurat.stages.grpo_update import gradient
from ziggurat.stages.rollouts import Rollout, cut_minibatches
from ziggurat.stages.shared_prompts import LONGEST_ROW, cut_groups, expected_row, worth_sharing

CPU = torch.device("cpu")
PAD = 0
SHAPE = ModelConfig(vocab_size=64, layers=2, d_model=32, heads=4, kv_heads=2, d_head=8, d_ff=64, context=64)


def said(prompt: list[int], *completions: list[int]) -> list[Rollout]:
    return [Rollout(prompt, one, [0.0] * len(one), True) for one in completions]


def test_a_shared_token_is_seen_by_all_later_tokens_of_its_row() -> None:
    """The row p a | c d of the module's drawing without its second prompt token; 1 where the key is seen."""
    bias = causal_bias(torch.tensor([[SHARED, 1, 2, 2]]), torch.float32)
    assert (bias[0, 0] == 0).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]


def test_the_layout_is_that_of_the_drawing() -> None:
    ((micro,),) = cut_groups(said([11, 12], [21, 22], [31, 32, 33]), 2, 1, 4096, PAD, "x", CPU)
    assert micro.ids.tolist() == [[11, 12, 21, 31, 32]]
    assert micro.where["positions"].tolist() == [[0, 1, 2, 2, 3]]
    assert micro.where["segments"].tolist() == [[SHARED, SHARED, 1, 2, 2]]
    assert micro.state_column.tolist() == [1, 2, 1, 3, 4]
    assert micro.actions.tolist() == [21, 22, 31, 32, 33]
    assert micro.table_row.tolist() == [0, 0, 1, 1, 1]
    assert micro.table_column.tolist() == [0, 1, 0, 1, 2]


def test_states_are_those_of_rows_of_their_own() -> None:
    """Two groups of unlike lengths, so that one row is padded; every action's state by both layouts."""
    model = Transformer(SHAPE, seed=0).eval()
    rollouts = [*said([5, 6, 7, 8], [9, 10], [11], [12, 13, 14]), *said([20, 21], [22], [23, 24], [25])]
    tables = []
    for ((micro,),) in (
        cut_minibatches(rollouts, 1, 4096, PAD, "x", CPU),
        cut_groups(rollouts, 3, 1, 4096, PAD, "x", CPU),
    ):
        table = torch.zeros(6, 3, SHAPE.d_model)
        with torch.no_grad():
            states = micro.states(model.hidden(micro.ids, **micro.where))
        table[micro.table_row, micro.table_column] = states
        tables.append(table)
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-5, atol=1e-5)
    assert tables[0].abs().sum(dim=-1).gt(0).sum() == 10


def test_every_group_is_in_exactly_one_row() -> None:
    rollouts = [one for g in range(7) for one in said([g + 1] * (g + 3), [2] * (g % 3 + 1), [3])]
    groups = cut_groups(rollouts, 2, 3, 24, PAD, "seed", CPU)
    assert sorted(row for group in groups for one in group for row in one.rows.tolist()) == list(range(14))
    assert all(len(one.rows) == 2 * len(one.ids) for group in groups for one in group)
    assert all(one.ids.numel() <= 24 for group in groups for one in group)


def test_prompts_are_shared_where_that_saves_tokens_and_attention_allows_it() -> None:
    """Of a prompt of 10 and two completions of 10: 28 tokens instead of 40. A prompt of 1 saves 3 of 22 (0.86)."""
    assert worth_sharing(said([1] * 10, [2] * 10, [2] * 10), 2, SHAPE)
    assert expected_row(10, 10, 2, SHAPE) == 28
    assert not worth_sharing(said([1], [2] * 10, [2] * 10), 2, SHAPE)
    assert expected_row(1, 10, 2, SHAPE) is None
    assert not worth_sharing(said([1] * LONGEST_ROW, [2] * 10, [2] * 10), 2, SHAPE)
    windowed = SHAPE.model_copy(update={"window": 4, "windowed": (0, 1)})
    assert not worth_sharing(said([1] * 10, [2] * 10, [2] * 10), 2, windowed)


@pytest.mark.parametrize("trainable", ["all", "last:1", "lora"])
def test_a_step_has_the_same_numbers_and_gradients(
    letters_sft: Path, monkeypatch: pytest.MonkeyPatch, trainable: str
) -> None:
    """One minibatch, so that both ways of cutting deal alike; also from the trunk that stays still."""
    settings: dict[str, Any] = {
        "train": {"steps": 1, "threads": 1, "dtype": "fp32"},
        "prompts_per_step": 4,
        "group": 4,
        "minibatches": 1,
        "max_new_tokens": 4,
        "trainable": trainable,
        "reward_function": f"{Path(__file__).parent / 'alphabet.py'}:reward",
    }
    learner = GRPO(prepare(grpo_config(letters_sft, ("test", settings)), letters_sft, alphabet.prompts()))
    rows, found = [], []
    for shared in (True, False):
        monkeypatch.setattr(stage, "worth_sharing", lambda *_, shared=shared: shared)
        row = learner.measure(0)
        rows.append({k: v for k, v in row.items() if isinstance(v, float) and not k.endswith("_s")})
        (group,) = learner.minibatches
        assert all(bool(micro.where) == shared for micro in group)
        learner.optimizer.zero_grad()
        trunks = learner.tables.trunks[0]
        losses = gradient(learner.nets, group, trunks, learner.tables, learner.advantages, learner.config)
        assert losses["ratio_gap"] == 0.0
        found.append([p.grad.clone() for p in learner.optimizer.parameters if p.grad is not None])
    assert rows[0] == pytest.approx(rows[1], rel=1e-4, abs=1e-5)
    assert found[0]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
