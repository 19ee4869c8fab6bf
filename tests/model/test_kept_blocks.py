"""A model from a GGUF file of 4 bits is served with that file's own codes: nothing is rounded twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.model.test_gguf import small_tokenizer
from tests.model.worlds import SIZES, reinitialise
from tests.needs import needs

from ziggurat.errors import ModelFolderError
from ziggurat.model.cpu.groups import GroupedLinear
from ziggurat.model.cpu.quantized import load_to_serve, weight_bytes
from ziggurat.model.hub import gguf_write, load_gguf, load_model, save_model
from ziggurat.model.hub.blocks import FILE, codes_of
from ziggurat.models.bring import bring
from ziggurat.tokenizer.gguf import metadata_of

gguf: Any = needs("gguf", reason="the package is not installed")
WIDE = {**SIZES, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16}
MODELS = {
    "llama": transformers.LlamaConfig(**WIDE, tie_word_embeddings=True),  # rows of q and k are interleaved
    "qwen2": transformers.Qwen2Config(**WIDE, tie_word_embeddings=False),
}


def quantised(name: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GGUF file with matrices of this kind and an embedding of Q8_0, as llama.cpp's quantize writes them."""
    model: Any = transformers.AutoModelForCausalLM.from_config(MODELS[name]).eval()
    reinitialise(model)
    model.save_pretrained(folder / "theirs")
    save_model(load_model(folder / "theirs"), folder / "ours")

    def add(writer: Any, name: str, tensor: Any, _kind: str) -> None:
        if tensor.ndim < 2:
            writer.add_tensor(name, tensor.astype(np.float32))
            return
        chosen = gguf.GGMLQuantizationType["Q8_0" if name.startswith("token_embd") else kind]
        writer.add_tensor(name, gguf.quants.quantize(tensor, chosen), raw_dtype=chosen)

    monkeypatch.setattr(gguf_write, "_add_tensor", add)
    path = folder / f"{name}.gguf"
    gguf_write.write_gguf(folder / "ours", path, metadata_of(small_tokenizer(), SIZES["vocab_size"], "here"))
    return path


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
@pytest.mark.parametrize("name", MODELS)
def test_the_codes_are_those_of_the_file(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ziggurat_home: Path
) -> None:
    path = quantised(name, kind, tmp_path, monkeypatch)
    folder = bring(path, "small")
    assert (folder / FILE).is_file()
    model, exact = load_to_serve(folder, torch.bfloat16, "int4"), load_gguf(path, dtype=torch.float32)
    found = {n: m for n, m in model.named_modules() if isinstance(m, GroupedLinear)}
    weights = dict(exact.named_parameters(remove_duplicate=False))
    assert len(found) == 4 * 2 + 1  # a tied unembedding is found as the embedding's matrix
    for place, matrix in found.items():
        ours = "embedding.weight" if place == "embedding.matrix" else f"{place}.weight"
        assert torch.equal(matrix.weight_as(torch.float32), weights[ours]), ours
        assert matrix.bits == (
            8 if ours in ("embedding.weight", "unembedding.weight") and model.config.tied else 4
        )
    assert weight_bytes(model) < 0.5 * sum(2 * p.numel() for p in exact.parameters())
    assert load_to_serve(folder, torch.bfloat16, "int8").blocks[0].mlp.down.bits == 8


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_codes_equal_the_gguf_librarys(kind: str) -> None:
    chosen = gguf.GGMLQuantizationType[kind]
    raw = gguf.quants.quantize(np.random.default_rng(0).normal(size=(40, 96)).astype(np.float32), chosen)
    codes, scales, *least = codes_of(torch.from_numpy(raw).view(40, 3, -1), kind)
    wide = codes.view(40, 3, 32).float()
    wide = (
        wide * scales[..., None].float() + least[0][..., None].float()
        if least
        else (wide - 128) * scales[..., None]
    )
    assert np.array_equal(wide.view(40, 96).float().numpy(), gguf.quants.dequantize(raw, chosen))


def test_a_file_of_other_types_keeps_no_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ziggurat_home: Path
) -> None:
    folder = bring(quantised("llama", "Q8_0", tmp_path, monkeypatch), "small")
    assert not (folder / FILE).exists()
    model = load_to_serve(folder, torch.bfloat16, "int4")
    assert (model.blocks[0].mlp.down.bits, model.unembedding.bits) == (4, 8)


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_blocks_that_do_not_belong_to_the_weights_are_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ziggurat_home: Path
) -> None:
    folder = bring(quantised("llama", "Q4_1", tmp_path, monkeypatch), "small")
    if damage == "cut":
        (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-100])
    else:
        from safetensors.torch import save_file

        name = "model.layers.0.mlp.down_proj.weight"
        save_file({name: torch.zeros(64, 40, dtype=torch.uint8)}, folder / FILE, metadata={name: "Q4_1"})
    with pytest.raises(
        ModelFolderError, match="remove (it|the file), and 4 bits are rounded from the weights"
    ):
        load_to_serve(folder, torch.bfloat16, "int4")
