"""The tensors of a folder's safetensors files: checked by their headers, then read a part at a time.

Left out: pickled weights (pytorch_model.bin), which can run code; weights quantised by others (fp8, GPTQ ...).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.confidence import current_name
from ziggurat.model.hub.family import Family, Source

READABLE = ("F64", "F32", "F16", "BF16")
"""Dtypes of safetensors that hold a weight as it is, without a scale elsewhere."""

PART_BYTES = 16 * 1024**2
"""So much of a stored tensor is in memory at a time, beside the weights that are being filled."""

OTHER_HEADS = ("lm_head.", "embed_out.", "score.", "confidence.")
"""Prefixes of tensors that do not belong to the body."""

PLAIN = Source(())


@torch.no_grad()
def fill(target: Tensor, parts: Iterable[tuple[int, Tensor]], source: Source) -> None:
    """Fill `target` from (first row, rows), in its own dtype; transposed ones are a view of `target` already."""
    for start, part in parts:
        made = part.float() + source.offset if source.offset else part
        if source.rows is None:
            target[start : start + len(part)].copy_(made)
        else:
            target[source.rows[start : start + len(part)]] = made.to(target.dtype)


class StoredTensors:
    """The tensors by their present names."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.folder, self.family = folder, family
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        for path in _weight_files(folder):
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    header = file.get_slice(name)
                    self.files[name], self.dtypes[name] = path, header.get_dtype()
                    self.shapes[name] = tuple(header.get_shape())
        self.names = {self._full(name): name for name in self.files}

    def _full(self, stored: str) -> str:
        """The name with the body's prefix, which some published GPT-2 files leave out."""
        body, name = self.family.body, current_name(stored)
        bare = not any(other.startswith(body) for other in self.files)
        return f"{body}{name}" if bare and not name.startswith(OTHER_HEADS) else name

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def dtype(self) -> torch.dtype:
        """That of the first tensor of the body."""
        name = next(name for full, name in self.names.items() if not full.startswith(OTHER_HEADS))
        return {"F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16}.get(
            self.dtypes[name], torch.float32
        )

    def must_be(self, expected: Mapping[str, tuple[int, ...]], passed_over: tuple[str, ...]) -> None:
        """Refuse the folder unless it holds exactly the `expected` tensors, in these shapes and a readable dtype.

        passed_over: endings of names that may be there as well.
        """
        for name, shape in expected.items():
            if name not in self.names:
                raise ModelFolderError(
                    f"{self.folder} lacks the tensor {name}, which its config.json implies."
                )
            stored = self.names[name]
            if self.dtypes[stored] not in READABLE:
                raise ModelFolderError(
                    f"{self.folder}: {name} is stored as {self.dtypes[stored]}; only {', '.join(READABLE)} can be "
                    "read. Use the model's unquantised weights."
                )
            if self.shapes[stored] != shape:
                raise ModelFolderError(
                    f"{self.folder}: {name} has the shape {self.shapes[stored]}, where config.json implies {shape}; "
                    "the weights and the config belong to different models."
                )
        left = sorted(name for name in self.names if name not in expected and not name.endswith(passed_over))
        if left:
            raise ModelFolderError(
                f"{self.folder}: config.json leaves no place for the tensor {left[0]}"
                f"{f' and {len(left) - 1} others' if len(left) > 1 else ''}; correct the config or the weights."
            )

    def parts(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows) of a tensor in its stored dtype; each part is freed when the next one is read.

        Raises ModelFolderError where a number is not finite.
        """
        stored = self.names[name]
        rows = self.shapes[stored][0]
        row_bytes = 8 * torch.Size(self.shapes[stored][1:]).numel()  # at most, of any readable dtype
        count = max(1, PART_BYTES // row_bytes)
        for start in range(0, rows, count):
            with _opened(self.files[stored]) as file:
                part: Tensor = file.get_slice(stored)[start : start + count]
                if not all(bound.isfinite() for bound in torch.aminmax(part)):
                    raise ModelFolderError(
                        f"{self.folder}: {name} holds numbers that are not finite, so the weights are damaged; "
                        "fetch them again, or use an earlier checkpoint."
                    )
                yield start, part
                del part

    def copy(self, name: str, target: Tensor, source: Source = PLAIN) -> None:
        """Fill `target`, in its own dtype, with what `source` makes of the stored tensor."""
        fill(target, self.parts(name), source)


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        beside = f", only {pickled[0]}" if pickled else ""
        raise ModelFolderError(
            f"{folder} has no model.safetensors{beside}; only safetensors are read, convert other weights first."
        )
    try:
        paths = [
            folder / name
            for name in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{index} is not a list of weight files; fetch it again.") from error
    for path in paths:
        if path.parent != folder or not path.is_file():
            raise ModelFolderError(f"{index} names {path.name}, which is not in the folder; fetch it.")
    return paths


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(f"{path} cannot be read ({error}); fetch or write the file again.") from error
