"""How llama.cpp's architectures differ from the Hugging Face folders they come from, both ways.

    llama, smollm3   rows of q and k interleaved: rotation turns neighbours there, halves here
    gemma3           gains hold the 1 that Hugging Face's leave out
    gptneox          rows of q, then k, then v; Hugging Face's go head by head
    gpt2             matrices (out, in); Hugging Face's are transposed

Source: llama.cpp, convert_hf_to_gguf.py. Tensor names come from the `gguf` library's own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ziggurat.model.config import ModelConfig, RotaryScaling
from ziggurat.model.layers import scaled

Numbers = npt.NDArray[Any]
MODEL_TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "smollm3": "smollm3",
    "gemma3": "gemma3_text",
    "gptneox": "gpt_neox",
    "gpt2": "gpt2",
}
"""llama.cpp's architecture -> `model_type` of config.json."""
INTERLEAVED = ("llama", "smollm3")
LLAMA31 = RotaryScaling(kind="llama3", factor=8.0, original_context=8192)
"""The bands of every published LLaMA 3.1 to 3.3; a file holds the factors that come of them, and not the bands."""


@dataclass(frozen=True)
class Layout:
    """One architecture's arrangement of a model of this config."""

    arch: str
    config: ModelConfig

    def from_gguf(self, name: str, x: Numbers) -> Numbers:
        """A GGUF tensor as Hugging Face stores it under `name`."""
        c = self.config
        if heads := self._interleaved(name):
            pairs = x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:])
            return pairs.swapaxes(1, 2).reshape(x.shape)
        if self.arch == "gemma3" and "norm" in name:
            return x - 1
        if self.arch == "gptneox" and ".query_key_value." in name:
            return x.reshape(3, c.heads, c.d_head, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
        return x.T if self.transposed(name) else x

    def to_gguf(self, name: str, x: Numbers) -> Numbers:
        """The inverse of `from_gguf`."""
        c = self.config
        if heads := self._interleaved(name):
            halves = x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:])
            return halves.swapaxes(1, 2).reshape(x.shape)
        if self.arch == "gemma3" and "norm" in name:
            return x + 1
        if self.arch == "gptneox" and ".query_key_value." in name:
            return x.reshape(c.heads, 3, c.d_head, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
        return x.T if self.transposed(name) else x

    def whole(self, name: str) -> bool:
        """Whether a tensor must be read at once, because its rows lie in another order."""
        return bool(self._interleaved(name)) or ".query_key_value." in name or self.transposed(name)

    def _interleaved(self, name: str) -> int:
        """Heads whose rows are interleaved; 0: none are."""
        if self.arch not in INTERLEAVED:
            return 0
        return self.config.heads if ".q_proj." in name else self.config.kv_heads if ".k_proj." in name else 0

    def transposed(self, name: str) -> bool:
        """Whether the file has columns where Hugging Face has rows."""
        return self.arch == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))

    def names(self, stored: Mapping[str, Any]) -> dict[str, str]:
        """Hugging Face's tensor name -> the file's, for the keys of `stored`."""
        import gguf

        arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == self.arch)
        table = gguf.get_tensor_name_map(arch, self.config.layers)
        named = {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in stored}
        return {name: theirs for name, theirs in named.items() if theirs is not None}


def frequency_factors(config: ModelConfig, scaling: RotaryScaling) -> npt.NDArray[np.float32]:
    """(D/2,): what llama.cpp divides each frequency by, for scaling of the kind llama3."""
    half = config.d_head // 2
    plain = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    return (plain / scaled(plain, scaling, config.rope_theta)[0]).float().numpy()


def scaling_of(config: ModelConfig, factors: Numbers) -> RotaryScaling | None:
    """The bands that give these factors; None where LLaMA's published ones do not."""
    guess = LLAMA31.model_copy(update={"factor": round(float(factors.max()), 4)})
    return guess if np.allclose(frequency_factors(config, guess), factors, rtol=1e-3) else None
