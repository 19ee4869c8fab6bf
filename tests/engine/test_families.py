"""Every way of computing a family agrees: whole forward pass, prefill, chunks, decoding, pages, compiled loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tests.model.worlds import CONFIGS, theirs
from torch import Tensor

from ziggurat.engine.cache import Arena
from ziggurat.engine.engine import Engine
from ziggurat.engine.generate import generate
from ziggurat.engine.pages import PagedArena
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.views import Decode, Extend, Prefill, Several
from ziggurat.model.hub import load_model
from ziggurat.model.transformer import Transformer, set_compute_dtype

CLOSE, CLOSE_BF16 = 2e-4, 0.35  # logits of standard deviation 1 to 30; bf16 rounds to 3 digits
T = 24


def arenas(model: Transformer) -> dict[str, Arena]:
    config, dtype, cpu = model.config, model.compute_dtype, torch.device("cpu")
    paged = PagedArena(config, 2, 40, dtype, cpu, page_tokens=4, pages=40)
    return {"contiguous": Arena(config, 2, 40, dtype, cpu), "paged": paged}


@torch.inference_mode()
def cached(model: Transformer, arena: Arena, ids: Tensor) -> Tensor:
    """Logits of two rows: 9 tokens at once, a chunk of 7 for each row, 4 together, the rest one by one."""
    B, places = len(ids), torch.arange(T)
    rows = np.arange(B)
    parts = [model(ids[:, :9], positions=places[:9].expand(B, 9), cache=Prefill(arena, rows, 9))]
    chunks = [
        model(ids[row : row + 1, 9:16], positions=places[None, 9:16], cache=Extend(arena, row, 9, 7))
        for row in range(B)
    ]
    parts.append(torch.cat(chunks))
    view = Several(arena, np.full(B, 16), np.ones((B, 4), dtype=np.bool_), 20)
    parts.append(model(ids[:, 16:20], positions=places[16:20].expand(B, 4), cache=view))
    for at in range(20, T):
        one = places[at].expand(B, 1)
        parts.append(model(ids[:, at : at + 1], positions=one, cache=Decode(arena, np.full(B, at))))
    return torch.cat(parts, 1)


@pytest.mark.parametrize("kind", ["contiguous", "paged"])
@pytest.mark.parametrize("name", CONFIGS)
def test_cached_logits_equal_theirs(name: str, kind: str, tmp_path: Path) -> None:
    _, ids, expected = theirs(name, tmp_path)
    model = load_model(tmp_path)
    found = cached(model, arenas(model)[kind], ids[:, :T])
    assert (found - expected[:, :T]).abs().max() <= CLOSE


@pytest.mark.parametrize("name", CONFIGS)
def test_compiled_decoding_in_bf16_agrees_with_the_plain_pass(name: str, tmp_path: Path) -> None:
    """One sequence takes the compiled block where there is one; wide logits would show another window or scale."""
    _, ids, _ = theirs(name, tmp_path)
    model = load_model(tmp_path, dtype=torch.bfloat16)
    exact = load_model(tmp_path, dtype=torch.bfloat16)
    exact.float()
    set_compute_dtype(exact, torch.float32)
    with torch.inference_mode():
        expected = exact(ids[:1, :T])
    found = cached(model, arenas(model)["contiguous"], ids[:1, :T])
    away = (found - expected).abs().mean() / expected.std()
    assert away <= 0.05


@pytest.mark.parametrize(
    "name", [n for n in CONFIGS if n.endswith("window") or n.startswith(("gemma3", "smollm3"))]
)
def test_greedy_texts_equal_theirs_beyond_the_window(name: str, tmp_path: Path) -> None:
    _, ids, _ = theirs(name, tmp_path)
    prompt = ids[:1, :12]
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    said = reference.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0,
        eos_token_id=None,
    )  # fmt: skip
    ours = generate(
        load_model(tmp_path), [prompt[0].tolist()], SamplingParams(temperature=0.0, max_tokens=20)
    )
    assert ours[0].ids == said[0, 12:].tolist()


@pytest.mark.parametrize("name", ["mistral-window", "gemma3", "smollm3", "neox"])
def test_chunked_prefill_does_not_change_a_text(name: str, tmp_path: Path) -> None:
    _, ids, _ = theirs(name, tmp_path)
    model, prompt = load_model(tmp_path), ids[0, :30].tolist()
    params = SamplingParams(temperature=0.0, max_tokens=10)
    whole = generate(model, [prompt], params)[0].ids
    engine = Engine(model, max_slots=2, chunk_flops=1.0)
    engine.submit(prompt, params)
    made = [event.token for _ in range(80) for event in engine.step()]
    assert made == whole


@pytest.mark.parametrize("name", [n for n in CONFIGS if not n.startswith("gpt2")])
def test_packed_rows_are_computed_as_if_alone(name: str, tmp_path: Path) -> None:
    """Two documents in one row, kept apart by segments, have the logits that each has alone."""
    _, ids, _ = theirs(name, tmp_path)
    model = load_model(tmp_path)
    row, segments = ids[:1, :26], torch.tensor([[0] * 11 + [1] * 15])
    places = torch.cat((torch.arange(11), torch.arange(15)))[None]
    with torch.no_grad():
        packed = model(row, positions=places, segments=segments)
        alone = torch.cat((model(row[:, :11]), model(row[:, 11:])), 1)
    assert (packed - alone).abs().max() <= CLOSE


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_are_those_of_theirs(name: str, tmp_path: Path) -> None:
    """The compiled training loops and hand-written backward passes against autograd of transformers."""
    reference, ids, _ = theirs(name, tmp_path)
    model = load_model(tmp_path)
    loss = torch.nn.functional.cross_entropy(
        reference(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    )
    loss.backward()
    hidden = model.hidden(ids)[:, :-1].flatten(0, 1)
    ours = model.nll(hidden, ids[:, 1:].flatten()).mean()
    ours.backward()
    assert abs(ours.item() - loss.item()) <= 1e-4 * max(1.0, loss.item())
    expected = reference.get_input_embeddings().weight.grad
    assert model.embedding.weight.grad is not None
    away = (model.embedding.weight.grad - expected).norm() / expected.norm()
    assert away <= 1e-3
