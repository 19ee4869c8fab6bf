"""Packed conversations: nothing lost, nothing shared, nothing different after a resume."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.stages.batches import ConversationBatches, pack_conversations
from ziggurat.stages.losses import batch_loss, next_token_loss
from ziggurat.tokenizer.template import Rendered


def conversations(n: int, seed: int = 0) -> list[Rendered]:
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(n):
        length = int(rng.integers(3, 14))
        asked = int(rng.integers(1, length - 1))
        ids = rng.integers(7, 50, size=length).tolist()
        result.append(Rendered(ids, [False] * asked + [True] * (length - asked)))
    return result


def test_first_fit_keeps_every_conversation_once_and_no_row_overflows() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, size=500).tolist()
    rows = pack_conversations(lengths, 40, rng.permutation(500).tolist())
    assert sorted(n for row in rows for n in row) == list(range(500))
    assert max(sum(lengths[n] for n in row) for row in rows) <= 40
    assert len(rows) <= 1.1 * sum(lengths) / 40


def test_packed_conversations_cost_exactly_what_they_cost_alone() -> None:
    """Attention across conversations, or positions that run on, would change the loss."""
    talks = conversations(9)
    model = Transformer(sized(layers=2, d_model=32, vocab_size=50, context=32, d_head=16), seed=3)
    alone = 0.0
    for talk in talks:
        ids = torch.tensor([talk.ids])
        total, _ = next_token_loss(model, ids[:, :-1], ids[:, 1:], torch.tensor([talk.mask[1:]]).float())
        alone += float(total.detach())
    batches = ConversationBatches(talks, T=32, batch_rows=1, seed=0)
    assert batches.rows_per_epoch < len(talks)
    packed = sum(float(batch_loss(model, batches.next())[0].detach()) for _ in range(batches.rows_per_epoch))
    assert abs(packed - alone) < 1e-3


def test_every_trained_token_is_a_target_once_an_epoch() -> None:
    talks = conversations(40)
    batches = ConversationBatches(talks, T=24, batch_rows=1, seed=5)
    expected = Counter(t for talk in talks for t, m in zip(talk.ids[1:], talk.mask[1:], strict=True) if m)
    for _ in range(2):
        seen: Counter[int] = Counter()
        rows = -1
        while rows != 0:  # the next epoch is packed when its first row is asked for
            batch = batches.next()
            assert batch.weights is not None
            seen.update(batch.targets[batch.weights > 0].tolist())
            rows = batches.rows_per_epoch - batches.position
        assert seen == expected


def test_a_share_of_rows_is_text_with_its_own_weight() -> None:
    text = np.full((10, 17), 3, dtype=np.int32)
    batches = ConversationBatches(
        conversations(30), T=16, batch_rows=4, seed=0, text_rows=text, text_share=0.4, text_weight=0.25
    )
    counts = []
    for _ in range(10):
        batch = batches.next()
        assert batch.weights is not None
        rows = (batch.weights == 0.25).all(dim=1)
        assert bool((batch.targets[rows] == 3).all())
        counts.append(int(rows.sum()))
    assert sum(counts) == 16  # 0.4 of 40 rows
    assert set(counts) == {1, 2}


def test_a_restored_position_gives_the_same_batches() -> None:
    text = np.arange(170, dtype=np.int32).reshape(10, 17) % 50

    def fresh() -> ConversationBatches:
        return ConversationBatches(
            conversations(30), T=16, batch_rows=3, seed=2, text_rows=text, text_share=0.3
        )

    first = fresh()
    for _ in range(11):  # past the first epoch
        first.next()
    assert first.epoch > 0
    second = fresh()
    second.restore(first.state())
    for _ in range(8):
        a, b = first.next(), second.next()
        assert all(torch.equal(x, y) for x, y in zip(a._tensors(), b._tensors(), strict=True))  # type: ignore[arg-type]


def test_a_conversation_counts_as_much_as_its_worth() -> None:
    """The trained tokens of three conversations worth 1, 0.5 and 0.25 have these weights."""
    talks = conversations(3)
    batches = ConversationBatches(talks, T=24, batch_rows=1, seed=5, worth=[1.0, 0.5, 0.25])
    found = Counter[float]()
    for _ in range(batches.rows_per_epoch):
        weights = batches.next().weights
        assert weights is not None
        found.update(weights[weights > 0].tolist())
    assert found == {w: sum(talk.mask[1:]) for w, talk in zip((1.0, 0.5, 0.25), talks, strict=True)}
