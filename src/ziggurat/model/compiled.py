"""Blocks, and the next-token loss, compiled by torch.compile for learning on a GPU.

Put on from outside, as `recompute` is. One graph serves all blocks of a model, since they are one class with other
weights. Without gradients, and with a cache, a block computes as before: the engine's shapes change at every step. So
does a block with experts, whose shapes follow the routing.
On a CPU `model.cpu` is faster.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.errors import ConfigError
from ziggurat.model.experts import Mixture
from ziggurat.model.layers import token_nll
from ziggurat.model.transformer import Block, Cache, Transformer

BACKEND = "inductor"


def compiles(wanted: str, device: torch.device) -> bool:
    """Whether blocks are compiled. `wanted`: on, off, or auto: on a GPU that triton compiles for.

    Raises ConfigError for on where torch.compile cannot work.
    """
    if wanted == "off":
        return False
    from torch.utils._triton import has_triton

    able = device.type == "cuda" and has_triton()
    if wanted == "on" and not able:
        raise ConfigError(
            f"compile is on, and torch.compile needs triton and a GPU, and this model is on {device}; set compile=auto."
        )
    return able


def compile_blocks(model: nn.Module) -> None:
    """Give every block inside `model` a class whose forward pass is compiled, in place; and the loss of its logits."""
    for module in model.modules():
        if getattr(module, "compiled", False):
            continue
        if isinstance(module, Block) and not isinstance(module.mlp, Mixture):
            module.__class__ = _compiled(type(module))
        elif isinstance(module, Transformer):
            module.__class__ = _with_compiled_loss(type(module))


_kinds: dict[Any, Any] = {}


def _with_compiled_loss(kind: Any) -> Any:
    """The class of that name whose `nll` makes one pass over the logits instead of several."""
    if kind in _kinds:
        return _kinds[kind]
    fused = torch.compile(token_nll, backend=BACKEND)

    class Compiled(kind):  # type: ignore[misc]
        compiled = True

        def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
            return fused(hidden, self.unembedding.weight_as(hidden.dtype), targets)

    Compiled.__name__ = f"Compiled{kind.__name__}"
    _kinds[kind] = Compiled
    return Compiled


def _compiled(kind: Any) -> Any:
    """The class of that name whose forward pass is compiled where a model learns."""
    if kind in _kinds:
        return _kinds[kind]
    fused = torch.compile(kind.forward, backend=BACKEND)

    class Compiled(kind):  # type: ignore[misc]
        compiled = True

        def forward(
            self, x: Tensor, rotary: Tensor | None, bias: Tensor | None, cache: Cache | None
        ) -> Tensor:
            if cache is not None or not torch.is_grad_enabled():
                return super().forward(x, rotary, bias, cache)  # type: ignore[no-any-return]
            return fused(self, x, rotary, bias, None)  # type: ignore[no-any-return,no-untyped-call]

    Compiled.__name__ = f"Compiled{kind.__name__}"
    _kinds[kind] = Compiled
    return Compiled
