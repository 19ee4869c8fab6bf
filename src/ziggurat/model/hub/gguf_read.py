"""Read a GGUF file as our Transformer: every quantisation that the `gguf` library dequantises.

The file's metadata becomes a config.json, its tensors are shown under Hugging Face's names, and from there on the
family's own map does the rest (`load.load_tensors`). Matrices are dequantised a part at a time.

Left out: files in several parts (llama.cpp's `llama-gguf-split --merge` joins them), mixtures of experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.families import by_model_type
from ziggurat.model.hub.family import Source, Unreadable
from ziggurat.model.hub.gguf_layout import MODEL_TYPES, Layout, scaling_of
from ziggurat.model.hub.stored import PART_BYTES, PLAIN, fill

PASSED_OVER = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
MAGIC = b"GGUF"


class GGUFFile:
    """An opened file: metadata, and tensors by Hugging Face's names. Raises ModelFolderError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        import gguf

        if not path.is_file():
            raise ModelFolderError(f"{path} does not exist; give a GGUF file.")
        try:
            reader = gguf.GGUFReader(str(path))
            self.metadata: dict[str, Any] = {
                name: field.contents() for name, field in reader.fields.items() if field.types
            }
            self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        except (ValueError, IndexError, KeyError, TypeError, OSError, OverflowError, MemoryError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelFolderError(
                f"{path} is no whole GGUF file ({said}): it is cut short or damaged; fetch it again."
            ) from error
        if int(self.metadata.get("split.count") or 1) > 1:
            raise ModelFolderError(
                f"{path} is one of {self.metadata['split.count']} parts of a model; join them with llama.cpp's "
                "llama-gguf-split --merge first."
            )
        self.arch = str(self.metadata.get("general.architecture"))
        if self.value("expert_count"):
            raise ModelFolderError(
                f"{path} is a mixture of experts, which is not read from GGUF; import its Hugging Face folder."
            )
        if self.arch not in MODEL_TYPES:
            raise ModelFolderError(
                f"{path}: the architecture {self.arch!r} is not one of {', '.join(MODEL_TYPES)}."
            )

    # --- config -------------------------------------------------------------------------------------------------

    def value(self, key: str, default: Any = None) -> Any:
        """The metadata under the architecture's own prefix; a number of 32 bits as its shortest decimal (1e-05)."""
        found = self.metadata.get(f"{self.arch}.{key}", default)
        return float(str(np.float32(found))) if isinstance(found, float) else found

    @cached_property
    def raw(self) -> dict[str, Any]:
        """The config.json of the folder that this file could have been made from."""
        raw = config_json(self)
        try:
            config = by_model_type()[raw["model_type"]].reads(raw)
        except (Unreadable, ValueError, TypeError, ArithmeticError) as error:
            said = str(error).splitlines()[0]
            raise ModelFolderError(f"{self.path}: its metadata does not make a model ({said}).") from error
        if "rope_freqs.weight" in self.tensors:
            scaling = scaling_of(config, self._dequantised("rope_freqs.weight"))
            if scaling is None:
                raise ModelFolderError(
                    f"{self.path}: its rotary frequencies are none of LLaMA 3's; convert the model from its Hugging "
                    "Face folder instead."
                )
            raw["rope_scaling"] = {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_context,
            }
        return raw

    @property
    def config(self) -> ModelConfig:
        return by_model_type()[self.raw["model_type"]].reads(self.raw)

    # --- tensors, as `stored.StoredTensors` has them ------------------------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.arch, self.config)

    @cached_property
    def names(self) -> dict[str, str]:
        """Hugging Face's name -> the file's."""
        table = by_model_type()[self.raw["model_type"]].sources(self.config)
        return self.layout.names({name: None for source in table.values() for name in source.names})

    def __contains__(self, name: str) -> bool:
        return self.names.get(name) in self.tensors

    @property
    def dtype(self) -> torch.dtype:
        """What its weights are kept in: that of the file; bf16 where they are quantised."""
        kinds = {int(tensor.tensor_type) for tensor in self.tensors.values() if len(tensor.shape) > 1}
        return {0: torch.float32, 1: torch.float16}.get(max(kinds, default=0), torch.bfloat16)

    @property
    def quantisation(self) -> str:
        """The commonest type of its matrices, such as Q4_1."""
        kinds = [tensor.tensor_type.name for tensor in self.tensors.values() if len(tensor.shape) > 1]
        return max(set(kinds), key=kinds.count) if kinds else "F32"

    def must_be(self, expected: Mapping[str, tuple[int, ...]], passed_over: tuple[str, ...]) -> None:
        """Refuse the file unless it holds exactly the `expected` tensors in these shapes.

        passed_over: endings of names that may be there as well.
        """
        for name, shape in expected.items():
            if name not in self:
                raise ModelFolderError(
                    f"{self.path} lacks the tensor {self.names.get(name, name)}, which its metadata implies."
                )
            found = tuple(int(n) for n in reversed(self.tensors[self.names[name]].shape))
            found = found[::-1] if self.layout.whole(name) and self.arch == "gpt2" else found
            if found != shape:
                raise ModelFolderError(
                    f"{self.path}: {self.names[name]} has the shape {found}, where the metadata implies {shape}; "
                    "the file is damaged."
                )
        known = {self.names[name] for name in expected}
        passed_over += PASSED_OVER
        left = sorted(n for n in self.tensors if n not in known and not n.endswith(passed_over))
        if left:
            others = f" and {len(left) - 1} others" if len(left) > 1 else ""
            raise ModelFolderError(
                f"{self.path}: its metadata leaves no place for the tensor {left[0]}{others}; {self.arch} files with "
                "it cannot be read."
            )

    def parts(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows) of a tensor as Hugging Face stores it, in fp32."""
        theirs = self.names[name]
        tensor = self.tensors[theirs]
        rows = len(tensor.data)
        row_bytes = 4 * int(np.prod([int(n) for n in tensor.shape])) // rows
        count = rows if self.layout.whole(name) else max(1, PART_BYTES // row_bytes)
        for start in range(0, rows, count):
            part = self.layout.from_gguf(name, self._dequantised(theirs, slice(start, start + count)))
            made = torch.from_numpy(np.array(part, dtype=np.float32))  # a copy: files are mapped read-only
            if not all(bound.isfinite() for bound in torch.aminmax(made)):
                raise ModelFolderError(
                    f"{self.path}: {theirs} holds numbers that are not finite, so the file is damaged; fetch it again."
                )
            yield start, made

    def copy(self, name: str, target: Tensor, source: Source = PLAIN) -> None:
        """As in `stored.StoredTensors`."""
        fill(target, self.parts(name), source)

    def _dequantised(self, theirs: str, rows: slice = slice(None)) -> Any:
        import gguf

        tensor = self.tensors[theirs]
        try:
            return gguf.quants.dequantize(tensor.data[rows], tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelFolderError(
                f"{self.path}: {theirs} is quantised as {tensor.tensor_type.name}, which the package gguf cannot read; "
                "use another quantisation of the model."
            ) from error


# --- metadata -> config.json --------------------------------------------------------------------------------------


def config_json(file: GGUFFile) -> dict[str, Any]:
    """What Hugging Face's config.json says, for the family's `reads`."""
    rows = file.tensors.get("token_embd.weight")
    if rows is None:
        raise ModelFolderError(f"{file.path} holds no token_embd.weight, so it is no language model.")
    raw: dict[str, Any] = {
        "model_type": MODEL_TYPES[file.arch],
        "vocab_size": int(rows.shape[-1]),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **_ids(file),
    }
    if file.arch == "gpt2":
        return raw | _gpt2(file)
    width, heads = file.value("embedding_length"), file.value("attention.head_count")
    raw |= {
        "hidden_size": width,
        "num_hidden_layers": file.value("block_count"),
        "intermediate_size": file.value("feed_forward_length"),
        "num_attention_heads": heads,
        "max_position_embeddings": file.value("context_length"),
        "rope_theta": file.value("rope.freq_base", 10_000.0),
        "rope_scaling": _scaling(file),
    }
    if file.arch == "gptneox":
        turned = file.value("rope.dimension_count", width // heads)
        return raw | {
            "layer_norm_eps": file.value("attention.layer_norm_epsilon", 1e-5),
            "use_parallel_residual": bool(file.value("use_parallel_residual", True)),
            "hidden_act": "gelu",
            "rotary_emb_base": raw["rope_theta"],
            "rotary_pct": turned / (width // heads),
            "attention_bias": "blk.0.attn_qkv.bias" in file.tensors,
        }
    raw |= {
        "num_key_value_heads": file.value("attention.head_count_kv", heads),
        "head_dim": file.value("attention.key_length") or width // heads,
        "rms_norm_eps": file.value("attention.layer_norm_rms_epsilon", 1e-6),
        "attention_bias": "blk.0.attn_output.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_down.bias" in file.tensors,
        "sliding_window": None,
    }
    window = file.value("attention.sliding_window")
    if file.arch == "gemma3":
        return raw | _gemma3(file, raw, window)
    if file.arch == "llama" and window:
        return raw | {"model_type": "mistral", "sliding_window": window}
    return raw


def _ids(file: GGUFFile) -> dict[str, Any]:
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    found = {ours: file.metadata.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in names.items()}
    return {name: id for name, id in found.items() if id is not None}


def _scaling(file: GGUFFile) -> dict[str, Any] | None:
    kind = file.value("rope.scaling.type")
    if kind in (None, "none"):
        return None
    return {
        "rope_type": kind,
        "factor": file.value("rope.scaling.factor"),
        "original_max_position_embeddings": file.value("rope.scaling.original_context_length"),
        "attention_factor": file.value("rope.scaling.attn_factor"),
    }


def _gemma3(file: GGUFFile, raw: dict[str, Any], window: int | None) -> dict[str, Any]:
    """llama.cpp knows by heart: every sixth layer is whole; 27B (62 layers) divides scores by the root of 168."""
    pattern = file.value("attention.sliding_window_pattern", 6)
    types = None
    if isinstance(pattern, list):
        types = ["sliding_attention" if one else "full_attention" for one in pattern]
    large = raw["num_hidden_layers"] == 62
    return {
        "query_pre_attn_scalar": raw["hidden_size"] // raw["num_attention_heads"]
        if large
        else raw["head_dim"],
        "sliding_window": window,
        "sliding_window_pattern": 6 if types else pattern,
        "layer_types": types,
        "rope_local_base_freq": file.value("rope.freq_base_swa", 10_000.0),
        "rope_parameters": {"full_attention": raw["rope_scaling"] or {}},
        "final_logit_softcapping": file.value("final_logit_softcapping"),
        "attn_logit_softcapping": file.value("attn_logit_softcapping"),
    }


def _gpt2(file: GGUFFile) -> dict[str, Any]:
    return {
        "n_embd": file.value("embedding_length"),
        "n_layer": file.value("block_count"),
        "n_head": file.value("attention.head_count"),
        "n_inner": file.value("feed_forward_length"),
        "n_positions": file.value("context_length"),
        "layer_norm_epsilon": file.value("attention.layer_norm_epsilon", 1e-5),
    }
