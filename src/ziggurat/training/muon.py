"""Muon: momentum whose update is orthogonalised, for the weight matrices of the blocks.

    m <- m + (1 - mu) (g - m)                     momentum
    u  = g + mu (m - g)                           Nesterov's look ahead
    W <- W - lr sqrt(max(1, rows / columns)) NS(u)

`NS` drives every singular value of u towards 1 by an odd polynomial, X <- aX + b(XX^T)X + c(XX^T)^2 X, whose
coefficients are chosen to be steep at zero: they land in about [0.7, 1.2], not at 1, and that is enough.

What differs from `torch.optim.Muon` (the test holds both equal): matrices of one shape go through Newton-Schulz
together (a wide one and the transpose of a tall one count as one shape), the iteration runs on the smaller side, its
three products are batched, and a fused weight (q, k and v stacked in one matrix) is orthogonalised in its parts.

Sources: Keller Jordan, "Muon: an optimizer for hidden layers" (kellerjordan.github.io/posts/muon), for the algorithm
and the coefficients; measurements in docs/training.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def newton_schulz(x: Tensor, steps: int = 5) -> Tensor:
    """Orthogonalise a batch (N, R, C) of matrices with R <= C, in x's own precision. Overwrites x."""
    a, b, c = NS_COEFFICIENTS
    norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32)
    x.div_((norm + 1e-7).to(x.dtype))
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)  # (N, R, R)
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b A + c A^2
        poly.diagonal(dim1=1, dim2=2).add_(a)  # so that one product, not a product and a sum, ends the round
        x = torch.bmm(poly, x)  # (N, R, C)
    return x


class Muon(torch.optim.Optimizer):
    """Updates 2-D parameters only. `rows` splits a fused weight into the row blocks that are matrices of their own."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 5,
        dtype: torch.dtype = torch.bfloat16,
        rows: dict[nn.Parameter, tuple[int, ...]] | None = None,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__(list(params), defaults)
        self._dtype = dtype
        self._rows = rows or {}
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon updates matrices only, this parameter has shape {tuple(p.shape)}")

    def _parts(self, param: nn.Parameter, tensor: Tensor) -> list[Tensor]:
        """The matrices of one parameter (or of its gradient or momentum), as views."""
        rows = self._rows.get(param)
        return list(tensor.split(rows)) if rows else [tensor]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None, "Muon takes no closure"
        for group in self.param_groups:
            buckets: dict[tuple[Any, ...], list[tuple[Tensor, Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                pieces = zip(
                    self._parts(p, p), self._parts(p, p.grad), self._parts(p, state["momentum"]), strict=True
                )
                for weight, grad, momentum in pieces:
                    shape = (min(weight.shape), max(weight.shape), weight.device)
                    buckets.setdefault(shape, []).append((weight, grad, momentum))
            for (short, long, device), bucket in buckets.items():
                batch = torch.empty(len(bucket), short, long, dtype=self._dtype, device=device)
                _update_bucket(bucket, batch, group)


def _update_bucket(bucket: list[tuple[Tensor, Tensor, Tensor]], batch: Tensor, group: dict[str, Any]) -> None:
    """One step for the matrices of one shape, tall ones laid down; `batch` (N, short, long) is room to work in."""
    lr, mu, decay = group["lr"], group["momentum"], group["weight_decay"]
    for slot, (weight, grad, momentum) in zip(batch, bucket, strict=True):
        momentum.lerp_(grad, 1.0 - mu)
        look_ahead = torch.lerp(grad, momentum, mu)
        slot.copy_(look_ahead if weight.shape[0] <= weight.shape[1] else look_ahead.T)
    batch = newton_schulz(batch, group["steps"])
    for update, (weight, _, _) in zip(batch, bucket, strict=True):
        rows, columns = weight.shape
        if decay:
            weight.mul_(1.0 - lr * decay)
        scale = lr * max(1.0, rows / columns) ** 0.5
        weight.add_(update if rows <= columns else update.T, alpha=-scale)
