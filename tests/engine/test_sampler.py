"""The draw itself, on distributions written down by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ziggurat.engine.params import SamplingParams
from ziggurat.engine.sampler import Rules, derive_key, draw, tempered_logprobs, uniforms
from ziggurat.errors import UsageError


def draws(logits: torch.Tensor, params: SamplingParams, n: int = 20_000, seed: int = 0) -> torch.Tensor:
    """Counts (V,) of n draws, each row with its own key."""
    keys = np.arange(n, dtype=np.uint64) + np.uint64(derive_key(seed) >> 1)
    rows = tempered_logprobs(logits.expand(n, -1), np.full(n, params.temperature, dtype=np.float32))
    ids = draw(rows, Rules.of([params] * n), uniforms(keys, np.zeros(n, dtype=np.int64)))
    return torch.bincount(ids, minlength=len(logits))


def test_frequencies_match_the_softmax() -> None:
    """Chi-square with 11 degrees of freedom: 31.3 is exceeded by chance once in a thousand; the seed is fixed."""
    logits = torch.linspace(-2, 2, 12)[torch.randperm(12, generator=torch.Generator().manual_seed(1))]
    for temperature in (1.0, 0.5):
        expected = 20_000 * torch.softmax(logits / temperature, -1)
        counts = draws(logits, SamplingParams(temperature=temperature))
        assert ((counts - expected) ** 2 / expected).sum() < 31.3


def test_uniforms_are_uniform_over_positions_of_one_request() -> None:
    """Tenths of 50,000 successive numbers; chi-square with 9 degrees of freedom, 27.9 once in a thousand."""
    keys = np.full(50_000, derive_key(3, 1), dtype=np.uint64)
    u = uniforms(keys, np.arange(50_000))
    counts = np.bincount((u * 10).astype(int), minlength=10)
    assert ((counts - 5_000) ** 2 / 5_000).sum() < 27.9
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02


def test_the_same_seed_draws_the_same_and_another_differs() -> None:
    assert derive_key(5, 0) == derive_key(5, 0)
    assert len({derive_key(seed, i) for seed in range(20) for i in range(20)}) == 400
    assert derive_key(None) != derive_key(None)


def test_top_k_draws_only_the_k_most_probable() -> None:
    logits = torch.tensor([0.0, 1.0, 0.9, -1.0, 0.8, 0.95])
    counts = draws(logits, SamplingParams(top_k=3), 5_000)
    assert set(counts.nonzero().flatten().tolist()) == {1, 2, 5}


def test_top_k_of_ties_still_draws_at_most_k() -> None:
    assert (draws(torch.zeros(10), SamplingParams(top_k=3), 2_000) > 0).sum() == 3


def test_top_p_keeps_the_smallest_set_with_enough_mass() -> None:
    """0.5 + 0.25 = 0.75 < 0.8, so the third is needed; 0.74 is reached by two."""
    logits = torch.tensor([0.05, 0.5, 0.08, 0.25, 0.12]).log()
    for top_p, kept in ((0.8, {1, 3, 4}), (0.74, {1, 3}), (0.5, {1}), (0.0, {1}), (1.0, {0, 1, 2, 3, 4})):
        counts = draws(logits, SamplingParams(top_p=top_p), 5_000)
        assert set(counts.nonzero().flatten().tolist()) == kept


def test_top_p_looks_beyond_its_first_candidates_when_the_distribution_is_flat() -> None:
    """Of 1,000 equal tokens top-p 0.5 keeps 500; the first look is at 128."""
    counts = draws(torch.zeros(1_000), SamplingParams(top_p=0.5), 20_000)
    assert (counts > 0).sum() == pytest.approx(500, abs=1)


def test_top_p_counts_what_top_k_left() -> None:
    """k = 2 leaves 0.5 and 0.25, that is 2/3 and 1/3: top-p 0.6 keeps one, 0.7 keeps both."""
    logits = torch.tensor([0.05, 0.5, 0.08, 0.25, 0.12]).log()
    for top_p, kept in ((0.6, {1}), (0.7, {1, 3})):
        counts = draws(logits, SamplingParams(top_k=2, top_p=top_p), 5_000)
        assert set(counts.nonzero().flatten().tolist()) == kept


def test_kept_tokens_keep_their_proportions() -> None:
    """0.5 and 0.25 kept: two to one. 10,000 draws have a standard error of 0.5 points; 2 are allowed."""
    counts = draws(torch.tensor([0.05, 0.5, 0.08, 0.25, 0.12]).log(), SamplingParams(top_k=2), 10_000)
    assert counts[1] / counts.sum() == pytest.approx(2 / 3, abs=0.02)


def test_min_p_is_relative_to_the_best() -> None:
    """0.3 * 0.5 = 0.15: only 0.5 and 0.25 are at least that."""
    counts = draws(torch.tensor([0.05, 0.5, 0.08, 0.25, 0.12]).log(), SamplingParams(min_p=0.3), 5_000)
    assert set(counts.nonzero().flatten().tolist()) == {1, 3}


def test_rows_of_a_batch_follow_their_own_rules() -> None:
    """Greedy, plain, cut and min-p rows together draw exactly what each draws alone."""
    params = [
        SamplingParams(temperature=0),
        SamplingParams(temperature=1.3),
        SamplingParams(top_k=3),
        SamplingParams(top_p=0.6, temperature=0.7),
        SamplingParams(min_p=0.2),
        SamplingParams(top_k=1),
    ]
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(0)) * 2
    keys = np.arange(6, dtype=np.uint64)
    for position in range(20):
        u = uniforms(keys, np.full(6, position))
        temperature = np.array([p.temperature for p in params], dtype=np.float32)
        together = draw(tempered_logprobs(logits, temperature), Rules.of(params), u)
        for row, own in enumerate(params):
            alone = draw(
                tempered_logprobs(logits[row : row + 1], temperature[row : row + 1]),
                Rules.of([own]),
                u[row : row + 1],
            )
            assert alone.item() == together[row].item()


def test_a_forbidden_token_is_never_drawn_even_at_the_edge_of_the_unit_interval() -> None:
    """u just below 1 used to look beyond the last token when u * total rounded up to total."""
    edge = np.array([0.0, np.nextafter(np.float32(1), np.float32(0))] * 50, dtype=np.float32)
    logprobs = torch.randn(100, 40, generator=torch.Generator().manual_seed(2)).mul(3).log_softmax(-1)
    logprobs[:, -5:] = -math.inf
    logprobs[:, :3] = -math.inf
    ids = draw(logprobs, Rules.of([SamplingParams()] * 100), edge)
    assert ids.min() >= 3
    assert ids.max() < 35


def test_impossible_parameters_are_all_named_in_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"temperature is -1.*top_p is 2.*max_tokens is 0"):
        SamplingParams(temperature=-1, top_p=2, max_tokens=0)
