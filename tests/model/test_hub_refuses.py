"""A model folder that cannot be used is answered with one sentence: what, where, the way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub import load_model, load_scalar, save_model, save_scalar
from ziggurat.model.presets import OURS
from ziggurat.model.transformer import Transformer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(Transformer(OURS["tiny"]), tmp_path / "model")
    return tmp_path / "model"


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        raw = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in (raw | changes).items() if v != "GONE"}))

    return edit


def edit_weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def cut_in_half(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


Q = "model.layers.1.self_attn.q_proj.weight"
BAD: list[tuple[Callable[[Path], Any], str]] = [
    (lambda f: (f / "config.json").unlink(), "has no config.json"),
    (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
    (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
    (edit_config(model_type="qwen33"), "model_type 'qwen33' is not one of .* Did you mean \"qwen3\""),
    (edit_config(model_type="bert"), "model_type 'bert'"),
    (edit_config(hidden_size="GONE"), "hidden_size is missing"),
    (edit_config(hidden_size="wide"), "d_model"),
    (edit_config(num_key_value_heads=3), "not a multiple of kv_heads"),
    (edit_config(hidden_act="gelu"), "hidden_act is 'gelu'"),
    (edit_config(rope_scaling={"rope_type": "yarn", "factor": 4.0}), "rope_scaling has the type 'yarn'"),
    (edit_config(hidden_size=32), r"config.json implies \(512, 32\)"),
    (edit_config(num_hidden_layers=3), "lacks the tensor model.layers.2"),
    (edit_config(num_hidden_layers=1), "leaves no place for the tensor model.layers.1.* and 10 others"),
    (edit_weights(lambda t: t.pop(Q)), f"lacks the tensor {Q}"),
    (edit_weights(lambda t: t.update({Q: t[Q][:3].clone()})), r"q_proj.weight has the shape \(3, 64\)"),
    (
        edit_weights(lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(64)})),
        "leaves no place",
    ),
    (edit_weights(lambda t: t.update({"score.weight": torch.ones(1, 64)})), "holds a reward model or critic"),
    (cut_in_half, "cannot be read"),
]


@pytest.mark.parametrize(("spoil", "said"), BAD)
def test_bad_folders_are_refused_in_one_sentence(
    spoil: Callable[[Path], Any], said: str, folder: Path
) -> None:
    spoil(folder)
    with pytest.raises(ModelFolderError, match=said) as caught:
        load_model(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert message.endswith((".", "?"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="does not exist"):
        load_model(tmp_path / "nowhere")


def test_a_language_model_is_no_reward_model(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="has no score.weight"):
        load_scalar(folder)


def test_a_folder_that_cannot_be_written_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ziggurat.model.hub.save.save_file", full)
    with pytest.raises(ModelFolderError, match="No space left on device.*check free space"):
        save_model(Transformer(OURS["tiny"]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_in_shards_are_read(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load_model(folder).embedding.weight, tensors["model.embed_tokens.weight"])
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"names b.safetensors, which is not in the folder"):
        load_model(folder)


def test_bare_gpt2_names_are_read(tmp_path: Path) -> None:
    """The files first published for GPT-2 have `wte.weight`, not `transformer.wte.weight`, and a mask as a buffer."""
    config = OURS["tiny"].model_copy(
        update={
            "norm": "layernorm",
            "activation": "gelu_tanh",
            "positions": "learned",
            "qk_norm": False,
            "qkv_bias": True,
            "out_bias": True,
            "mlp_bias": True,
        }
    )
    model = Transformer(config)
    save_model(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file({**bare, "h.0.attn.bias": torch.ones(1, 1, 4, 4)}, tmp_path / "model.safetensors")
    ids = torch.arange(9)[None]
    torch.testing.assert_close(load_model(tmp_path)(ids), model(ids))


def test_a_critic_stays_a_critic(tmp_path: Path) -> None:
    save_scalar(ScalarModel(Transformer(OURS["tiny"])), tmp_path)
    loaded = load_scalar(tmp_path)
    assert type(loaded) is ScalarModel
    assert loaded(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3)


def test_the_reward_is_read_at_the_end_and_never_at_the_padding() -> None:
    model = RewardModel(Transformer(OURS["tiny"]), reward_shift=1.0, reward_scale=2.0)
    torch.nn.init.normal_(model.head.weight)
    ids, ends = torch.arange(12).view(2, 6), torch.tensor([2, 5])
    with torch.no_grad():
        everywhere = model(ids)
        expected = (torch.stack((everywhere[0, 2], everywhere[1, 5])) - 1.0) * 2.0
        ids_padded_otherwise = ids.clone()
        ids_padded_otherwise[0, 3:] = 99
        torch.testing.assert_close(model.score(ids, ends), expected)
        torch.testing.assert_close(model.score(ids_padded_otherwise, ends), expected)


def test_bf16_folders_for_serving(folder: Path) -> None:
    model = load_model(folder, dtype=torch.bfloat16)
    assert model.compute_dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model(torch.zeros(1, 3, dtype=torch.long)).dtype == torch.float32
