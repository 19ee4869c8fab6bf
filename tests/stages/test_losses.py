"""The next-token loss against hand calculations and the slow obvious version."""

from __future__ import annotations

import math

import pytest
import torch

from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.stages import losses
from ziggurat.stages.losses import TokenBatch, batch_loss, next_token_loss, split_rows


@pytest.fixture
def model() -> Transformer:
    return Transformer(sized(layers=2, d_model=32, vocab_size=50, context=32, d_head=16), seed=1)


def test_a_model_that_knows_nothing_loses_log_v_per_target(model: Transformer) -> None:
    """All logits equal: every target costs ln 50, so 2 × 7 targets cost 14 ln 50."""
    with torch.no_grad():
        model.embedding.weight.zero_()
    ids = torch.randint(50, (2, 8))
    total, count = next_token_loss(model, ids[:, :-1], ids[:, 1:])
    assert count == 14
    assert float(total.detach()) == pytest.approx(14 * math.log(50), rel=1e-5)


def test_weights_multiply_sum_and_count(model: Transformer) -> None:
    ids = torch.randint(50, (2, 8))
    x, y = ids[:, :-1], ids[:, 1:]
    each = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none").view(2, 7)
    weights = torch.tensor([[0, 1, 1, 0, 0.5, 0, 0], [0, 0, 0, 0, 0, 0, 2.0]])
    total, count = next_token_loss(model, x, y, weights)
    assert count == 4.5
    assert float(total.detach()) == pytest.approx(float((each * weights).sum().detach()), rel=1e-5)


def test_nothing_to_learn_is_zero_with_a_gradient_of_zero(model: Transformer) -> None:
    ids = torch.randint(50, (1, 5))
    total, count = next_token_loss(model, ids[:, :-1], ids[:, 1:], torch.zeros(1, 4))
    total.backward()
    assert (float(total.detach()), count) == (0.0, 0.0)


def test_logits_in_pieces_give_the_same_loss_and_gradient(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.randint(50, (3, 12))
    weights = torch.rand(3, 11)

    def run() -> tuple[float, torch.Tensor]:
        model.zero_grad()
        total, _ = next_token_loss(model, ids[:, :-1], ids[:, 1:], weights)
        total.backward()
        grad = model.embedding.weight.grad
        assert grad is not None
        return float(total.detach()), grad.clone()

    whole, whole_grad = run()
    monkeypatch.setattr(losses, "logits_at_once", lambda _: 50 * 4)  # 4 targets at a time
    pieces, pieces_grad = run()
    assert pieces == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(pieces_grad, whole_grad, atol=1e-5)


def test_microbatches_add_up_to_the_batch(model: Transformer) -> None:
    ids = torch.randint(50, (5, 9))
    batch = TokenBatch(ids[:, :-1], ids[:, 1:], torch.rand(5, 8))
    whole, count = batch_loss(model, batch)
    parts = [batch_loss(model, piece) for piece in split_rows(batch, 3)]
    assert len(parts) == 3
    assert sum(c for _, c in parts) == pytest.approx(count)
    assert sum(float(s.detach()) for s, _ in parts) == pytest.approx(float(whole.detach()), rel=1e-5)
    assert batch.count == pytest.approx(count)


def test_more_pieces_than_rows_gives_one_piece_a_row() -> None:
    ids = torch.zeros(2, 4, dtype=torch.long)
    assert len(split_rows(TokenBatch(ids, ids), 8)) == 2
