"""A device for tests, where there is no GPU: its tensors are computed on the CPU, and may not meet those of the CPU.

To torch the probe is the meta device: a tensor on it is a `Held`, a wrapper around the real one. Every operation is
unwrapped, computed and wrapped again. One that mixes a tensor of the probe with one of the CPU raises, as it does on a
GPU; copies between the two and scalars (of no dimension) are allowed there too. `is_cpu` is False, so no compiled loop
of `model.cpu` may be taken, and `numpy()` is refused. A matrix product on the CPU raises too: a model stayed behind.

What it does not show: that a GPU's kernels exist for a dtype, and that they are fast.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import ziggurat.training.device as home
from ziggurat.model import lora
from ziggurat.model.transformer import Transformer

PROBE = torch.device("meta")
COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
PRODUCTS = {
    torch.ops.aten.mm,
    torch.ops.aten.addmm,
    torch.ops.aten.bmm,
    torch.ops.aten.baddbmm,
    torch.ops.aten.linear,
}


class Held(Tensor):
    """A tensor on the probe."""

    raw: Tensor
    loading = False  # an adapter is worked into its base before the model is placed
    is_meta = False  # it holds numbers
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: Tensor) -> Held:
        made: Held = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, raw.size(), raw.stride(), raw.storage_offset(), dtype=raw.dtype, device=PROBE
        )
        made.raw = raw
        return made

    def tolist(self) -> Any:
        return self.raw.tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Held({self.raw})"

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(op, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Sees what has no tensor among its arguments: `torch.zeros(3, device=device)`."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(op, args, kwargs or {})


def _computed(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    held = [t for t in tensors if isinstance(t, Held)]
    strangers = [t for t in tensors if not isinstance(t, Held) and t.ndim > 0]
    if held and strangers and op not in COPIES:
        shapes = [tuple(t.shape) for t in strangers]
        raise RuntimeError(f"{op} of tensors on the probe met tensors on the CPU of shapes {shapes}")
    if not held and op.overloadpacket in PRODUCTS and not Held.loading:
        raise RuntimeError(f"{op} was computed on the CPU: a model or a batch stayed behind")
    wanted = next((x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.device)), None)
    if op is torch.ops.aten.copy_.default:
        stays = isinstance(args[0], Held)
    else:
        stays = bool(held) if wanted is None else wanted == PROBE
    known = {id(t.raw): t for t in held}  # what an operation returns in place is the same object

    def unwrapped(x: Any) -> Any:
        if isinstance(x, torch.device):
            return torch.device("cpu")
        return x.raw if isinstance(x, Held) else x

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, Held):
            return x
        return known[id(x)] if stays and id(x) in known else Held(x) if stays else x

    if not torch.is_inference_mode_enabled():
        return tree_map(wrapped, op(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs)))
    with torch.inference_mode(False), torch.no_grad():  # a wrapper is an ordinary tensor in the engine too
        return tree_map(wrapped, op(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs)))


@contextmanager
def on_the_probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """`choose_device` chooses the probe, until the block ends."""
    was = home.choose_device

    def chosen(wanted: str = "auto") -> tuple[torch.device, str]:
        return (torch.device("cpu"), "the setting says so") if wanted == "cpu" else (PROBE, "a test says so")

    tensor = torch.tensor

    def made(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        return tensor(data, **options).to(device)

    def merged(view: Transformer) -> Transformer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Held, "loading", True)
            return lora.merged(view)

    with monkeypatch.context() as patch, _Factories():
        for name, module in list(sys.modules.items()):
            if name.startswith("ziggurat") and vars(module).get("choose_device") is was:
                patch.setattr(module, "choose_device", chosen)
        fused = sys.modules["torch.optim.optimizer"]  # knows no fused kernels for the meta device
        patch.setattr(fused, "_get_fused_kernels_supported_devices", lambda: ["meta", "cpu"])
        patch.setattr("ziggurat.model.hub.load.merged", merged)
        patch.setattr(torch, "tensor", made)  # torch makes one of the meta device out of sight
        torch.__future__.set_swap_module_params_on_conversion(
            True
        )  # `to` keeps parameters tied, as between CPU and GPU
        try:
            yield PROBE
        finally:
            patch.setattr("ziggurat.model.hub.load.merged", merged)
        patch.setattr(torch, "tensor", made)  # torch makes one of the meta device out of sight
        torch.__future__.set_swap_module_params_on_conversion(False)


def off_the_probe(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of tensors that are not on the probe."""
    return [name for name, t in named if not isinstance(t, Held)]
