"""Muon: momentum whose update is orthogonalised, for the weight matrices of the blocks.

    m <- m + (1 - mu) (g - m)                     momentum
    u  = g + mu (m - g)                           Nesterov's look ahead
    W <- W - lr sqrt(max(1, rows / columns)) NS(u)

With beta2 > 0 (NorMuon) the rows of O = NS(u) are brought to about one length, and O keeps its norm. Where a matrix is
wide its columns are: so it is the neurons of the MLP that learn at one pace, on both of their sides.

    v <- beta2 v + (1 - beta2) |O_row|^2          of each row
    O <- O / sqrt(v), times what gives it the norm that it had

`NS` drives every singular value of u towards 1 by odd polynomials, X <- aX + b(XX^T)X + c(XX^T)^2 X. Each round has its
own coefficients, which follow from what the rounds before it leave (Polar Express). Three rounds of it bring singular
values between 0.002 and 1 into about [0.2, 1.9], eight into [0.99, 1.01]. Three are enough: on the town's ladder they
learned as much as five of Jordan's (which land in [0.7, 1.2]), at three fifths of the cost (docs/log/training.md).

What differs from `torch.optim.Muon` (the test holds both equal): matrices of one shape go through Newton-Schulz
together, a tall one is multiplied from the right instead of being transposed, a product with aI + bA + cA^2 replaces
a product and a sum, the norm has a margin of 1 %, and a fused weight (q, k and v stacked in one matrix) is
orthogonalised in its parts. A matrix in shards (`training.parallel`) is gathered, and every process orthogonalises it.

Sources: Keller Jordan, "Muon: an optimizer for hidden layers" (kellerjordan.github.io/posts/muon), for the algorithm;
Amsel et al., "The Polar Express" (arXiv:2505.16932, algorithm 1), for the coefficients; Li et al., "NorMuon"
(arXiv:2510.05491, algorithm 1), for the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ziggurat.training import parallel

Coefficients = tuple[tuple[float, float, float], ...]
"""(a, b, c) of each round."""
POLAR_EXPRESS: Coefficients = (
    (8.287212, -23.595887, 17.300387),
    (4.107059, -2.947850, 0.544843),
    (3.948691, -2.908902, 0.551819),
    (3.318420, -2.488488, 0.510049),
    (2.300652, -1.668904, 0.418807),
    (1.891301, -1.267996, 0.376804),
    (1.875001, -1.250002, 0.375000),
    (1.875000, -1.250000, 0.375000),
)
"""The best for singular values from 0.001 to 1, round by round; from the eighth on they are all alike."""
MARGIN = 1.01
"""Of the norm: above 1, so that rounding to bf16 throws no singular value beyond where a round still shrinks it."""
EPS = 1e-7
"""Under the norm: a gradient of zero stays zero."""


def polar_express(rounds: int) -> Coefficients:
    """So many rounds' coefficients, all but the last for singular values up to `MARGIN`."""
    chosen = [*POLAR_EXPRESS, *(POLAR_EXPRESS[-1],) * (rounds - len(POLAR_EXPRESS))][:rounds]
    return *((a / MARGIN, b / MARGIN**3, c / MARGIN**5) for a, b, c in chosen[:-1]), chosen[-1]


POLAR_EXPRESS_3 = polar_express(3)


def newton_schulz(x: Tensor, coefficients: Coefficients) -> Tensor:
    """The nearest (half-)orthogonal matrices, roughly, to a batch x (N, R, C), in x's own precision."""
    tall = x.shape[1] > x.shape[2]
    norm = torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float32)[:, None, None]  # (N, 1, 1)
    x = x / norm.mul_(MARGIN).add_(EPS).to(x.dtype)  # brings every singular value to 1 or below
    for a, b, c in coefficients:
        gram = torch.bmm(x.mT, x) if tall else torch.bmm(x, x.mT)  # (N, S, S), S the shorter side
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b A + c A^2
        poly.diagonal(dim1=1, dim2=2).add_(a)  # one product with x ends the round, no sum of large matrices
        x = torch.bmm(x, poly) if tall else torch.bmm(poly, x)  # (N, R, C)
    return x


def even_lengths(updates: Tensor, squares: list[Tensor], beta2: float) -> None:
    """Brings the rows of updates (N, R, C), of wide ones the columns, to about one length, in place.

    squares: what is remembered of them, N of (max(R, C),).
    """
    across = 2 if updates.shape[1] >= updates.shape[2] else 1
    lengths = torch.linalg.vector_norm(updates, dim=across, dtype=torch.float32)  # (N, S), S the longer side
    torch._foreach_lerp_(squares, list(lengths.square()), 1.0 - beta2)
    factors = torch.stack(squares).clamp_min_(EPS**2).rsqrt_()  # (N, S)
    kept = lengths.norm(dim=1) / (lengths * factors).norm(dim=1).clamp_min_(EPS)  # (N,)
    updates.mul_((factors * kept[:, None]).unsqueeze(across).to(updates.dtype))


class _Matrix(NamedTuple):
    """Views of what belongs to one matrix, which may be a part of a fused weight."""

    weight: Tensor  # (R, C)
    look_ahead: Tensor  # (R, C)
    squares: Tensor  # (max(R, C),)


class Muon(torch.optim.Optimizer):
    """Updates 2-D parameters only. `rows` splits a fused weight into the row blocks that are matrices of their own.
    `step` works in the gradients themselves and leaves rubbish in them.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        beta2: float = 0.0,
        weight_decay: float = 0.0,
        coefficients: Coefficients = POLAR_EXPRESS_3,
        dtype: torch.dtype = torch.bfloat16,
        rows: dict[nn.Parameter, tuple[int, ...]] | None = None,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "beta2": beta2,
            "weight_decay": weight_decay,
        }
        super().__init__(list(params), defaults)
        self._dtype = dtype
        self._rows = rows or {}
        self._coefficients = coefficients
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon updates matrices only, this parameter has shape {tuple(p.shape)}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            shards = [parallel.local(p.grad) for p in params]
            momenta = [parallel.local(self._kept(p)["momentum"]) for p in params]
            torch._foreach_lerp_(momenta, shards, 1.0 - group["momentum"])
            torch._foreach_lerp_(shards, momenta, group["momentum"])  # now Nesterov's look ahead
            if group["weight_decay"]:
                mine = [parallel.local(p) for p in params]
                torch._foreach_mul_(mine, 1.0 - group["lr"] * group["weight_decay"])
            whole = [parallel.entire(p.grad) for p in params]
            steps = [
                torch.zeros_like(one) if parallel.is_shard(p) else p
                for p, one in zip(params, whole, strict=True)
            ]
            for parts in self._buckets(params, steps, whole):
                batch = torch.stack([part.look_ahead.to(self._dtype) for part in parts])  # (N, R, C)
                _, rows, columns = batch.shape
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                updates = newton_schulz(batch, self._coefficients)
                if group["beta2"]:
                    even_lengths(updates, [part.squares for part in parts], group["beta2"])
                for part, update in zip(parts, updates, strict=True):
                    part.weight.add_(update, alpha=-scale)
            for p, step in zip(params, steps, strict=True):
                if parallel.is_shard(p):
                    parallel.local(p).add_(parallel.local(parallel.like(p, step)))

    def _kept(self, p: nn.Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if not state:
            squares = parallel.local(p).new_zeros(sum(self._longer_sides(p)))
            state |= {"momentum": torch.zeros_like(p), "squares": squares}
        return state

    def _longer_sides(self, p: nn.Parameter) -> list[int]:
        """Of each of its matrices."""
        return [max(rows, p.shape[1]) for rows in self._rows.get(p, (len(p),))]

    def _buckets(
        self, params: list[nn.Parameter], weights: Sequence[Tensor], look_aheads: list[Tensor]
    ) -> list[list[_Matrix]]:
        """The matrices, those of one shape together; `weights`: what their updates are added to."""
        buckets: dict[tuple[torch.Size, torch.device], list[_Matrix]] = {}
        for p, weight, look_ahead in zip(params, weights, look_aheads, strict=True):
            rows = list(self._rows.get(p, (len(p),)))
            squares = torch.split(self._kept(p)["squares"], self._longer_sides(p))
            views = zip(torch.split(weight, rows), torch.split(look_ahead, rows), squares, strict=True)
            for matrix in map(_Matrix._make, views):
                buckets.setdefault((matrix.weight.shape, p.device), []).append(matrix)
        return list(buckets.values())
