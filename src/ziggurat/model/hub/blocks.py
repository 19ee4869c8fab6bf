"""The matrices of a GGUF file as they are: kept beside the weights, and read to serve the model in 4 bits.

A model from a GGUF file of 4 bits is dequantised once for everything that computes in floats (`gguf_read`). To serve it
in 4 bits again, its own codes are better than new ones: nothing is rounded twice, and the floats are never read. So the
blocks of Q4_0, Q4_1 and Q8_0 are kept in `model.blocks`, a safetensors file by Hugging Face's names and in their order
of rows, each tensor (rows, bytes of a row) uint8, its type in the file's metadata.

    Q4_0   d fp16, 16 bytes                  weight = d (code - 8)       low halves are columns 0..15, high 16..31
    Q4_1   d fp16, m fp16, 16 bytes          weight = d code + m
    Q8_0   d fp16, 32 signed bytes           weight = d code

What the file holds in other types is rounded to 8 bits from the weights. Source: ggml-common.h of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.cpu import accelerate
from ziggurat.model.cpu.groups import GROUP, STRIP, GroupedLinear, pack, put_grouped, strip_bytes
from ziggurat.model.hub.family import Source
from ziggurat.model.hub.load import _expected, _pieces, _read_folder, _token_ids
from ziggurat.model.hub.stored import StoredTensors
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

if TYPE_CHECKING:
    from ziggurat.model.hub.gguf_read import GGUFFile

Pieces = Sequence[tuple[str, Tensor, Source]]
"""Stored tensors that one of our matrices is made of, the part that each one fills, and how (`load._pieces`)."""
FILE = "model.blocks"
BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}
"""Of 32 columns."""
PART_BYTES = 4 * 1024**2
"""So much of a tensor's blocks is in memory at a time, beside the strips that are filled."""


def write_blocks(file: GGUFFile, folder: Path) -> bool:
    """Keep the blocks of `file` in `folder`; False, and nothing written, where it has none of 4 bits."""
    kept, types = {}, {}
    for name, theirs in file.names.items():
        tensor = file.tensors.get(theirs)
        if tensor is None or len(tensor.shape) != 2 or file.layout.transposed(name):
            continue
        if (kind := tensor.tensor_type.name) in BLOCK_BYTES:
            rows = file.layout.from_gguf(name, np.asarray(tensor.data))
            kept[name], types[name] = torch.from_numpy(np.array(rows)), kind  # the file is mapped read-only
    if not any(kind.startswith("Q4") for kind in types.values()):
        return False
    save_file(kept, folder / FILE, metadata=types)
    return True


def load_grouped(folder: Path, dtype: torch.dtype, bits: int) -> Transformer:
    """The model of `folder` with matrices of 8 or 4 bits a weight, computing in `dtype`; one matrix of floats is in
    memory at a time. For 4 bits its own blocks are taken where they are kept, and a tied embedding has 8.

    Raises ModelFolderError as `load_model` does, and where kept blocks do not belong to the weights.
    """
    it = _read_folder(folder)
    stored = StoredTensors(folder, it.family)
    if "score.weight" in stored:
        raise ModelFolderError(
            f"{folder} holds a reward model or critic, not a language model; give the run it scores."
        )
    model = Transformer(it.config, seed=None)
    matrices = _matrices(model)
    for name, parameter in model.named_parameters():  # memory is taken when it is first written to
        parameter.data = torch.empty_like(parameter, dtype=stored.dtype if name in matrices else dtype)
    expected = _expected(it, model, stored, scalar=False)
    blocks = _Blocks(folder) if bits == 4 and (folder / FILE).is_file() else None
    with torch.no_grad():
        for ours, pieces in _pieces(it, model):
            made = None if blocks is None or ours not in matrices else blocks.matrix(pieces)
            if made is None:
                for name, target, source in pieces:
                    if name in expected:
                        stored.copy(name, target, source)
            if made is None and ours in matrices:
                fine = bits == 8 or blocks is not None or ours == "embedding.weight"
                made = GroupedLinear.rounded(model.get_parameter(ours).detach(), None, 8 if fine else 4)
            if made is not None:
                put_grouped(model, ours, made)
    model.compute_dtype, model.token_ids, model.source = dtype, _token_ids(it), it.path
    return accelerate(model.requires_grad_(False))


def _matrices(model: Transformer) -> set[str]:
    """Our names of the weights that rows are multiplied by; the embedding where it is the unembedding too."""
    found = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Linear)}
    return found - {"unembedding.weight"} | {"embedding.weight"} if model.config.tied else found


class _Blocks:
    """The kept blocks of a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        with self._opened() as file:
            self.types: dict[str, str] = file.metadata() or {}

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="pt") as file:
                yield file
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelFolderError(
                f"{self.path} cannot be read ({error}); remove it, and 4 bits are rounded from the weights."
            ) from error

    def matrix(self, pieces: Pieces) -> GroupedLinear | None:
        """What is stored as these pieces, one below the other; None where a piece is kept otherwise, or not at all."""
        kinds = {self.types.get(name, "") for name, _, _ in pieces}
        bits = {8 if kind == "Q8_0" else 4 for kind in kinds}
        if (
            not kinds <= set(BLOCK_BYTES)
            or len(bits) != 1
            or any(s.transposed or s.offset for _, _, s in pieces)
        ):
            return None
        shape = sum(len(target) for _, target, _ in pieces), pieces[0][1].shape[1]
        size = bits.pop()
        strips = torch.empty(-(-shape[0] // STRIP), strip_bytes(shape[1], size)[0], dtype=torch.uint8)
        at = 0
        for codes in self._parts(pieces, shape[1]):
            made = pack(*codes)
            strips[at : at + len(made)] = made
            at += len(made)
        return GroupedLinear(strips, shape, size)

    def _parts(self, pieces: Pieces, columns: int) -> Iterator[tuple[Tensor, ...]]:
        """Arguments of `pack`: of a single piece some strips at a time, of several all of them."""
        if len(pieces) > 1 or pieces[0][2].rows is not None:
            read = [
                self._read(name, target.shape, 0, len(target), source.rows) for name, target, source in pieces
            ]
            yield tuple(torch.cat(parts) for parts in zip(*read, strict=True))
            return
        (name, target, _), count = pieces[0], max(1, PART_BYTES // (columns * STRIP)) * STRIP
        for first in range(0, len(target), count):
            yield self._read(name, target.shape, first, min(len(target), first + count), None)

    def _read(
        self, name: str, shape: torch.Size, first: int, last: int, rows: Tensor | None
    ) -> tuple[Tensor, ...]:
        """codes, scales and for 4 bits least values of rows `first` to `last` - 1; `rows`: our row of each."""
        kind = self.types[name]
        groups = -(-shape[1] // GROUP)
        with self._opened() as file:
            part = file.get_slice(name)
            if list(part.get_shape()) != [shape[0], groups * BLOCK_BYTES[kind]]:
                raise ModelFolderError(
                    f"{self.path} holds {name} in the shape {part.get_shape()}, which does not belong to the weights "
                    "beside it; remove the file, and 4 bits are rounded from the weights."
                )
            raw: Tensor = part[first:last]
        found = codes_of(raw.view(len(raw), groups, BLOCK_BYTES[kind]), kind)
        if rows is None:
            return found
        return tuple(torch.empty_like(x).index_copy_(0, rows[first:last], x) for x in found)


def codes_of(blocks: Tensor, kind: str) -> tuple[Tensor, ...]:
    """llama.cpp's blocks (N, G, bytes) -> arguments of `groups.pack`: codes (N, 32 G), scales (N, G), least (N, G)."""
    head = 4 if kind == "Q4_1" else 2
    numbers, body = blocks[..., :head].contiguous().view(torch.float16), blocks[..., head:]
    scales = numbers[..., 0].contiguous()
    if kind == "Q8_0":
        return (body ^ 128).flatten(1), scales
    codes = torch.cat((body & 15, body >> 4), -1).flatten(1)
    least = numbers[..., 1].contiguous() if kind == "Q4_1" else scales * -8
    return codes, scales, least
