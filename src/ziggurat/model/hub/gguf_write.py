"""Write a model folder as a GGUF file that llama.cpp reads: f16, or q8_0 (int8 in blocks of 32, each with its scale).

Norms and biases stay fp32, and a matrix whose rows are no multiple of 32 stays f16, as llama.cpp's own converter does.
What llama.cpp takes for granted in an architecture (Gemma 3's pattern of windows, SmolLM3's layers without positions)
is checked, so that no file computes something else there than here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ziggurat.errors import ModelFolderError
from ziggurat.files import replacing
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.gguf_layout import MODEL_TYPES, Layout, Numbers, frequency_factors
from ziggurat.model.hub.load import load_model
from ziggurat.model.hub.save import family_of, stored_tensors

Kind = Literal["f16", "q8_0"]
BLOCK = 32
"""Numbers that share a scale in q8_0."""


def write_gguf(
    folder: Path, target: Path, tokenizer: Mapping[str, Any], kind: Kind = "f16", name: str = ""
) -> None:
    """`tokenizer`: the metadata of `tokenizer.gguf.metadata_of`. Raises ModelFolderError where llama.cpp has no such
    architecture, or the file cannot be written."""
    import gguf

    config, arch, tensors = _opened(folder)
    layout = Layout(arch, config)
    try:
        with replacing(target) as aside:
            writer = gguf.GGUFWriter(str(aside), arch)
            writer.add_name(name or folder.name)
            _describe(writer, config, arch)
            types = gguf.LlamaFileType
            writer.add_file_type(types.MOSTLY_F16 if kind == "f16" else types.MOSTLY_Q8_0)
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            for key, value in tokenizer.items():
                _add(writer, key, value)
            names = layout.names(tensors)
            for theirs, tensor in tensors.items():
                made = np.ascontiguousarray(layout.to_gguf(theirs, tensor()))
                _add_tensor(writer, names[theirs], made, kind)
            if config.rotary_scaling is not None and config.rotary_scaling.kind == "llama3":
                writer.add_tensor("rope_freqs.weight", frequency_factors(config, config.rotary_scaling))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except OSError as error:
        raise ModelFolderError(
            f"{target} cannot be written ({error}); check free space and write permission."
        ) from error


def _opened(folder: Path) -> tuple[ModelConfig, str, dict[str, Any]]:
    """Config, architecture, and by Hugging Face's name a function that reads the tensor in fp32."""
    model = load_model(folder)
    family, raw = family_of(model.config)
    archs = {**{theirs: ours for ours, theirs in MODEL_TYPES.items()}, "mistral": "llama"}
    kind = raw["model_type"]
    if model.config.experts is not None:
        raise ModelFolderError(f"{folder}: a mixture of experts is not written as GGUF; export to hf.")
    if kind not in archs:
        raise ModelFolderError(
            f"{folder}: llama.cpp has no architecture for a model of the type {kind!r}; export to hf."
        )
    if reason := _otherwise_there(model.config, archs[kind]):
        raise ModelFolderError(
            f"{folder}: llama.cpp would compute another model, since {reason}; export to hf."
        )
    stored = stored_tensors(model, family)
    return model.config, archs[kind], {name: tensor.float().numpy for name, tensor in stored.items()}


def _otherwise_there(config: ModelConfig, arch: str) -> str | None:
    """What llama.cpp takes for granted in this architecture and this model does not have."""
    if arch == "smollm3" and config.unrotated != tuple(range(3, config.layers, 4)):
        return "its layers without positions are not every fourth"
    if arch == "gemma3":
        if config.windowed != tuple(layer for layer in range(config.layers) if (layer + 1) % 6):
            return "its layers without a window are not every sixth"
        usual = config.d_head if config.layers != 62 else config.d_model // config.heads
        if round((config.attention_scale or 0) ** -2) != usual:
            return "its scores are scaled otherwise"
    elif arch != "llama" and config.windowed:
        return "it attends within a window"
    if config.activation not in ("swiglu", "geglu_tanh" if arch == "gemma3" else "gelu", "gelu_tanh"):
        return f"its activation is {config.activation}"
    return None


def _describe(writer: Any, config: ModelConfig, arch: str) -> None:
    c = config
    # llama.cpp's `llama` attends to all keys, whatever window the file names: within the window that is the same
    ends = c.window if arch == "llama" and c.windowed and c.window else c.context
    writer.add_context_length(min(ends, c.context))
    writer.add_embedding_length(c.d_model)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.d_ff)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_vocab_size(c.vocab_size)
    if c.norm == "layernorm":
        writer.add_layer_norm_eps(c.norm_eps)
    else:
        writer.add_layer_norm_rms_eps(c.norm_eps)
        writer.add_key_length(c.d_head)
        writer.add_value_length(c.d_head)
    if c.positions == "rotary":
        writer.add_rope_freq_base(c.rope_theta)
        writer.add_rope_dimension_count(c.rotary_width)
    if arch == "gptneox":
        writer.add_parallel_residual(c.parallel)
    if c.window and c.windowed:
        writer.add_sliding_window(c.window)
    if arch == "gemma3" and c.window_theta is not None:
        writer.add_float32("gemma3.rope.freq_base_swa", c.window_theta)
    if c.rotary_scaling is not None and c.rotary_scaling.kind != "llama3":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType(c.rotary_scaling.kind))
        writer.add_rope_scaling_factor(c.rotary_scaling.factor)
        if c.rotary_scaling.original_context:
            writer.add_rope_scaling_orig_ctx_len(c.rotary_scaling.original_context)


def _add(writer: Any, key: str, value: Any) -> None:
    """One entry, in the type that llama.cpp expects: ids unsigned, types signed."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _add_tensor(writer: Any, name: str, tensor: Numbers, kind: Kind) -> None:
    import gguf

    types = gguf.GGMLQuantizationType
    if tensor.ndim < 2 or name.startswith("position_embd"):
        writer.add_tensor(name, tensor.astype(np.float32))
    elif kind == "q8_0" and tensor.shape[-1] % BLOCK == 0:
        writer.add_tensor(name, gguf.quants.quantize(tensor, types.Q8_0), raw_dtype=types.Q8_0)
    else:
        writer.add_tensor(name, tensor.astype(np.float16))
