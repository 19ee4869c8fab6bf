"""Which parameter is updated by which optimizer, and what both need around a step.

Muon takes the weight matrices of the blocks (a Transformer names them itself, with the parts of its fused weights);
AdamW takes embeddings, unembedding, gains, biases and scalar heads. Frozen parameters are left alone. Decay touches
matrices only. The pair behaves as one optimizer whose learning rates follow one schedule factor.

Left out: rates per layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.model.heads import ScalarModel
from ziggurat.model.lora import adapters_of
from ziggurat.model.prefix import Prefix
from ziggurat.model.transformer import Transformer
from ziggurat.training import parallel
from ziggurat.training.config import OptimizerConfig
from ziggurat.training.eager import AdamW, leave_the_compiler_out
from ziggurat.training.muon import Muon, polar_express
from ziggurat.training.precision import choose_dtype


class Optimizers:
    """Muon and AdamW (or AdamW alone) in step. `lr_matrix` and `lr_adam` are the rates now in force."""

    def __init__(self, members: dict[str, torch.optim.Optimizer], names: dict[nn.Parameter, str]) -> None:
        self.members = members
        self.names = names
        """Parameter names, so that checkpoints call every piece of state by its parameter."""
        self._peaks = {name: [float(group["lr"]) for group in o.param_groups] for name, o in members.items()}

    @property
    def lr_adam(self) -> float:
        return float(self.members["adamw"].param_groups[0]["lr"])

    @property
    def lr_matrix(self) -> float:
        return float(self.members["muon"].param_groups[0]["lr"]) if "muon" in self.members else self.lr_adam

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for o in self.members.values() for group in o.param_groups for p in group["params"]]

    def set_lr_factor(self, factor: float) -> None:
        """Every rate becomes its peak times `factor`."""
        for name, optimizer in self.members.items():
            for group, peak in zip(optimizer.param_groups, self._peaks[name], strict=True):
                group["lr"] = peak * factor

    def step(self) -> None:
        for optimizer in self.members.values():
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.members.values():
            optimizer.zero_grad(set_to_none=True)

    def describe(self) -> str:
        """One clause for people: which optimizer updates what at which peak rate."""
        clauses = []
        for name, optimizer in self.members.items():
            params = [p for group in optimizer.param_groups for p in group["params"]]
            count = sum(p.numel() for p in params)
            title = {"muon": "Muon", "adamw": "AdamW"}[name]
            rates = " and ".join(f"{lr:g}" for lr in dict.fromkeys(self._peaks[name]))
            clauses.append(f"{title} lr {rates} for {len(params)} tensors ({count:,} parameters)")
        return ", ".join(clauses)


def muon_rows(model: nn.Module) -> dict[nn.Parameter, tuple[int, ...]]:
    """The trainable block matrices of every Transformer inside `model`, with the row counts of their parts."""
    rows: dict[nn.Parameter, tuple[int, ...]] = {}
    for module in model.modules():
        if isinstance(module, Transformer):
            params = dict(module.named_parameters())
            rows |= {params[name]: parts for name, parts in module.muon_matrices().items()}
    return {p: parts for p, parts in rows.items() if p.requires_grad}


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """The optimizers of one model. A module without a Transformer inside has no block matrices: AdamW takes it all."""
    leave_the_compiler_out()
    names = {p: name for name, p in model.named_parameters() if p.requires_grad}
    rows = muon_rows(model) if config.optimizer == "muon" else {}
    rest = [p for p in names if p not in rows]
    members: dict[str, torch.optim.Optimizer] = {}
    if rows:
        members["muon"] = Muon(
            [p for p in names if p in rows],
            lr=config.lr_matrix,
            momentum=config.momentum,
            beta2=config.muon_beta2,
            weight_decay=config.weight_decay,
            coefficients=polar_express(config.newton_schulz_steps),
            dtype=choose_dtype("auto", next(iter(rows)).device)[0],
            rows=rows,
        )
    heads = _head_parameters(model) if config.lr_head > config.lr_adam else set()
    adapters = {p for layer in adapters_of(model).values() for p in layer.parameters()}
    virtual = {p for module in model.modules() if isinstance(module, Prefix) for p in module.parameters()}
    groups: list[dict[str, Any]] = []
    for lr, params in (
        (config.lr_adam, [p for p in rest if p not in heads | adapters | virtual]),
        (config.lr_head, [p for p in rest if p in heads]),
        (config.lr_adam * config.lora.lr_factor, [p for p in rest if p in adapters]),
        (config.lr_adam * config.prefix.lr_factor, [p for p in rest if p in virtual]),
    ):
        for alike in ([p for p in params if parallel.is_shard(p) == kind] for kind in (False, True)):
            matrices, vectors = [p for p in alike if p.ndim >= 2], [p for p in alike if p.ndim < 2]
            groups.append({"params": matrices, "lr": lr, "weight_decay": config.weight_decay})
            groups.append({"params": vectors, "lr": lr, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    members["adamw"] = AdamW(groups or [{"params": []}], lr=config.lr_adam, betas=config.betas, fused=True)
    return Optimizers(members, names)


def _head_parameters(model: nn.Module) -> set[nn.Parameter]:
    """The parameters of every ScalarModel inside `model` that are not its body's."""
    scalars = [module for module in model.modules() if isinstance(module, ScalarModel)]
    return {p for one in scalars for p in one.parameters()} - {
        p for one in scalars for p in one.body.parameters()
    }


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Norm of the whole gradient, of shards over all processes; a tensor, so that asking for it need not wait."""
    grads = [p.grad for p in parameters if p.grad is not None]
    shards = [parallel.local(grad) for grad in grads if parallel.is_shard(grad)]
    rest = [grad for grad in grads if not parallel.is_shard(grad)]
    norm = torch.nn.utils.get_total_norm(rest) if rest else torch.zeros(())
    if not shards:
        return norm
    square = torch.nn.utils.get_total_norm(shards).square()
    parallel.add_up([square])
    return (square + norm.to(square.device).square()).sqrt()


def scale_gradients(parameters: Iterable[nn.Parameter], factor: float) -> None:
    """Multiply every gradient in place."""
    grads = [parallel.local(p.grad) for p in parameters if p.grad is not None]
    if grads and factor != 1.0:
        torch._foreach_mul_(grads, factor)
