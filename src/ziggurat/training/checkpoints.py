"""Training state on disk: everything that a resumed run needs to end with the same bytes.

    checkpoints/step-000120/
      model/               (PPO: policy/ and critic/) weights in Hugging Face layout, fp32 masters
      optimizer.safetensors  every tensor as <optimizer>.<state>.<parameter name>, by name and not by index
      random.safetensors   torch's generators
      state.json           step, data position, python's and numpy's random states, optimizer scalars

Nothing here is pickled. The run folder (`Run.save_checkpoint`) makes the save atomic and marks it COMPLETE.
A run of several processes saves in shards (`training.sharded_checkpoints`); either kind is resumed by any number.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ziggurat.errors import RunError
from ziggurat.files import FORMAT_VERSION, atomic_write_text, read_json
from ziggurat.model import hub
from ziggurat.model.confidence import current_name
from ziggurat.model.heads import ScalarModel
from ziggurat.model.hub.adapters import load_into
from ziggurat.model.hub.load import load_heads
from ziggurat.model.transformer import Transformer
from ziggurat.places import SHARDED_MODULE
from ziggurat.processes import processes, writes
from ziggurat.training import parallel, sharded_checkpoints
from ziggurat.training.optimizers import Optimizers

STATE_FORMAT = 2
"""Version of state.json, optimizer.safetensors and random.safetensors. Version 1: `training.former`."""


def save_training_state(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizers],
    extra: dict[str, Any],
    *,
    randomness: dict[str, Any] | None = None,
    tokenizer: Any = None,
) -> None:
    """Write modules, optimizers, random states (`randomness`, default: those of now) and `extra` (JSON-able)."""
    for name, module in modules.items():
        if writes() and not sharded_checkpoints.in_shards(module):
            _save_module(module, folder / name, tokenizer)
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        _collect_optimizer(f"{name}.", optimizer, tensors, scalars)
    states = randomness or random_states()
    if processes() > 1:
        sharded_checkpoints.save(folder, modules, tensors, states, tokenizer)
    else:
        save_file(tensors, folder / "optimizer.safetensors")
        save_file(states["torch"], folder / "random.safetensors")
    if not writes():
        return
    document = {
        FORMAT_VERSION: STATE_FORMAT,
        "extra": extra,
        "optimizer": scalars,
        "python": states["python"],
        "numpy": states["numpy"],
    }
    text = json.dumps(document, sort_keys=True)  # NaN and infinity stay: a resumed run needs the same numbers
    atomic_write_text(folder / "state.json", text + "\n")


def load_training_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizers]
) -> dict[str, Any]:
    """Put everything back, random states included, into existing objects; returns `extra`."""
    try:
        document = read_json(folder / "state.json", STATE_FORMAT)
        if (folder / sharded_checkpoints.SHARDS).is_dir():
            names = {name: p for one in optimizers.values() for p, name in one.names.items()}
            tensors, states = sharded_checkpoints.load(folder, modules, names)
        else:
            tensors = {current_name(k): v for k, v in load_file(folder / "optimizer.safetensors").items()}
            states = {
                "torch": load_file(folder / "random.safetensors"),
                "python": document["python"],
                "numpy": document["numpy"],
            }
    except (OSError, ValueError, SafetensorError, RunError) as error:
        message = f"checkpoint {folder} cannot be read ({error}); delete it to resume from the one before."
        raise RunError(message) from error
    for name, module in modules.items():
        if not (folder / name / SHARDED_MODULE).is_file():
            _load_module(module, folder / name)
            parallel.forget_gathered(module)
    for name, optimizer in optimizers.items():
        _restore_optimizer(f"{name}.", optimizer, tensors, document["optimizer"], folder)
    restore_random_states(states)
    extra: dict[str, Any] = document["extra"]
    return extra


# --- weights -------------------------------------------------------------------------------------------------------


def _save_module(module: nn.Module, folder: Path, tokenizer: Any) -> None:
    if isinstance(module, ScalarModel):
        hub.save_scalar(module, folder, tokenizer)
    elif isinstance(module, Transformer):
        hub.save_model(module, folder, tokenizer)
    else:  # anything else is saved plainly, without a layout that others read
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in module.state_dict().items()}, folder / "module.safetensors")


def _load_module(module: nn.Module, folder: Path) -> None:
    body = module.body if isinstance(module, ScalarModel) else module
    if isinstance(body, Transformer) and body.adapter is not None:
        heads = load_into(body, folder)
        if isinstance(module, ScalarModel):
            load_heads(module, heads)
        return
    if isinstance(module, ScalarModel):
        weights = hub.load_scalar(folder).state_dict()
    elif isinstance(module, Transformer):
        weights = hub.load_model(folder).state_dict()
    else:
        weights = load_file(folder / "module.safetensors")
    if not sharded_checkpoints.in_shards(module):
        module.load_state_dict(weights)
        return
    with torch.no_grad():
        for name, part in module.state_dict().items():
            parallel.local(part).copy_(parallel.local(parallel.like(part, weights[name])))


# --- optimizers ----------------------------------------------------------------------------------------------------


def _collect_optimizer(
    prefix: str, optimizer: Optimizers, tensors: dict[str, Tensor], scalars: dict[str, Any]
) -> None:
    for member_name, member in optimizer.members.items():
        for param, param_name in optimizer.names.items():
            state: dict[str, Any] = member.state.get(param, {})
            for key, value in state.items():
                name = f"{prefix}{member_name}.{key}.{param_name}"
                if isinstance(value, Tensor):
                    tensors[name] = value.detach().contiguous()
                else:
                    scalars[name] = value


def _restore_optimizer(
    prefix: str, optimizer: Optimizers, tensors: dict[str, Tensor], scalars: dict[str, Any], folder: Path
) -> None:
    params = {name: param for param, name in optimizer.names.items()}
    for member_name, member in optimizer.members.items():
        member.state.clear()
        start = f"{prefix}{member_name}."
        for name, value in [*tensors.items(), *scalars.items()]:
            if not name.startswith(start):
                continue
            key, _, param_name = name.removeprefix(start).partition(".")
            param = params.get(param_name)
            if param is None:
                raise RunError(
                    f"checkpoint {folder} has optimizer state of {param_name}, which this model does not train; "
                    "resume with the configuration that wrote it."
                )
            # beside the parameter, the step count of fused AdamW too
            member.state[param][key] = parallel.like(param, value) if isinstance(value, Tensor) else value


# --- random states -------------------------------------------------------------------------------------------------


def random_states() -> dict[str, Any]:
    """Global states of torch, python and numpy, as of now."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": states,
        "python": [version, list(numbers), gauss],
        "numpy": [kind, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"]["cpu"])
    for number in range(torch.cuda.device_count()):  # a checkpoint of another machine may have fewer, or none
        if (kept := states["torch"].get(f"cuda{number}")) is not None:
            torch.cuda.set_rng_state(kept, number)
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def seed_everything(seed: int) -> None:
    """Seed torch, numpy and python alike."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
