"""Several processes that train one model, started by torchrun: what they agree on, and a model in shards (FSDP2).

    torchrun --nproc-per-node 8 -m ziggurat pretrain --data annals.jsonl --out runs/large/pretrain-1

Every process draws the same batch of the whole step and computes its own rows; gradients of sums are added over the
processes and divided once by the count of the step, so the number of processes cannot change the result but for
rounding: sums are added in another order, and matrices have other shapes.

A Transformer that learns is sharded: each process holds a part of every weight, gradient and optimizer state, and
gathers a block when it computes it (PyTorch's `fully_shard`, ZeRO-3, arXiv:1910.02054). Whole on every process: what is
small (adapters, scalar heads) or stays still (an adapter's base, a reference, a reward model); the gradients of the
former are added. All processes run in lockstep: each gather waits for all, so each computes equally many microbatches.
What differs in length from process to process (generation) runs on a whole copy (`Transformer.whole`).

Between processes tensors travel by NCCL on GPUs, else by gloo. Left out: tensor, pipeline and context parallelism.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ziggurat.errors import RunError
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu.fast import keep_plain
from ziggurat.model.lora import is_adapted
from ziggurat.model.transformer import Transformer
from ziggurat.processes import processes, rank

T = TypeVar("T")
ENTRIES = ("forward", "hidden", "embed", "through", "logits", "nll")
"""Methods of a Transformer by which it is computed from outside."""


@cache
def _join() -> None:
    """Meet the other processes, once."""
    number = int(os.environ.get("LOCAL_RANK", "0"))
    own_gpu = number < torch.cuda.device_count()
    if own_gpu:
        torch.cuda.set_device(number)
    dist.init_process_group("cpu:gloo,cuda:nccl" if own_gpu else "gloo")
    atexit.register(dist.destroy_process_group)


def several() -> bool:
    """Whether there are others; the first call that finds some meets them."""
    if processes() == 1:
        return False
    _join()
    return True


# --- what processes agree on -----------------------------------------------------------------------------------------


def summed(values: Sequence[float]) -> list[float]:
    """Of all processes, each of the numbers."""
    return _reduced(values, dist.ReduceOp.SUM)


def least(value: float) -> float:
    return _reduced([value], dist.ReduceOp.MIN)[0]


def most(value: float) -> float:
    return _reduced([value], dist.ReduceOp.MAX)[0]


def _reduced(values: Sequence[float], how: Any) -> list[float]:
    if not several():
        return list(values)
    held = torch.tensor(list(values), dtype=torch.float64)  # by gloo: such numbers are on the CPU already
    dist.all_reduce(held, how)
    found: list[float] = held.tolist()
    return found


def add_up(tensors: Iterable[Tensor]) -> None:
    """Each tensor becomes its sum over the processes, in place."""
    if several():
        for tensor in tensors:
            dist.all_reduce(tensor)


def gathered(mine: T) -> list[T]:
    """What every process has, in their order."""
    if not several():
        return [mine]
    found: list[Any] = [None] * processes()
    dist.all_gather_object(found, mine)
    return found


def wait_for_all() -> None:
    """Raises RunError where another process has ended."""
    if several():
        try:
            dist.barrier()
        except RuntimeError as error:
            raise RunError("another process of this run has ended; what it printed says why.") from error


def share(items: Sequence[T]) -> list[T]:
    """This process's items of those that all have."""
    return list(items[rank() :: processes()])


# --- gradients -------------------------------------------------------------------------------------------------------


def is_shard(tensor: Any) -> bool:
    """Whether it is this process's part of a tensor (a DTensor)."""
    return hasattr(tensor, "placements")


def local(tensor: Any) -> Tensor:
    """The part of it that is here; of a whole tensor all of it."""
    found: Tensor = tensor.to_local() if is_shard(tensor) else tensor
    return found


def entire(tensor: Any) -> Tensor:
    """The whole of it, on every process."""
    found: Tensor = tensor.full_tensor() if is_shard(tensor) else tensor
    return found


def like(parameter: Tensor, value: Tensor) -> Tensor:
    """The part of a whole tensor that belongs beside the parameter, on its device."""
    value = value.to(parameter.device)
    if not is_shard(parameter) or is_shard(value) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = parameter
    return distribute_tensor(value, mesh.device_mesh, mesh.placements, src_data_rank=None)


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Of parameters that are whole on every process; those of shards are added in the backward pass."""
    if not several():
        return
    for parameter in parameters:
        if not is_shard(parameter):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)


# --- a model in shards -----------------------------------------------------------------------------------------------


def shard(module: nn.Module, dtype: torch.dtype) -> None:
    """Shard every Transformer inside `module` that learns and has no adapter, in place. One process: does nothing.

    Its blocks are gathered in `dtype`, in which they compute; gradients are added in fp32. Call it when `requires_grad`
    is set and before the optimizer is built.
    """
    if not several():
        return
    for body in [m for m in module.modules() if isinstance(m, Transformer)]:
        whole = not any(is_shard(p) for p in body.parameters())
        if whole and not is_adapted(body) and any(p.requires_grad for p in body.parameters()):
            _shard(body, dtype, body.embedding.weight.device)


def new_in_shards(config: ModelConfig, seed: int, dtype: torch.dtype, device: torch.device) -> Transformer:
    """A new model that is nowhere whole: weights are drawn one by one, and each process keeps its part."""
    several()
    with torch.device("meta"):
        body = Transformer(config, seed=None)
    _shard(body, dtype, device)
    body.to_empty(device=device)
    body.make_tables()
    body.to(device)
    body.init_weights(seed, quiet=True, put=lambda own, whole: local(own).copy_(local(like(own, whole))))
    return body


def _shard(body: Transformer, dtype: torch.dtype, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    keep_plain(body)
    mesh = init_device_mesh(device.type, (processes(),))
    in_blocks = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for block in body.blocks:
        fully_shard(block, mesh=mesh, mp_policy=in_blocks)
    whole = MixedPrecisionPolicy(
        cast_forward_inputs=False
    )  # embeddings and the last norm stay gathered in a step
    part: Any = fully_shard(body, mesh=mesh, mp_policy=whole, reshard_after_forward=False)
    part.set_reshard_after_backward(
        False, recurse=False
    )  # entries share these weights; `forget_gathered` lets go
    for part in (body, *body.blocks):
        part.set_gradient_divide_factor(1.0)  # sums; the step divides by its count
        part.set_force_sum_reduction_for_comms(True)
    for name in ENTRIES:
        plain = getattr(body, name)
        register_fsdp_forward_method(body, name)
        setattr(body, name, _outermost(body, plain, getattr(body, name)))
    body.whole = lambda: _whole_copy(body)  # type: ignore[method-assign]


def _outermost(body: Any, plain: Callable[..., Any], gathering: Callable[..., Any]) -> Callable[..., Any]:
    """`gathering`, and `plain` where another entry calls it."""

    @wraps(plain)
    def entry(*given: Any, **named: Any) -> Any:
        if getattr(body, "_inside", False):
            return plain(*given, **named)
        body._inside = True
        try:
            return gathering(*given, **named)
        finally:
            body._inside = False

    return entry


def forget_gathered(module: nn.Module) -> None:
    """Gather anew at the next use: the shards have changed. Call it after every optimizer step."""
    part: Any
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()


@torch.no_grad()
def _whole_copy(body: Transformer) -> Transformer:
    """All weights on every process, in the dtype that is computed in; for generation. Every process must call it."""
    copy = Transformer(body.config, seed=None).to(body.compute_dtype).to(body.embedding.weight.device)
    copy.compute_dtype = body.compute_dtype
    for buffer in ("table", "window_table"):  # fp32, also where the rest is not
        setattr(copy, buffer, getattr(body, buffer))
    weights = dict(body.named_parameters())
    for name, target in copy.named_parameters():
        target.copy_(entire(weights[name]))
    return copy.requires_grad_(False).train(body.training)
