"""The checkpoint of a run of several processes: PyTorch's distributed checkpoint, beside what a plain one has.

    checkpoints/step-000120/
      shards/              torch.distributed.checkpoint: <module>/<parameter> and optimizer/<name>, in the parts that
                           the processes hold; reading cuts them anew, so another number of processes can resume
      model/               (PPO: policy/ and critic/) the tokenizer, and module.json: what the shards are of
      random-0.json ...    random states of every process
      state.json           as in a plain checkpoint

A module that is whole on every process is saved as in a plain checkpoint. `gather_module` makes a Hugging Face folder
out of the shards, in one process: `ziggurat models export RUN/checkpoints/step-000120 --to hf --out FOLDER`.
Resumed by as many processes, a run ends with the same bytes; by another number, it goes on with other rounding.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.errors import RunError
from ziggurat.files import atomic_write_text, read_json, write_json
from ziggurat.model import hub
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import ScalarModel
from ziggurat.model.hub.load import with_head
from ziggurat.model.hub.save import head_of
from ziggurat.model.transformer import Transformer
from ziggurat.places import POLICY_FOLDERS, SHARDED_MODULE, find_run
from ziggurat.processes import processes, rank, writes
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.training import parallel

SHARDS = "shards"
MODULE_FORMAT = 1
"""Version of module.json."""


def in_shards(module: nn.Module) -> bool:
    """Whether its weights are spread over the processes."""
    return any(parallel.is_shard(p) for p in module.parameters())


def save(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizer_tensors: Mapping[str, Tensor],
    states: Mapping[str, Any],
    tokenizer: Any,
) -> None:
    """Everything but state.json and the modules that are whole; every process calls it."""
    tensors: dict[str, Any] = {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors.items()}
    for name, module in modules.items():
        if in_shards(module):
            tensors |= {f"{name}/{key}": tensor for key, tensor in module.state_dict().items()}
            if writes():
                _describe(module, folder / name, tokenizer)
    with _quietly():
        import_module("torch.distributed.checkpoint").save(tensors, checkpoint_id=folder / SHARDS)
    kept = {**states, "torch": {name: state.tolist() for name, state in states["torch"].items()}}
    atomic_write_text(folder / f"random-{rank()}.json", json.dumps(kept) + "\n")


def _describe(module: nn.Module, folder: Path, tokenizer: Any) -> None:
    """What the shards are of: enough to build the module again."""
    body: Any = module.body if isinstance(module, ScalarModel) else module
    head = head_of(module)[0] if isinstance(module, ScalarModel) else None
    folder.mkdir(exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(folder)
    ids = {key: dict(value) for key, value in body.token_ids.items()}
    shape = {"config": body.config.model_dump(mode="json"), "token_ids": ids, "head": head}
    write_json(folder / SHARDED_MODULE, shape, MODULE_FORMAT)


def load(
    folder: Path, modules: Mapping[str, nn.Module], parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Fill the modules that were saved in shards; returns the optimizers' tensors and this process's random states.

    `parameters`: those that the optimizers update, by the end of the names of their states. Any number of processes may
    read what another number wrote.
    """
    known = _sizes(folder)
    target: dict[str, Any] = {}
    for name, module in modules.items():
        own = {f"{name}/{key}": tensor for key, tensor in module.state_dict().items()}
        target |= own if own.keys() <= known.keys() else {}
    filled = len(target)
    for name, (size, dtype) in known.items():
        if name.startswith("optimizer/"):
            target[name] = _room(parameters.get(name.rpartition("/")[2].split(".", 3)[-1]), size, dtype)
    _read(folder, target)
    for module in modules.values():
        parallel.forget_gathered(module)
    tensors = {name.removeprefix("optimizer/"): target[name] for name in list(target)[filled:]}
    return tensors, _random_states(folder)


def _room(parameter: nn.Parameter | None, size: torch.Size, dtype: torch.dtype) -> Tensor:
    """Where a state of the parameter is read to: in shards as it is, where it has its shape."""
    if parameter is not None and parallel.is_shard(parameter) and parameter.shape == size:
        return torch.zeros_like(parameter, dtype=dtype)
    return torch.empty(size, dtype=dtype, device=None if parameter is None else parameter.device)


def _random_states(folder: Path) -> dict[str, Any]:
    """Of this process, or of process 0 where fewer wrote the checkpoint."""
    wrote = len(list(folder.glob("random-*.json")))
    if wrote != processes():
        err.print(
            f"{folder.name} was written by {wrote} processes and is resumed by {processes()}: the run goes on with "
            "other rounding, not byte for byte."
        )
    path = folder / f"random-{rank() if rank() < wrote else 0}.json"
    states: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    torch_states = {name: torch.tensor(state, dtype=torch.uint8) for name, state in states["torch"].items()}
    return {**states, "torch": torch_states}


def module_in_shards(name_or_path: str) -> tuple[Path, str] | None:
    """(checkpoint, name of the module) of what can be answered with, where the name means a checkpoint in shards."""
    folder = find_run(name_or_path.rpartition("@")[2])
    for place in (folder, *(folder / inner for inner in POLICY_FOLDERS)):
        if (place / SHARDED_MODULE).is_file():
            return place.parent, place.name
    return None


def gather_module(checkpoint: Path, name: str, folder: Path) -> None:
    """A Hugging Face folder of one module of the checkpoint, read by this process alone. Raises RunError."""
    if not (checkpoint / name / SHARDED_MODULE).is_file():
        raise RunError(
            f"{checkpoint} holds no shards of {name}/; name a checkpoint of a run of several processes."
        )
    shape = read_json(checkpoint / name / SHARDED_MODULE, MODULE_FORMAT)
    body = Transformer(ModelConfig(**shape["config"]), seed=None)
    body.token_ids = shape["token_ids"]
    module: nn.Module = body if shape["head"] is None else with_head(body, shape["head"])
    target = {f"{name}/{key}": tensor for key, tensor in module.state_dict().items()}
    _read(checkpoint, target, alone=True)
    tokenizer = (
        Tokenizer.load(checkpoint / name) if (checkpoint / name / "tokenizer.json").is_file() else None
    )
    if isinstance(module, ScalarModel):
        hub.save_scalar(module, folder, tokenizer)
    else:
        hub.save_model(body, folder, tokenizer)


def _sizes(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and dtype of every tensor in the shards."""
    dcp: Any = import_module("torch.distributed.checkpoint")
    found = dcp.FileSystemReader(folder / SHARDS).read_metadata().state_dict_metadata
    return {name: (one.size, one.properties.dtype) for name, one in found.items()}


def _read(folder: Path, target: dict[str, Any], *, alone: bool = False) -> None:
    """Fill the tensors in place."""
    dcp: Any = import_module("torch.distributed.checkpoint")  # half a second
    try:
        with _quietly():
            dcp.load(target, checkpoint_id=folder / SHARDS, no_dist=alone or processes() == 1)
    except (OSError, dcp.CheckpointException) as error:
        raise RunError(
            f"checkpoint {folder} cannot be read ({error}); delete it to resume from the one before."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """torch warns that one process saves by itself, and of its own deprecated parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
