"""Our Transformer computes what `transformers` computes, in every family, both ways; planted mistakes are noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tests.model.worlds import CONFIGS, reinitialise, theirs
from torch import Tensor

import ziggurat.model.layers as layers
import ziggurat.model.transformer as transformer
from ziggurat.model.confidence import ConfidenceHead
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_config, load_model, load_scalar, save_model, save_scalar
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TINY: dict[str, Any] = {
    "layers": 1, "d_model": 16, "heads": 2, "kv_heads": 1, "d_head": 8, "d_ff": 8, "vocab_size": 280, "context": 16
}  # fmt: skip
CLOSE, NOTICED = 1e-4, 1e-3


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


@torch.no_grad()
def logits(model: Transformer, ids: Tensor) -> Tensor:
    return model(ids)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_theirs(name: str, tmp_path: Path) -> None:
    _, ids, expected = theirs(name, tmp_path)
    assert expected.std() >= 1
    ours = load_model(tmp_path)
    assert difference(logits(ours, ids), expected) <= CLOSE
    assert difference(ours(ids), expected) <= CLOSE, "with gradients other bodies of the same functions run"


@pytest.mark.parametrize("name", CONFIGS)
def test_they_load_what_we_save(name: str, tmp_path: Path) -> None:
    _, ids, expected = theirs(name, tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    again, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert difference(again(ids).logits, expected) <= CLOSE


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "qwen3-biases"])
def test_same_stored_tensors_after_a_round_trip(name: str, tmp_path: Path) -> None:
    theirs(name, tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert set(before) == set(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_cached_generation_of_theirs_agrees_with_our_argmax(tmp_path: Path) -> None:
    """Their key/value cache sees our saved weights too: 12 greedy tokens, one forward pass each on our side."""
    _, ids, _ = theirs("qwen3-tied", tmp_path)
    model, prompt = load_model(tmp_path), ids[:1, :8]
    generated = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    ours = prompt
    for _ in range(12):
        ours = torch.cat((ours, logits(model, ours)[:, -1:].argmax(-1)), 1)
    assert ours.tolist() == generated.tolist()


# Mistakes planted in the config: each makes a model that runs, and talks almost right.
WRONG_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"activation": "gelu"}),
    ("gpt2", {"activation": "relu"}),
    ("gpt2", {"norm_eps": 1e-2}),
    ("gpt2", {"norm_placement": "post"}),
    ("llama", {"norm_eps": 1e-2}),
    ("llama", {"rope_theta": 500_000.0}),
    ("qwen3", {"norm_eps": 1e-2}),
    ("qwen3", {"qk_norm": False}),
    ("qwen3", {"activation": "gelu_tanh"}),
    ("llama3", {"rotary_scaling": None}),
    ("llama-yarn", {"rotary_scaling": None}),
    ("llama2", {"rotary_scaling": None}),
    ("llama-gelu", {"activation": "geglu_tanh"}),
    ("mistral-window", {"window": 9}),
    ("mistral-window", {"windowed": ()}),
    ("qwen2-window", {"windowed": (0, 1)}),
    ("smollm3", {"unrotated": ()}),
    ("gemma3", {"window_theta": 1_000_000.0}),
    ("gemma3", {"windowed": (0,)}),
    ("gemma3", {"attention_scale": None}),
    ("gemma3", {"embedding_scale": 1.0}),
    ("gemma3", {"activation": "geglu"}),
    ("qwen3-moe", {"experts": {"normalized": False}}),
    ("qwen3-moe", {"experts": {"active": 3}}),
    ("qwen3-moe-plain", {"experts": {"normalized": True}}),
    ("qwen3-moe-window", {"windowed": (1, 2)}),
    ("neox", {"parallel": False}),
    ("neox", {"rotary_share": 1.0}),
]


@pytest.mark.parametrize(("name", "change"), WRONG_CONFIGS)
def test_a_wrong_config_is_noticed(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    _, ids, expected = theirs(name, tmp_path)
    right = load_model(tmp_path)
    nested = {} if right.config.experts is None else {"experts": right.config.experts}
    change = {
        key: nested[key].model_copy(update=value) if key in nested else value for key, value in change.items()
    }
    wrong = Transformer(right.config.model_copy(update=change))
    weights = right.state_dict()
    if right.config.gated and not wrong.config.gated:  # drop the gate
        F = right.config.d_ff
        weights = {
            key: value[F:] if key.endswith("mlp.up.weight") else value for key, value in weights.items()
        }
    wrong.load_state_dict(weights, strict=False)
    assert difference(logits(wrong, ids), expected) > NOTICED


BIASES = ["attention.qkv.bias", "attention.out.bias", "mlp.up.bias", "mlp.down.bias"]


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("name", ["gpt2", "llama-biases"])
def test_a_dropped_bias_is_noticed(name: str, bias: str, tmp_path: Path) -> None:
    _, ids, expected = theirs(name, tmp_path)
    model = load_model(tmp_path)
    with torch.no_grad():
        model.blocks[1].get_parameter(bias).zero_()
    assert difference(logits(model, ids), expected) > NOTICED


@pytest.mark.parametrize(("name", "gain"), [
    ("gpt2", "norm1.bias"),
    ("gpt2", "norm2.weight"),
    ("llama", "norm1.weight"),
    ("qwen3", "attention.q_norm.weight"),
    ("qwen3", "attention.k_norm.weight"),
])  # fmt: skip
def test_a_dropped_gain_is_noticed(name: str, gain: str, tmp_path: Path) -> None:
    _, ids, expected = theirs(name, tmp_path)
    model = load_model(tmp_path)
    with torch.no_grad():
        model.blocks[0].get_parameter(gain).fill_(0.0 if gain.endswith("bias") else 1.0)
    assert difference(logits(model, ids), expected) > NOTICED


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_interleaved_rotary_halves_are_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-NeoX turns halves, GPT-J neighbours; permuting the wrong way is the commonest slip of converters."""
    _, ids, expected = theirs(name, tmp_path)

    def interleaved(x: Tensor, rotary: Tensor) -> Tensor:
        D = x.shape[-1]
        cos, sin = (rotary[..., i, D // 2 :].repeat_interleave(2, -1) for i in (0, 1))
        partner = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
        return x * cos + partner * sin

    monkeypatch.setattr(transformer, "rotate", interleaved)
    assert difference(logits(load_model(tmp_path), ids), expected) > NOTICED


def test_the_other_norm_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ids, expected = theirs("llama", tmp_path)

    def centred(x: Tensor, gain: Tensor, eps: float) -> Tensor:
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), gain, None, eps)

    monkeypatch.setattr(layers, "rms_norm", centred)  # without gradients in fp32 no loop stands in for it
    assert difference(logits(load_model(tmp_path), ids), expected) > NOTICED


def test_our_presets_are_saved_as_qwen3(tmp_path: Path) -> None:
    from ziggurat.model.presets import OURS

    for name, config in OURS.items():
        save_model(Transformer(config), tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["model_type"] == "qwen3"
        assert load_config(tmp_path / name) == config


def test_an_experiment_is_saved_under_our_own_names(tmp_path: Path) -> None:
    config = ModelConfig(
        layers=1,
        d_model=8,
        heads=2,
        kv_heads=1,
        d_head=4,
        d_ff=8,
        vocab_size=11,
        context=16,
        activation="relu2",
        positions="sinusoidal",
        norm_placement="post",
        tied=False,
    )
    model = Transformer(config)
    save_model(model, tmp_path)
    ids = torch.arange(10)[None]
    again = load_model(tmp_path)
    assert again.config == config
    assert torch.equal(logits(model, ids), logits(again, ids))


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_reward_model_round_trip_and_theirs_reads_the_same_scores(name: str, tmp_path: Path) -> None:
    """Their one-label classifier reads the last token that is not padding; ours the position it is told."""
    theirs(name, tmp_path / "language")
    model = RewardModel(load_model(tmp_path / "language"), reward_shift=0.25, reward_scale=3.0)
    reinitialise(model.head, seed=2)
    save_scalar(model, tmp_path / "reward")

    ids, ends = torch.arange(1, 13).view(2, 6), torch.tensor([3, 5])
    ids[0, 4:] = 0  # padding
    again = load_scalar(tmp_path / "reward")
    assert isinstance(again, RewardModel)
    with torch.no_grad():
        raw = model.raw(ids, ends)
        assert torch.equal(again.score(ids, ends), (raw - 0.25) * 3.0)
        other: Any = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
        other.config.pad_token_id = 0
        assert difference(other(ids).logits[:, 0], raw) <= CLOSE


def test_transformers_refuses_a_reward_model_with_a_confidence_head(tmp_path: Path) -> None:
    """It would leave the head out and compute another score."""
    body = Transformer(ModelConfig(**TINY))
    save_scalar(RewardModel(body, confidence=ConfidenceHead(body.config.d_model, 5)), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert raw["architectures"] == ["ZigguratRewardModel"]
    for automatic in (transformers.AutoModelForSequenceClassification, transformers.AutoModelForCausalLM):
        with pytest.raises(ValueError, match="ziggurat_reward"):
            automatic.from_pretrained(tmp_path)


OURS_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}


@pytest.mark.parametrize("trained", ["saved again", "reward model", "with confidence"])
def test_special_token_ids_stay_as_the_source_has_them(trained: str, tmp_path: Path) -> None:
    """A tokenizer whose <|endoftext|> is 0 while the model was made with bos 1 and eos 2, as SmolLM2's."""
    theirs("llama", tmp_path / "theirs")
    for name, ids in (
        ("config.json", OURS_IDS | {"pad_token_id": None}),
        ("generation_config.json", {"bos_token_id": 1, "eos_token_id": [2, 7]}),
    ):
        path = tmp_path / "theirs" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | ids))
    model, tokenizer = load_model(tmp_path / "theirs"), Tokenizer.train(["a b"], 280)
    assert tokenizer.endoftext_id == 0
    if trained == "saved again":
        save_model(model, tmp_path / "ours", tokenizer)
        save_model(load_model(tmp_path / "ours"), tmp_path / "ours", tokenizer)
    else:
        head = ConfidenceHead(model.config.d_model, 5) if trained == "with confidence" else None
        save_scalar(RewardModel(model, confidence=head), tmp_path / "ours", tokenizer)
    config, generation = (
        json.loads((tmp_path / "ours" / name).read_text())
        for name in ("config.json", "generation_config.json")
    )
    assert {key: config[key] for key in OURS_IDS} == OURS_IDS | {"pad_token_id": tokenizer.pad_id}
    assert generation["bos_token_id"] == 1
    assert generation["eos_token_id"] == [tokenizer.end_id, 2, 7]  # and what ends a turn of our template


def test_a_model_of_our_own_has_the_tokenizers_ids(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["a b"], 280)
    save_model(Transformer(ModelConfig(**TINY)), tmp_path, tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (None, 0, 1)
    assert generation == {"eos_token_id": [tokenizer.end_id, 0], "pad_token_id": 1}
