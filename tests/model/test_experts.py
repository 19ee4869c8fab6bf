"""Mixtures of experts: hand-worked numbers, `transformers`, what is counted, rounded, adapted, trained and refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.model.test_accounting import real_parameters
from tests.model.worlds import CONFIGS, theirs
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ziggurat.engine.engine import Engine
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ModelFolderError, UsageError
from ziggurat.model import accounting
from ziggurat.model.config import ExpertsConfig, ModelConfig
from ziggurat.model.cpu import accelerate, quantized
from ziggurat.model.cpu.blocks import covered
from ziggurat.model.cpu.groups import GroupedLinear
from ziggurat.model.cpu.int8 import Int8Linear, hold_int8
from ziggurat.model.experts import Mixture, Router, load_balance, mixtures_of, watched
from ziggurat.model.hub import load_config, load_model, save_model
from ziggurat.model.hub.adapter_names import layout_of
from ziggurat.model.hub.gguf_write import write_gguf
from ziggurat.model.lora import LoraConfig, adapt, adapters_of
from ziggurat.model.recompute import recompute_blocks
from ziggurat.model.transformer import Transformer
from ziggurat.stages.losses import TokenBatch, batch_loss, split_rows
from ziggurat.training import TrainConfig
from ziggurat.training.cost import adapter_parameters
from ziggurat.training.optimizers import build_optimizer
from ziggurat.training.step import mean_loss, optimizer_step

FAMILY = [name for name in CONFIGS if name.startswith("qwen3-moe")]
SHAPE = ModelConfig(
    layers=3, d_model=32, heads=4, kv_heads=2, d_head=8, d_ff=40, vocab_size=53, context=64, tied=False,
    experts=ExpertsConfig(count=5, active=2, d_ff=24, dense_layers=(1,)),
)  # fmt: skip
GREEDY = SamplingParams(temperature=0.0, max_tokens=12)


# --- worked by hand ---------------------------------------------------------------------------------------------------


class Times(nn.Module):
    """An expert that multiplies; it counts its calls."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.factor


def by_hand(normalized: bool) -> Mixture:
    """Two tokens (1, 0) and (0, 1); probabilities of the first 3/6, 2/6, 1/6, of the second 1/8, 2/8, 5/8."""
    config = ExpertsConfig(count=3, active=2, d_ff=1, normalized=normalized)
    mixture = Mixture(2, config, [Times(1.0), Times(10.0), Times(100.0)])
    with torch.no_grad():
        mixture.router.weight.copy_(torch.tensor([[3.0, 1.0], [2.0, 2.0], [1.0, 5.0]]).log())
    return mixture


@pytest.mark.parametrize(("normalized", "first", "second"), [
    (True, 3 / 5 * 1 + 2 / 5 * 10, 5 / 7 * 100 + 2 / 7 * 10),
    (False, 3 / 6 * 1 + 2 / 6 * 10, 5 / 8 * 100 + 2 / 8 * 10),
])  # fmt: skip
@pytest.mark.parametrize("grad", [False, True])
def test_each_token_is_the_weighted_sum_of_its_experts(
    normalized: bool, first: float, second: float, grad: bool
) -> None:
    with torch.set_grad_enabled(grad):
        y = by_hand(normalized)(torch.eye(2)[None])
    torch.testing.assert_close(y, torch.tensor([[[first, 0.0], [0.0, second]]]))


def test_load_balance_by_hand() -> None:
    """Choices by a token (1/2, 1, 1/2), mean probabilities (15, 14, 19)/48: 3 (7.5 + 14 + 9.5)/48 = 93/48. Two layers
    that are alike change nothing, and an even load of k = 2 gives 2 with any number of experts."""
    mixture = by_hand(True)
    with watched([mixture]) as routing:
        mixture(torch.eye(2)[None])
        once = routing.balance()
        mixture(torch.eye(2)[None])
        twice = routing.balance()
    assert once is not None
    assert twice is not None
    assert [once.item(), twice.item()] == pytest.approx([93 / 48, 93 / 48])
    assert mixture.routing is None
    assert load_balance(torch.full((8,), 2 / 8), torch.full((8,), 1 / 8)).item() == pytest.approx(2)


def test_an_expert_is_called_once_for_all_its_tokens_and_not_at_all_without() -> None:
    """However many tokens there are. With gradients the third is called without rows, so that it has a gradient."""
    mixture, many = by_hand(True), torch.tensor([[1.0, 0.0]]).expand(2, 50, 2)
    with torch.no_grad():
        mixture(many)
    assert [expert.calls for expert in mixture.experts] == [1, 1, 0]  # type: ignore[union-attr]
    mixture(many)
    assert [expert.calls for expert in mixture.experts] == [2, 2, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("prepare", [lambda model: model, accelerate])
def test_experts_without_a_token_have_a_gradient_of_0(prepare: Any) -> None:
    """Missing on one process and there on another, it would leave the processes of a run waiting."""
    model = prepare(Transformer(SHAPE))
    model(torch.tensor([[3]])).sum().backward()
    for mixture in mixtures_of(model):
        gradients = [p.grad for p in mixture.experts.parameters()]
        assert all(gradient is not None for gradient in gradients)
        assert sum(bool(gradient.any()) for gradient in gradients) == 2 * SHAPE.experts.active  # type: ignore


# --- as transformers has it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY)
def test_the_config_comes_back_and_so_do_the_stored_tensors(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    theirs(name, tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    assert load_config(tmp_path / "ours") == load_config(tmp_path / "theirs")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "qwen3_moe"
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_its_publisher_writes_is_read(tmp_path: Path) -> None:
    """Qwen3-30B-A3B's config.json, and its printed sizes: 30.5 billion parameters, 3.3 billion of them active."""
    published = {
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 6144,
        "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
        "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": True,
        "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
        "num_key_value_heads": 4, "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_scaling": None,
        "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
        "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(published))
    config = load_config(tmp_path)
    assert config.experts == ExpertsConfig(count=128, active=8, d_ff=768, normalized=True, balance=0.001)
    assert accounting.total_parameters(config) == pytest.approx(30.5e9, rel=0.005)
    assert accounting.active_parameters(config) == pytest.approx(3.3e9, rel=0.02)


def test_layers_without_experts_are_those_of_transformers(tmp_path: Path) -> None:
    """Every second layer is sparse, from the second on, and the fourth is named dense: the second alone is left."""
    theirs("qwen3-moe-mixed", tmp_path)
    config = load_config(tmp_path)
    assert [config.experts_of(layer) is not None for layer in range(4)] == [False, True, False, False]
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert [hasattr(layer.mlp, "experts") for layer in model.model.layers] == [False, True, False, False]


def test_a_folder_in_shards_is_read(tmp_path: Path) -> None:
    model, ids, expected = theirs("qwen3-moe", tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    with torch.no_grad():
        assert (load_model(tmp_path / "shards")(ids) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(("change", "at"), [
    ({"num_experts_per_tok": 7}, "experts.active: 7 is more than experts.count: 6"),
    ({"decoder_sparse_step": 0}, "decoder_sparse_step is 0"),
    ({"num_experts": 5}, "model.layers.0.mlp.gate.weight has the shape (6, 32)"),
    ({"mlp_only_layers": [2]}, "lacks the tensor model.layers.2.mlp.gate_proj.weight"),
    ({"mlp_only_layers": [0, 1, 2]}, "lacks the tensor model.layers.0.mlp.gate_proj.weight"),
])  # fmt: skip
def test_a_config_that_does_not_fit_is_refused(change: dict[str, Any], at: str, tmp_path: Path) -> None:
    theirs("qwen3-moe", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelFolderError) as refused:
        load_model(tmp_path)
    assert at in str(refused.value)


def test_all_that_does_not_fit_is_named() -> None:
    experts = {"count": 2, "active": 3, "d_ff": 4, "dense_layers": (3,)}
    with pytest.raises(
        ValueError, match=r"active: 3 is more.*there is no layer 3; mlp_bias: experts have no"
    ):
        ModelConfig(**{**SHAPE.model_dump(), "experts": experts, "mlp_bias": True})


def test_an_experiment_with_experts_is_saved_under_our_own_names(tmp_path: Path) -> None:
    model = Transformer(SHAPE.model_copy(update={"norm": "layernorm", "activation": "gelu_tanh"}))
    save_model(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "ziggurat"
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(ids), accelerate(model)(ids))


# --- the engine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY)
def test_greedy_texts_of_a_batch_equal_theirs(name: str, tmp_path: Path) -> None:
    """Prompts of several lengths in one batch; each text must be what transformers writes to that prompt alone."""
    model, ids, _ = theirs(name, tmp_path)
    prompts = [ids[0, :12].tolist(), ids[1, :5].tolist(), ids[1, 3:20].tolist()]
    said = []
    for prompt in prompts:
        given = torch.tensor([prompt])
        made = model.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=12, do_sample=False, pad_token_id=0,
            eos_token_id=None,
        )  # fmt: skip
        said.append(made[0, len(prompt) :].tolist())
    assert [one.ids for one in generate(load_model(tmp_path), prompts, GREEDY)] == said


def test_a_parked_prefix_changes_no_text(tmp_path: Path) -> None:
    _, ids, _ = theirs("qwen3-moe", tmp_path)
    model, first = load_model(tmp_path), ids[0, :20].tolist()
    second = [*first[:15], *ids[1, :6].tolist()]
    engine = Engine(model, max_slots=2, parked=2)
    for prompt in (first, second):
        engine.submit(prompt, GREEDY)
        made = [event.token for _ in range(40) for event in engine.step()]
        assert made == generate(model, [prompt], GREEDY)[0].ids


def test_fixed_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be served with --batch-invariant"):
        Engine(Transformer(SHAPE), batch_invariant=True)


def test_the_one_call_of_all_blocks_leaves_experts_to_torch() -> None:
    """By the config, and not by what the table happens to find; the same shape without experts is covered."""
    assert not covered(SHAPE)
    assert covered(SHAPE.model_copy(update={"experts": None}))


@pytest.mark.parametrize(("weights", "near"), [("int8", 0.08), ("int4", 0.6)])
def test_experts_are_served_in_few_bits_and_routers_are_not(
    weights: str, near: float, tmp_path: Path
) -> None:
    """Every matrix of every expert is rounded; the router's numbers are those of the file."""
    _, ids, expected = theirs("qwen3-moe", tmp_path)
    exact, model = load_model(tmp_path), quantized.load_to_serve(tmp_path, torch.float32, weights)
    for mine, own in zip(mixtures_of(model), mixtures_of(exact), strict=True):
        assert torch.equal(mine.router.weight, own.router.weight)
        assert all(
            isinstance(e.up, GroupedLinear) and isinstance(e.down, GroupedLinear) for e in mine.experts
        )
    assert f"{weights} weights" in quantized.numerics(model)
    with torch.inference_mode():
        assert (model(ids) - expected).abs().mean() <= near * expected.std()


def test_the_bytes_of_a_token_are_those_of_its_experts() -> None:
    model = Transformer(SHAPE)
    matrices = accounting.active_matrix_parameters(SHAPE) - 2 * 5 * 32  # the routers are no such matrices
    assert quantized.bytes_a_token(model) == 4 * matrices


# --- counted ----------------------------------------------------------------------------------------------------------


def test_parameters_add_up_and_the_active_ones_are_counted_by_hand() -> None:
    """Of two sparse layers with 5 experts of 3 x 32 x 24 numbers a token passes 2: 2 x 3 x 2304 take no part."""
    assert accounting.total_parameters(SHAPE) == real_parameters(SHAPE)
    assert accounting.total_parameters(SHAPE) - accounting.active_parameters(SHAPE) == 13824


def test_flops_equal_torchs_count_of_the_products() -> None:
    config, T = SHAPE.model_copy(update={"qk_norm": False}), 32
    model, ids = accelerate(Transformer(config)), torch.arange(T)[None]
    model(ids)  # the loops try themselves out before their first use
    with FlopCounterMode(display=False) as counter:  # with gradients, for it does not see attention without
        model(ids)
    full = 4 * config.layers * config.heads * config.d_head * T
    causal = full * (T + 1) / (2 * T)
    wanted = accounting.forward_flops_per_token(config, T) + full - causal
    assert counter.get_total_flops() / T == pytest.approx(wanted)


def test_the_estimate_of_an_adapter_is_the_number_of_what_learns() -> None:
    view = adapt(Transformer(SHAPE), LoraConfig(rank=3), layout_of(SHAPE))
    own = sum(p.numel() for p in view.parameters() if p.requires_grad)
    assert adapter_parameters(SHAPE, TrainConfig(trainable="lora", lora=LoraConfig(rank=3))) == own


def test_initial_weights_are_those_of_the_table() -> None:
    """As an MLP's of that width; 6 sigma of a sample's deviation."""
    config = SHAPE.model_copy(update={"d_model": 96, "experts": ExpertsConfig(count=64, active=2, d_ff=80)})
    model = Transformer(config, seed=3)
    mixture = mixtures_of(model)[0]
    expert: Any = mixture.experts[7]
    for weight, std in (
        (expert.up.weight, 96**-0.5),
        (expert.down.weight, (2 * 3 * 80) ** -0.5),
        (mixture.router.weight, 96**-0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=6 / math.sqrt(2 * weight.numel()))
    model.init_weights(3, quiet=True)
    assert not expert.down.weight.any()


# --- training ---------------------------------------------------------------------------------------------------------


def batch_of(ids: Tensor) -> TokenBatch:
    return TokenBatch(ids[:, :-1], ids[:, 1:])


@pytest.mark.parametrize("name", ["qwen3-moe", "qwen3-moe-mixed"])
def test_loss_and_gradients_with_the_balance_are_theirs(name: str, tmp_path: Path) -> None:
    """One step of plain gradient descent against autograd of transformers, whose loss has the balance in it; its
    coefficient is made 5, so that a router's gradient without it would be another."""
    reference, ids, _ = theirs(name, tmp_path)
    reference.router_aux_loss_coef = 5.0
    given = ids[:, :-1]
    said = reference(given, labels=given, shift_labels=ids[:, 1:].contiguous(), output_router_logits=True)
    said.loss.backward()
    model = load_model(tmp_path)
    for mixture in mixtures_of(model):
        mixture.config = mixture.config.model_copy(update={"balance": 5.0})
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    outcome = optimizer_step(model, Descent(model), [batch_of(ids)], batch_loss, grad_clip=0.0, step=1)  # type: ignore[arg-type]
    assert outcome.extra["load_balance"] == pytest.approx(said.aux_loss.item(), rel=1e-5)
    assert outcome.loss == pytest.approx((said.loss - 5.0 * said.aux_loss).item(), rel=1e-4)
    layer = next(i for i in range(model.config.layers) if model.config.experts_of(i) is not None)
    mine: Any = {n: before[n] - p for n, p in model.named_parameters()}
    block = reference.model.layers[layer]
    pairs = [
        (mine[f"blocks.{layer}.mlp.router.weight"], block.mlp.gate.weight.grad),
        (mine[f"blocks.{layer}.mlp.experts.2.up.weight"], block.mlp.experts.gate_up_proj.grad[2]),
        (mine[f"blocks.{layer}.mlp.experts.2.down.weight"], block.mlp.experts.down_proj.grad[2]),
        (mine["embedding.weight"], reference.model.embed_tokens.weight.grad),
    ]
    for ours, wanted in pairs:
        assert wanted.norm() > 0
        assert (ours - wanted).norm() <= 2e-3 * wanted.norm()


class Descent:
    """Gradient descent at rate 1, for a step whose update is the gradient."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = list(model.parameters())

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for p in self.parameters:
            assert p.grad is not None
            p.sub_(p.grad)


def test_a_step_has_the_mean_balance_of_its_pieces() -> None:
    model = Transformer(SHAPE)
    ids = torch.randint(0, 53, (3, 20), generator=torch.Generator().manual_seed(0))
    pieces = split_rows(batch_of(ids), 3)
    each = [mean_loss(model, [piece], batch_loss).extra["load_balance"] for piece in pieces]
    assert max(each) > min(each)
    assert mean_loss(model, pieces, batch_loss).extra["load_balance"] == pytest.approx(sum(each) / 3)
    dense = Transformer(SHAPE.model_copy(update={"experts": None}))
    assert mean_loss(dense, pieces, batch_loss).extra == {}


def test_the_balance_evens_the_load() -> None:
    """Forty steps on it alone, from a router that sends every token to the first two of five experts."""
    model = Transformer(SHAPE.model_copy(update={"tied": True}))
    ids = torch.randint(0, 53, (4, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mixture in mixtures_of(model):
            mixture.config = mixture.config.model_copy(update={"balance": 1.0})
        model.norm.weight.zero_()  # the next token's loss has no gradient but this norm's
        for block in model.blocks:
            block.norm2.weight.fill_(1.0)  # type: ignore[union-attr, operator]
    model.norm.weight.requires_grad_(False)
    optimizer = build_optimizer(model, TrainConfig(optimizer="adamw", lr_adam=0.01))
    found = [
        optimizer_step(model, optimizer, [batch_of(ids)], batch_loss, grad_clip=0.0, step=s).extra[
            "load_balance"
        ]
        for s in range(40)
    ]
    assert found[-1] < found[0] - 0.02
    assert found[-1] == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("how", ["all", "lora"])
def test_recomputed_blocks_give_the_same_gradients(how: str) -> None:
    """The balance reaches into a block that is computed again for the backward pass."""
    ids = torch.randint(0, 53, (2, 24), generator=torch.Generator().manual_seed(0))
    found = []
    for again in (False, True):
        model: Any = accelerate(Transformer(SHAPE, seed=1))
        if how == "lora":
            model = adapt(model, LoraConfig(rank=2), layout_of(SHAPE), seed=4)
        if again:
            recompute_blocks(model)
        with watched(mixtures_of(model)) as routing:
            total, _ = batch_loss(model, batch_of(ids))
            balance = routing.balance()
            assert balance is not None
            (total + 10 * balance).backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*found, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)


def test_routers_go_to_adamw_and_every_expert_to_muon() -> None:
    model = Transformer(SHAPE)
    optimizer = build_optimizer(model, TrainConfig())
    muon = {optimizer.names[p] for group in optimizer.members["muon"].param_groups for p in group["params"]}
    assert muon == set(model.muon_matrices())
    assert len(muon) == 2 * 3 + 2 + 2 * 5 * 2  # attention, the dense MLP, two layers of experts
    assert not any("router" in name for name in muon)
    ids = torch.randint(
        0, 53, (2, 3), generator=torch.Generator().manual_seed(0)
    )  # some experts have no token
    for step in range(2):
        optimizer_step(model, optimizer, [batch_of(ids)], batch_loss, grad_clip=1.0, step=step)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


# --- adapters ---------------------------------------------------------------------------------------------------------


def test_lora_adapts_attention_and_every_expert_and_no_router(tmp_path: Path) -> None:
    theirs("qwen3-moe-mixed", tmp_path)
    base = load_model(tmp_path)
    view = adapt(base, LoraConfig(rank=2), layout_of(base.config))
    assert set(adapters_of(view)) == {name.removesuffix(".weight") for name in base.muon_matrices()}
    some = adapt(base, LoraConfig(rank=2, targets=("q_proj", "o_proj")), layout_of(base.config))
    assert all(".attention." in name for name in adapters_of(some))
    assert isinstance(view.blocks[1].mlp.router, Router)  # type: ignore[union-attr]
    assert view.blocks[1].mlp is not base.blocks[1].mlp, "what watches one is not seen by the other"


def test_an_int8_base_holds_its_experts_in_int8(tmp_path: Path) -> None:
    _, ids, expected = theirs("qwen3-moe", tmp_path)
    model = load_model(tmp_path)
    hold_int8(model)
    assert isinstance(mixtures_of(model)[0].experts[0].up, Int8Linear)
    with torch.no_grad():
        assert (model(ids) - expected).abs().mean() <= 0.08 * expected.std()


def test_gguf_is_refused_both_ways(tmp_path: Path) -> None:
    import gguf

    from ziggurat.model.hub.gguf_read import GGUFFile

    theirs("qwen3-moe", tmp_path / "hf")
    with pytest.raises(ModelFolderError, match="a mixture of experts is not written as GGUF; export to hf"):
        write_gguf(tmp_path / "hf", tmp_path / "out.gguf", {})
    assert not (tmp_path / "out.gguf").exists()
    for arch in ("qwen3moe", "llama"):
        writer = gguf.GGUFWriter(str(tmp_path / "in.gguf"), arch)
        writer.add_expert_count(8)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(ModelFolderError, match="not read from GGUF; import its Hugging Face folder"):
            GGUFFile(tmp_path / "in.gguf")
