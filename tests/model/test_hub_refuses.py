"""A model folder that cannot be used is answered with one sentence: what, where, the way out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ziggurat.cli.main import run
from ziggurat.errors import ModelFolderError
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub import check_model, load_model, load_scalar, save_model, save_scalar
from ziggurat.model.presets import OURS
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer


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


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


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
    (edit_config(hidden_act="relu6"), "hidden_act is 'relu6'"),
    (
        edit_config(rope_scaling={"rope_type": "longrope", "factor": 4.0}),
        "positions are scaled by 'longrope'",
    ),
    (edit_config(layer_types=["linear_attention"] * 2), "a layer has the type 'linear_attention'"),
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
    (only_pickled, "no model.safetensors, only pytorch_model.bin; only safetensors are read"),
    (edit_weights(lambda t: t.update({Q: t[Q].to(torch.float8_e4m3fn)})), "stored as F8_E4M3"),
    (edit_weights(lambda t: t.update({Q: t[Q].to(torch.int8)})), "stored as I8; only F64, F32, F16, BF16"),
    (edit_weights(lambda t: t[Q].view(-1)[7:8].fill_(math.nan)), f"{Q} holds numbers that are not finite"),
    (edit_weights(lambda t: t[Q].view(-1)[7:8].fill_(-math.inf)), f"{Q} holds numbers that are not finite"),
    (edit_config(quantization_config={"quant_method": "gptq"}), "quantised by gptq"),
    (edit_config(ziggurat={"format_version": 99}), "format_version 99, and this Ziggurat reads up to 2"),
]


@pytest.mark.parametrize("reads", [load_model, check_model])
@pytest.mark.parametrize(("spoil", "said"), BAD)
def test_bad_folders_are_refused_in_one_sentence(
    spoil: Callable[[Path], Any], said: str, reads: Callable[[Path], Any], folder: Path
) -> None:
    spoil(folder)
    if reads is check_model and said.startswith("holds a reward model"):
        pytest.skip("a folder may be one: its reader says which it needs")
    with pytest.raises(ModelFolderError, match=said) as caught:
        reads(folder)
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


@pytest.mark.parametrize("scalar", [False, True])
def test_a_good_folder_passes_the_check(folder: Path, tmp_path: Path, scalar: bool) -> None:
    if scalar:
        folder = tmp_path / "reward"
        save_scalar(RewardModel(Transformer(OURS["tiny"])), folder)
    assert check_model(folder, OURS["tiny"].vocab_size) == OURS["tiny"]


def test_a_tokenizer_larger_than_the_embedding_is_refused_before_step_1(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="its tokenizer has 513 ids, but its model embeds 512"):
        check_model(folder, 513)


@pytest.mark.parametrize("stage", ["sft", "reward", "pretrain"])
@pytest.mark.parametrize("fault", ["larger tokenizer", "pickled", "fp8", "not finite"])
def test_dry_run_checks_the_weights(
    stage: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command: exit code 2, one sentence, nothing written."""
    tokenizer = Tokenizer.train(["a b c"], 300)
    folder = tmp_path / "model"
    ids = tokenizer.vocab_size - (1 if fault == "larger tokenizer" else 0)
    save_model(Transformer(OURS["tiny"].model_copy(update={"vocab_size": ids})), folder, tokenizer)
    name = "model.layers.0.mlp.down_proj.weight"
    if fault == "pickled":
        only_pickled(folder)
    elif fault == "fp8":
        edit_weights(lambda t: t.update({name: t[name].to(torch.float8_e4m3fn)}))(folder)
    elif fault == "not finite":
        edit_weights(lambda t: t[name].view(-1)[:1].fill_(math.nan))(folder)
    said = {"larger tokenizer": "its tokenizer has", "pickled": "no model.safetensors", "fp8": "F8_E4M3"}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows: dict[str, dict[str, Any]] = {
        "sft": {"messages": messages},
        "reward": {"prompt": messages[:1], "completions": ["b", "c"], "ranks": [1, 2]},
        "pretrain": {"text": "a b c " * 200, "source": "here"},
    }
    data = tmp_path / "data.jsonl"
    lines = [json.dumps(rows[stage] | ({"id": str(i)} if stage == "reward" else {})) for i in range(30)]
    data.write_text("\n".join(lines) + "\n")
    orders = {
        "sft": ["--base", str(folder), "--data", str(data)],
        "reward": ["--sft", str(folder), "--data", str(data)],
        "pretrain": ["--data", str(data), "--set", f"base={folder}"],
    }
    assert run([stage, *orders[stage], "--dry-run"]) == 2
    found = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.get(fault, "not finite") in found
    assert not list(Path(os.environ["ZIGGURAT_HOME"]).rglob("*"))
