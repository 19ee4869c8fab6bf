"""Padding on the right, and rows of similar length in one batch."""

from __future__ import annotations

import pytest
import torch

from ziggurat.model import padding
from ziggurat.model.config import ModelConfig
from ziggurat.model.padding import by_length, first_fit, hidden_without_padding, right_pad
from ziggurat.model.transformer import Transformer


def test_rows_are_padded_on_the_right() -> None:
    ids, lengths = right_pad([[5, 6, 7], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert lengths.tolist() == [3, 1]


def test_a_batch_stays_within_its_tokens_and_begins_with_its_longest_row() -> None:
    lengths = [3, 9, 4, 9, 30, 1, 4]
    batches = by_length(lengths, 20)
    assert batches == [[4], [1, 3], [2, 6, 0, 5]]
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert by_length([], 20) == []


def test_a_batch_with_enough_tokens_ends_before_a_row_that_is_mostly_padding() -> None:
    assert by_length([8, 8, 6, 5], 100) == [[0, 1, 2, 3]]
    assert by_length([8, 8, 6, 5], 100, enough=16) == [[0, 1, 2], [3]]
    assert by_length([8, 8, 5, 5], 100, enough=25) == [[0, 1, 2, 3]]


def test_a_batch_has_at_most_so_many_rows_and_none_is_lost() -> None:
    lengths = [5, 3_000, 1_000, 900, 1_100, *[7] * 40, 0]
    made = by_length(lengths, 2_048, rows=16)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    assert [len(batch) for batch in made] == [1, 1, 2, 16, 16, 10]


def test_rows_that_are_packed_have_the_states_and_gradients_of_padded_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The longest row sets the width; short ones share a row and must not attend to one another."""
    monkeypatch.setattr(padding, "WORTH_TOKENS", 1)
    sizes = {"layers": 2, "d_model": 32, "heads": 2, "kv_heads": 1, "d_head": 16, "d_ff": 48}
    body = Transformer(ModelConfig(**sizes, vocab_size=50, context=32), seed=3)
    generator = torch.Generator().manual_seed(0)
    lengths = [4, 20, 7, 3, 9, 5]
    ids, sizes_ = right_pad([torch.randint(0, 50, (n,), generator=generator).tolist() for n in lengths], 0)
    own = torch.arange(ids.shape[1]) < sizes_[:, None]
    seen: list[torch.Size] = []
    plain = Transformer.hidden

    def watched(model: Transformer, rows: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        seen.append(rows.shape)
        return plain(model, rows, **more)

    monkeypatch.setattr(Transformer, "hidden", watched)
    found, wanted = hidden_without_padding(body, ids, sizes_), body.hidden(ids)
    assert seen == [(3, 20), (6, 20)]
    torch.testing.assert_close(found[own], wanted[own], atol=1e-5, rtol=1e-5)
    gradients = []
    for states in (found, wanted):
        body.zero_grad()
        states[own].square().sum().backward()
        gradients.append([p.grad.clone() for p in body.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_rows_of_one_length_are_left_as_they_are() -> None:
    assert first_fit([5, 3, 4, 2], 7) == [[0, 3], [2, 1]]
