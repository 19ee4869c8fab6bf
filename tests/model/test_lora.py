"""Adapters against `peft`, both ways; what they share with their base, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.model.worlds import theirs
from tests.needs import needs
from torch import Tensor, nn

from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.model.cpu.int8 import hold_int8
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model, load_scalar, save_model, save_scalar
from ziggurat.model.hub.adapter_names import layout_of
from ziggurat.model.hub.adapters import attach, read_adapter
from ziggurat.model.lora import LoraConfig, LoraLinear, adapt, adapters_of
from ziggurat.model.recompute import recompute_blocks
from ziggurat.model.transformer import Transformer

peft = needs("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
IDS = torch.randint(0, 97, (2, 12), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def disturb(view: nn.Module, seed: int = 0) -> None:
    """Numbers that no initial value hides."""
    generator = torch.Generator().manual_seed(seed)
    for layer in adapters_of(view).values():
        layer.lora_b.copy_(0.3 * torch.randn(layer.lora_b.shape, generator=generator))
        if layer.magnitude is not None:
            layer.magnitude.mul_(1 + 0.3 * torch.rand(layer.magnitude.shape, generator=generator))


def adapted(folder: Path, seed: int = 0, **settings: Any) -> tuple[Transformer, Transformer]:
    """A base and the same with a disturbed adapter."""
    base = load_model(folder)
    view = adapt(base, LoraConfig(**{"rank": 3, **settings}), layout_of(base.config), seed=seed)
    disturb(view, seed)
    return base, view


@torch.no_grad()
def peft_says(model: Any, folder: Path, ids: Tensor) -> Tensor:
    logits: Tensor = peft.PeftModel.from_pretrained(model, str(folder)).eval()(ids).logits
    return logits


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"dora": True},
    "some": {"targets": ("q_proj", "v_proj", "down_proj"), "last_blocks": 1},
}


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, kind) for family in ("llama", "qwen3-tied", "qwen2") for kind in KINDS),
        ("qwen3-moe", "lora"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:The following (rank|alpha)_pattern keys:RuntimeWarning"
)  # of peft's own rewriting
def test_peft_loads_ours_and_gives_the_same_logits(family: str, kind: str, tmp_path: Path) -> None:
    model, ids, _ = theirs(family, tmp_path / "base")
    base, view = adapted(tmp_path / "base", **KINDS[kind])
    save_model(view, tmp_path / "adapter")
    ours = view(ids)
    assert (ours - base(ids)).abs().max() > 1  # else nothing is compared
    torch.testing.assert_close(peft_says(model, tmp_path / "adapter", ids), ours, atol=1e-3, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(view(ids), ours, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", ["llama-biases", "gpt2"])
def test_we_load_what_peft_saved_and_give_the_same_logits(family: str, dora: bool, tmp_path: Path) -> None:
    model, ids, _ = theirs(family, tmp_path / "base")
    targets = ["c_attn", "c_proj"] if family == "gpt2" else ["k_proj", "o_proj", "up_proj"]
    config = peft.LoraConfig(
        r=2, lora_alpha=5, target_modules=targets, use_dora=dora, use_rslora=True, init_lora_weights=False,
        fan_in_fan_out=family == "gpt2", task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model, config).eval()
    wrapped.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        wanted = wrapped(ids).logits
    base = load_model(tmp_path / "base")
    view = attach(base, read_adapter(tmp_path / "adapter"))
    with torch.no_grad():
        torch.testing.assert_close(view(ids), wanted, atol=1e-3, rtol=1e-4)
        merged = load_model(tmp_path / "adapter", base=tmp_path / "base")
        torch.testing.assert_close(merged(ids), wanted, atol=1e-3, rtol=1e-4)


def test_peft_loads_the_adapter_and_the_head_of_a_reward_model(tmp_path: Path) -> None:
    import transformers

    theirs("llama", tmp_path / "base")
    _, view = adapted(tmp_path / "base")
    scorer = RewardModel(view, reward_shift=0.5, reward_scale=2.0)
    nn.init.normal_(scorer.head.weight)
    save_scalar(scorer, tmp_path / "reward")
    again = load_scalar(tmp_path / "reward")
    assert isinstance(again, RewardModel)
    ends = torch.full((2,), 11)
    with torch.no_grad():
        torch.testing.assert_close(again.score(IDS, ends), scorer.score(IDS, ends), atol=1e-3, rtol=1e-4)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "base", num_labels=1, pad_token_id=0
        )
        said = peft_says(model, tmp_path / "reward", IDS.where(IDS != 0, 1))[:, 0]
        torch.testing.assert_close(said, scorer.raw(IDS.where(IDS != 0, 1), ends), atol=1e-3, rtol=1e-4)


def test_the_base_is_the_model_with_its_adapter_off_and_shares_every_weight(tmp_path: Path) -> None:
    _, ids, _ = theirs("llama", tmp_path)
    base, view = adapted(tmp_path)
    other = adapt(base, LoraConfig(rank=2, targets=("q_proj",)), layout_of(base.config))
    with torch.no_grad():
        before = load_model(tmp_path)(ids)
        assert torch.equal(base(ids), before)
    own = {p.data_ptr() for layer in adapters_of(view).values() for p in (layer.lora_a, layer.lora_b)}
    shared = {p.data_ptr() for p in base.parameters()}
    assert {p.data_ptr() for p in view.parameters()} == shared | own
    assert shared <= {p.data_ptr() for p in other.parameters()}
    with torch.no_grad():  # a fresh adapter changes nothing
        torch.testing.assert_close(other(ids), before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"targets": ("q_proj", "v_proj", "lm_head")}])
def test_gradients_are_those_of_the_merged_matrices(settings: dict[str, Any], tmp_path: Path) -> None:
    """`weight_as` is plain autograd through W + s B A; the product beside the frozen base must agree."""
    theirs("llama", tmp_path)
    _, view = adapted(tmp_path, **settings)
    learns = [p for layer in adapters_of(view).values() for p in layer.parameters(recurse=False)]

    def gradients() -> list[Tensor]:
        view.zero_grad()
        view(IDS).square().mean().backward()
        return [p.grad.clone() for p in learns if p.grad is not None]

    found = gradients()
    plain = LoraLinear.forward
    try:
        LoraLinear.forward = lambda self, x: nn.functional.linear(x, self.weight_as(x.dtype), self.bias)  # type: ignore[method-assign]
        wanted = gradients()
    finally:
        LoraLinear.forward = plain  # type: ignore[method-assign]
    assert len(found) == len(learns) == len(wanted)
    for mine, theirs_ in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs_, atol=1e-4 * float(theirs_.abs().max()), rtol=1e-2)


def test_dropout_falls_on_the_adapter_in_training_alone(tmp_path: Path) -> None:
    theirs("llama", tmp_path)
    _, view = adapted(tmp_path, dropout=0.5)
    torch.manual_seed(0)
    first, second = view.train()(IDS), view(IDS)
    assert not torch.equal(first, second)
    assert torch.equal(view.eval()(IDS), view(IDS))


def test_an_adapter_learns_over_an_int8_base_that_rounds_no_activations(tmp_path: Path) -> None:
    theirs("llama", tmp_path)
    base, view = adapted(tmp_path)
    with torch.no_grad():
        exact = base(IDS)
    hold_int8(base)
    with torch.no_grad():
        assert (base(IDS) - exact).abs().mean() < 0.05 * exact.std()
    view = adapt(base, LoraConfig(rank=3), layout_of(base.config))
    disturb(view)
    learned = view(IDS)
    learned.mean().backward()
    with torch.no_grad():
        torch.testing.assert_close(view(IDS), learned.detach(), atol=1e-3, rtol=1e-3)
    assert all(bool(layer.lora_a.grad.abs().sum() > 0) for layer in adapters_of(view).values())  # type: ignore[union-attr]


def test_recomputed_blocks_give_the_same_gradients_and_keep_less(tmp_path: Path) -> None:
    theirs("llama", tmp_path)
    _, view = adapted(tmp_path)

    def run() -> tuple[int, list[Tensor]]:
        kept: dict[int, int] = {}

        def keep(t: Tensor) -> Tensor:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        view.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = view(IDS).square().mean()
        loss.backward()
        return sum(kept.values()), [p.grad.clone() for p in view.parameters() if p.grad is not None]

    plain_bytes, plain = run()
    recompute_blocks(view)
    recompute_blocks(view)  # twice is once
    few_bytes, again = run()
    assert few_bytes < plain_bytes / 2
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a, b)


def test_an_adapter_of_another_base_is_refused_in_one_sentence(tmp_path: Path) -> None:
    theirs("llama", tmp_path / "base")
    theirs("qwen3", tmp_path / "other")
    _, view = adapted(tmp_path / "base")
    save_model(view, tmp_path / "adapter")
    with pytest.raises(
        ModelFolderError, match=r"is an adapter of .*base \(weights .* holds other weights .*trained on\.$"
    ):
        load_model(tmp_path / "adapter", base=tmp_path / "other")
    (tmp_path / "adapter" / "ziggurat_adapter.json").unlink()  # now one from elsewhere: only shapes can tell
    with pytest.raises(ModelFolderError, match="belongs to another model"):
        load_model(tmp_path / "adapter", base=tmp_path / "other")
    with pytest.raises(ModelFolderError, match="it is an adapter of another model"):
        theirs("gpt2", tmp_path / "gpt2")
        load_model(tmp_path / "adapter", base=tmp_path / "gpt2")


def test_what_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    theirs("llama", tmp_path / "base")
    _, view = adapted(tmp_path / "base")
    save_model(view, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    good = json.loads(path.read_text())
    for changed, said in (
        ({"peft_type": "IA3"}, "what can be computed is LORA"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"r": 5}, "belongs to another model"),
    ):
        path.write_text(json.dumps(good | changed))
        with pytest.raises(ModelFolderError, match=said):
            load_model(tmp_path / "adapter")
    path.write_text("{")
    with pytest.raises(ModelFolderError, match="cannot be read as an adapter"):
        load_model(tmp_path / "adapter")


def test_a_base_that_is_gone_is_named(tmp_path: Path) -> None:
    theirs("llama", tmp_path / "base")
    _, view = adapted(tmp_path / "base")
    save_model(view, tmp_path / "adapter")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(
        ModelFolderError, match=r"base, which is not here; name the base with it, as BASE@ADAPTER"
    ):
        load_model(tmp_path / "adapter")
    assert isinstance(load_model(tmp_path / "adapter", base=tmp_path / "moved"), Transformer)


def test_an_unknown_target_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    theirs("llama", tmp_path)
    base = load_model(tmp_path)
    with pytest.raises(ConfigError, match=r'names "q_prj", .* q_proj, k_proj, .*Did you mean "q_proj"'):
        adapt(base, LoraConfig(targets=("q_prj",)), layout_of(base.config))


def test_an_adapter_over_an_adapter_is_loaded_through_both(tmp_path: Path) -> None:
    """A second stage begins from a run whose model is an adapter."""
    theirs("llama", tmp_path / "base")
    _, first = adapted(tmp_path / "base")
    save_model(first, tmp_path / "first")
    _, second = adapted(tmp_path / "first", seed=1)
    save_model(second, tmp_path / "second")
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "second")(IDS), second(IDS), atol=1e-3, rtol=1e-4)
