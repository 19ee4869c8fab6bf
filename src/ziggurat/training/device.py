"""Which device computes, decided here alone, and how models and batches get there.

    choose_device("auto")    CUDA where torch finds a GPU, else the CPU; with the reason in words
    place(model, "auto")     the model on that device
    moved(batch, device)     a batch (a dataclass of tensors, a tensor, or a collection of them) on a device

All other code asks a tensor or a model where it lies. The compiled loops of `model.cpu` take CPU tensors alone and
leave others to plain torch, so nothing else differs by device. No triton and no flash-attn: attention is torch's
`scaled_dot_product_attention`; `torch.compile` is used where triton is there (`model.compiled`).

Under torchrun every process takes the GPU of its LOCAL_RANK. Which GPUs there are is CUDA's own setting:
CUDA_VISIBLE_DEVICES, empty for none. Left out: one model in pieces on several devices of one process.
"""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ziggurat.errors import ConfigError
from ziggurat.memory import available_memory_bytes

DeviceSetting = Literal["auto", "cpu", "cuda"]
M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")


def choose_device(wanted: str = "auto") -> tuple[torch.device, str]:
    """The device and, in words, why. `wanted`: auto, cpu or cuda.

    Raises ConfigError for cuda where there is none.
    """
    if wanted == "cpu":
        return torch.device("cpu"), "the setting says so"
    if not torch.cuda.is_available():
        if wanted == "cuda":
            raise ConfigError(
                "device is cuda, and torch finds no GPU here; set device=auto, or install a torch built for CUDA."
            )
        return torch.device("cpu"), "torch finds no GPU"
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise ConfigError(
            f"process {number} of this machine has no GPU of its own, as there are {torch.cuda.device_count()}; "
            "start as many processes as there are GPUs, or set device=cpu."
        )
    return torch.device("cuda", number), torch.cuda.get_device_name(number)


def place(model: M, wanted: str = "auto") -> M:
    """`model` on the chosen device, in place. Do it before other objects share its buffers or an optimizer is built."""
    return model.to(choose_device(wanted)[0])


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters lie."""
    return next(model.parameters()).device


def moved(batch: T, device: torch.device) -> T:
    """The batch with every tensor inside it on `device`; what holds no tensor stays the same object."""
    found: Any = batch
    if isinstance(batch, Tensor):
        found = batch.to(device, non_blocking=True)
    elif is_dataclass(batch) and not isinstance(batch, type):
        parts = {f.name: getattr(batch, f.name) for f in fields(batch) if f.init}
        new = {name: moved(part, device) for name, part in parts.items()}
        if any(new[name] is not part for name, part in parts.items()):
            found = type(batch)(**new)
    elif isinstance(batch, tuple) and type(batch) is tuple:
        new_parts = tuple(moved(part, device) for part in batch)
        if any(new is not part for new, part in zip(new_parts, batch, strict=True)):
            found = new_parts
    elif isinstance(batch, dict):
        named = {name: moved(part, device) for name, part in batch.items()}
        if any(named[name] is not part for name, part in batch.items()):
            found = named
    return found  # type: ignore[no-any-return]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was asked; a clock read afterwards is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_memory_bytes(wanted: str = "auto") -> int:
    """Memory that can still be taken where a model of this setting computes: the GPU's own, or the machine's."""
    device, _ = choose_device(wanted)
    if device.type != "cuda":
        return available_memory_bytes()
    free, _total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
        device
    )  # torch keeps it for later
    return int(free + unused)


def used_memory_bytes(wanted: str = "auto") -> int:
    """What this process holds there."""
    device, _ = choose_device(wanted)
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    import psutil

    return int(psutil.Process().memory_info().rss)
