"""Virtual tokens against `peft`, both ways, and against the engine; what they share, keep still and refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.model.worlds import theirs
from tests.needs import needs

from ziggurat.engine.engine import Engine
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import load_model, save_model
from ziggurat.model.hub.adapters import attach, read_adapter
from ziggurat.model.padding import hidden_without_padding, right_pad
from ziggurat.model.prefix import Kind, PrefixConfig, prefixed
from ziggurat.model.recompute import recompute_blocks
from ziggurat.model.transformer import Transformer, set_compute_dtype

peft = needs("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
KINDS: tuple[Kind, ...] = ("prefix", "prompt")


def view_of(base: Transformer, kind: Kind, tokens: int = 5) -> Transformer:
    """`base` with virtual tokens whose numbers no initial value hides."""
    view = prefixed(base, PrefixConfig(tokens=tokens), kind, seed=1)
    assert view.prefix is not None
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in view.prefix.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=generator))
    return view


def small(**settings: Any) -> Transformer:
    sizes = {"layers": 3, "d_model": 32, "heads": 4, "kv_heads": 2, "d_head": 8, "d_ff": 48, "vocab_size": 97}
    model = Transformer(ModelConfig(**{**sizes, "context": 64, **settings}), seed=3)
    with torch.no_grad():
        model.embedding.weight.mul_(20)  # distributions that are far from flat
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "qwen3-tied", "gpt2", "mistral"])
def test_peft_loads_ours_and_gives_the_same_logits(family: str, kind: Kind, tmp_path: Path) -> None:
    model, ids, _ = theirs(family, tmp_path / "base")
    base = load_model(tmp_path / "base")
    view = view_of(base, kind)
    save_model(view, tmp_path / "adapter")
    with torch.no_grad():
        ours = view(ids)
        assert (ours - base(ids)).abs().max() > 0.5  # else nothing is compared
        wrapped = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
        said = wrapped(ids, attention_mask=torch.ones_like(ids)).logits
        said = said if kind == "prefix" else said[:, 5:]
        torch.testing.assert_close(said, ours, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(load_model(tmp_path / "adapter")(ids), ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_we_load_what_peft_saved_and_give_the_same_logits(kind: Kind, tmp_path: Path) -> None:
    """A prefix with peft's projection too: what is saved is what the projection made."""
    model, ids, _ = theirs("llama", tmp_path / "base")
    torch.manual_seed(0)
    if kind == "prefix":
        config = peft.PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=24
        )
    else:
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    wrapped = peft.get_peft_model(model, config).eval()
    wrapped.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        wanted = wrapped(ids, attention_mask=torch.ones_like(ids)).logits
        wanted = wanted if kind == "prefix" else wanted[:, 4:]
        view = attach(load_model(tmp_path / "base"), read_adapter(tmp_path / "adapter"))
        torch.testing.assert_close(view(ids), wanted, atol=1e-3, rtol=1e-4)


SHAPES: dict[str, dict[str, Any]] = {
    "rotary": {},
    "learned": {"positions": "learned", "norm": "layernorm", "activation": "gelu", "qk_norm": False},
    "windowed": {"window": 6, "windowed": (0, 2)},
}


@pytest.mark.parametrize("pages", [0, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_chooses_what_the_whole_forward_pass_does(
    shape: str, kind: Kind, dtype: torch.dtype, pages: int
) -> None:
    """Prompts in a batch, one that begins as another (its keys are copied), one in chunks, slots that are used again.
    In bf16 the log-probabilities are compared, because ties may be chosen otherwise."""
    view = view_of(small(**SHAPES[shape]).to(dtype), kind)
    set_compute_dtype(view, dtype)
    generator = torch.Generator().manual_seed(4)
    prompts = [torch.randint(0, 97, (n,), generator=generator).tolist() for n in (3, 12, 20, 7)]
    prompts.append([*prompts[1][:10], 5, 6, 7])
    engine = Engine(view, max_slots=2, parked=1, page_tokens=pages, chunk_flops=3e5)
    params = SamplingParams(temperature=0, max_tokens=6, logprobs=0)
    for ids in prompts:
        engine.submit(ids, params)
    made: dict[int, list[tuple[int, float]]] = {}
    while engine.has_work:
        for event in engine.step():
            made.setdefault(event.handle, []).append((event.token, event.logprob))
    for handle, ids in enumerate(prompts):
        tokens = [token for token, _ in made[handle]]
        assert len(tokens) == 6
        with torch.no_grad():
            logits = view(torch.tensor([ids + tokens]))[0, len(ids) - 1 : -1]
        logp = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
        close = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.15, "rtol": 0.05}
        torch.testing.assert_close(torch.tensor([p for _, p in made[handle]]), logp, **close)
        if dtype == torch.float32:
            assert tokens == logits.argmax(-1).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_optimizer_moved_is_what_the_next_rollout_reads(kind: Kind) -> None:
    view = view_of(small(), kind)
    params = SamplingParams(temperature=0, max_tokens=8)
    first = generate(view, [[1, 2, 3]], params)[0].ids
    engine = Engine(view, max_slots=1)
    assert view.prefix is not None
    with torch.no_grad():
        for p in view.prefix.parameters():
            p.mul_(-2)
    engine.set_weights(1)
    engine.submit([1, 2, 3], params)
    events = []
    while engine.has_work:
        events += engine.step()
    second = generate(view, [[1, 2, 3]], params)[0].ids
    assert second != first
    assert [event.token for event in events] == list(second)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_virtual_tokens_alone_and_recomputing_changes_none(kind: Kind) -> None:
    ids = torch.arange(24).view(2, 12)
    base = small()
    view, again = view_of(base, kind), view_of(small(), kind)
    recompute_blocks(again)
    for model in (view, again):
        model(ids).square().mean().backward()
        assert all(p.grad is None for n, p in model.named_parameters() if not n.startswith("prefix."))
    assert view.prefix is not None
    assert again.prefix is not None
    for ours, theirs_ in zip(view.prefix.parameters(), again.prefix.parameters(), strict=True):
        assert ours.grad is not None
        assert ours.grad.abs().sum() > 0
        torch.testing.assert_close(theirs_.grad, ours.grad)
    assert {p.data_ptr() for p in base.parameters()} < {p.data_ptr() for p in view.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_read_the_virtual_tokens_as_rows_of_their_own_do(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ziggurat.model.padding.WORTH_TOKENS", 1)
    view = view_of(small(), kind)
    rows = [list(range(20)), [3, 1, 4], [1, 5, 9, 2, 6], list(range(5, 17))]
    ids, lengths = right_pad(rows, 0)
    with torch.no_grad():
        packed, apart = hidden_without_padding(view, ids, lengths), view.hidden(ids)
    for i, row in enumerate(rows):
        torch.testing.assert_close(packed[i, : len(row)], apart[i, : len(row)], atol=1e-4, rtol=1e-4)


def test_it_begins_as_tokens_of_the_vocabulary(tmp_path: Path) -> None:
    """A fresh prefix and a fresh prompt are the same model: that of the drawn tokens before every row."""
    base = small()
    prefix, prompt = (prefixed(base, PrefixConfig(tokens=4), kind, seed=7) for kind in KINDS)
    drawn = torch.randint(0, 97, (4,), generator=torch.Generator().manual_seed(7))
    ids = torch.arange(9)[None]
    with torch.no_grad():
        wanted = base(torch.cat((drawn[None], ids), 1))[:, 4:]
        for view in (prefix, prompt):
            torch.testing.assert_close(view(ids), wanted, atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    theirs("llama", tmp_path / "base")
    base = load_model(tmp_path / "base")
    with pytest.raises(ConfigError, match=r"prefix\.tokens is 9999 and the model's context is"):
        prefixed(base, PrefixConfig(tokens=9999), "prompt")
    with pytest.raises(ConfigError, match="heads turn in part"):
        prefixed(small(rotary_share=0.5, qk_norm=False), PrefixConfig(), "prefix")
    view = view_of(base, "prefix")
    with pytest.raises(ConfigError, match="this one has an adapter"):
        prefixed(view, PrefixConfig(), "prompt")
    save_model(view, tmp_path / "adapter")
    with pytest.raises(ModelFolderError, match="it belongs to another model"):
        attach(small(), read_adapter(tmp_path / "adapter"))
