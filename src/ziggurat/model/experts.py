"""A mixture of experts: several MLPs in a layer, of which each token passes a few.

    p = softmax(W x)                     the router; in fp32, for bf16 gives many experts one and the same score
    y = sum over the k highest p_e of    w_e MLP_e(x),    w_e = p_e, or p_e divided by the sum of the k (`normalized`)

Tokens are sorted by expert, so that each expert in use is one product of matrices over all its tokens; there is no
capacity, and no token is dropped. While gradients are computed every expert is called, those without tokens too: their
gradient is 0 rather than missing, which all processes of a sharded model must agree on.

A router that is left alone comes to send all tokens to few experts. The load-balancing loss of the Switch Transformer,
with all layers counted together as `transformers` does, is smallest where the load is even:

    E sum_e f_e P_e        f_e: choices of expert e by a token, P_e: mean probability of e; both over tokens and layers

1. f says where tokens went; it has no gradient. 2. P has one, and pushes down the experts that got the most.
3. E makes the value of an even load k, for any number of experts.

Source: Shazeer et al., arXiv:1701.06538; Fedus et al., arXiv:2101.03961, equations 4 to 6; Qwen3, arXiv:2505.09388.
Left out: experts that every token passes, capacity, noise on the scores, experts spread over processes.

Legend: N tokens of all rows, C model width, E experts, k experts of a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.config import ExpertsConfig


class Router(nn.Module):
    """Not a `Linear`: it is never rounded to few bits, has no adapter, and AdamW takes it."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> probabilities (N, E), fp32."""
        return F.linear(x.float(), self.weight.float()).softmax(-1)


class Mixture(nn.Module):
    """In the place of a block's MLP."""

    routing: Routing | None = None
    """What remembers how tokens are routed, while a loss is computed (`watched`)."""

    def __init__(self, width: int, config: ExpertsConfig, experts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.router = Router(width, config.count)
        self.experts = nn.ModuleList(experts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        rows = x.reshape(x.numel() // x.shape[-1], x.shape[-1])  # (N, C)
        probabilities = self.router(rows)  # (N, E)
        weights, chosen = probabilities.topk(self.config.active)  # (N, k)
        if self.config.normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        load = chosen.flatten().bincount(minlength=self.config.count)  # (E,)
        if self.routing is not None:
            self.routing.add(load, probabilities)
        order = chosen.flatten().argsort(stable=True)  # (N k,) choices by expert, then by token
        taken = rows.index_select(0, order // self.config.active)  # (N k, C)
        written = self._through(taken, load.tolist())  # here the CPU waits for the device
        back = written.index_select(0, order.argsort()).view(*weights.shape, -1)  # (N, k, C)
        y: Tensor = (back * weights.to(back.dtype)[..., None]).sum(1)
        return y.view(x.shape)

    def _through(self, taken: Tensor, load: list[int]) -> Tensor:
        """Rows sorted by expert (N k, C), each through its own; `load`: how many rows each expert has."""
        every = torch.is_grad_enabled()
        parts = zip(self.experts, taken.split_with_sizes(load), strict=True)
        return torch.cat([expert(part) for expert, part in parts if every or len(part)])


class Routing:
    """How the tokens of one loss were routed, in all layers together."""

    def __init__(self) -> None:
        self.load: Tensor | None = None
        self.probability: Tensor | None = None
        self.tokens = 0

    def add(self, load: Tensor, probabilities: Tensor) -> None:
        """Of one layer: choices by expert (E,), probabilities (N, E)."""
        summed = probabilities.sum(0)
        self.load = load if self.load is None else self.load + load
        self.probability = summed if self.probability is None else self.probability + summed
        self.tokens += len(probabilities)

    def balance(self) -> Tensor | None:
        """`load_balance` of what was seen; None where nothing was."""
        if self.load is None or self.probability is None or not self.tokens:
            return None
        return load_balance(self.load / self.tokens, self.probability / self.tokens)


def load_balance(load: Tensor, probability: Tensor) -> Tensor:
    """E sum f P: `load` (E,) choices of each expert by a token, `probability` (E,) its mean probability."""
    return len(load) * (load * probability).sum()


def mixtures_of(model: nn.Module) -> list[Mixture]:
    return [module for module in model.modules() if isinstance(module, Mixture)]


@contextmanager
def watched(mixtures: Sequence[Mixture]) -> Iterator[Routing]:
    """What is computed inside is added to the Routing. The backward pass belongs inside as well: a block that is
    recomputed must do again exactly what it did."""
    routing = Routing()
    for mixture in mixtures:
        mixture.routing = routing
    try:
        yield routing
    finally:
        for mixture in mixtures:
            mixture.routing = None
