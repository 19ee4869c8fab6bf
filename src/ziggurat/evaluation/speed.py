"""How fast a model writes here, against what this machine could do and what others do on it, all in one run.

A token of one stream needs every weight but the embedding's once, so memory bandwidth over their bytes is the limit of
one stream; a batch shares that reading, and a prompt is bound by the matrix unit. Figures of different runs on a shared
machine cannot be compared; the shares of the limits can.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ziggurat.engine.engine import Engine
from ziggurat.engine.params import SamplingParams
from ziggurat.model.accounting import forward_flops_per_token
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu.quantized import bytes_a_token
from ziggurat.model.transformer import Transformer, set_compute_dtype
from ziggurat.training.precision import Machine, measure_machine

REFERENCE = {
    "layers": 12,
    "d_model": 768,
    "heads": 12,
    "kv_heads": 12,
    "d_head": 64,
    "d_ff": 2048,
    "vocab_size": 32_000,
    "context": 1024,
    "tied": False,
}
"""LLaMA-shaped, 134M parameters."""


@dataclass(frozen=True)
class Case:
    name: str
    streams: int
    prompt: int  # tokens of each
    new: int  # tokens of each
    prefill: bool = False  # what is measured: the prompt's tokens a second, or the written ones


CASES = (
    Case("one stream", 1, 32, 96),
    Case("16 streams", 16, 32, 96),
    Case("16 streams at 512", 16, 512, 24),
    Case("prefill of 512", 1, 512, 1, prefill=True),
)


@dataclass(frozen=True)
class Figure:
    case: str
    tokens_per_s: float
    limit: float  # tokens per second that this machine's bandwidth or matrix unit allows
    peers: dict[str, float]  # tokens per second of others
    taken: float | None = None  # share of a small model's guesses that the model took


def reference_model(dtype: torch.dtype) -> Transformer:
    """With random weights, kept in the dtype that it is served in: speed does not hang on what it says."""
    model = Transformer(ModelConfig(**REFERENCE), seed=0).eval().to(dtype)  # type: ignore[arg-type]
    set_compute_dtype(model, dtype)
    return model


def measure_decoding(
    model: Transformer,
    *,
    small: Transformer | None = None,
    peers: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Machine, list[Figure]]:
    """Every case that fits the context, between two measurements of the machine (the better one counts).

    `small` guesses ahead in runs of their own, which stand among the peers.
    """
    before = measure_machine()
    _run(model, CASES[0])  # weights are cast and packed on first use
    others = {"transformers": _transformers(model)} if peers else {}
    taken: dict[str, float] = {}
    if small is not None:
        others["guessed ahead"] = lambda case: _run(model, case, small, taken)
    figures = []
    for case in CASES:
        if case.prompt + case.new > model.config.context:
            continue
        tell(case.name)
        own = _run(model, case)
        theirs = {name: run(case) for name, run in others.items() if run is not None}
        figures.append((case, own, theirs))
    machine = before.best(measure_machine())
    return machine, [
        Figure(case.name, own, limit(model, case, machine), theirs, taken.get(case.name))
        for case, own, theirs in figures
    ]


def limit(model: Transformer, case: Case, machine: Machine) -> float:
    """Tokens per second if nothing but reading memory, or nothing but multiplying, took time."""
    config, width = model.config, model.compute_dtype.itemsize
    gflops = machine.gflops_bf16 if model.compute_dtype == torch.bfloat16 else machine.gflops_fp32
    computing = 1e9 * gflops / forward_flops_per_token(config, case.prompt)
    if case.prefill:
        return computing
    keys = 2 * config.layers * config.kv_heads * config.d_head * (case.prompt + case.new / 2)
    read = bytes_a_token(model) + case.streams * keys * width  # bytes of a step
    return min(computing, case.streams * 1e9 * machine.gb_per_s / read)


def _run(
    model: Transformer, case: Case, small: Transformer | None = None, taken: dict[str, float] | None = None
) -> float:
    engine = Engine(model, max_slots=case.streams, context=case.prompt + case.new, small=small)
    generator = torch.Generator().manual_seed(0)
    params = SamplingParams(temperature=0, max_tokens=case.new)
    for _ in range(case.streams):
        ids = torch.randint(model.config.vocab_size, (case.prompt,), generator=generator)
        engine.submit(ids.tolist(), params)
    t0 = time.perf_counter()
    engine.step()
    t1 = time.perf_counter()
    if case.prefill:
        return case.prompt * case.streams / (t1 - t0)
    written = 0
    while engine.has_work:
        written += len(engine.step())
    if taken is not None and engine.speculator is not None:
        taken[case.name] = engine.speculator.taken / max(1, engine.speculator.guessed)
    return written / (time.perf_counter() - t1)


def _transformers(model: Transformer) -> Callable[[Case], float] | None:
    """Hugging Face's `generate` on a model of the same shape, where it is installed."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError:
        return None
    c = model.config
    shape = LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.d_model,
        intermediate_size=c.d_ff,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        max_position_embeddings=c.context,
    )
    theirs: Any = LlamaForCausalLM(shape)  # its own types do not know `to`
    theirs = theirs.to(model.compute_dtype).eval()

    @torch.inference_mode()
    def run(case: Case) -> float:
        ids = torch.randint(3, c.vocab_size, (case.streams, case.prompt))

        def seconds(new: int) -> float:
            began = time.perf_counter()
            theirs.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
                pad_token_id=0,
            )
            return time.perf_counter() - began

        seconds(1)
        if case.prefill:
            return case.prompt * case.streams / seconds(1)
        new = min(case.new, 32)
        return case.streams * (new - 1) / max(seconds(new) - seconds(1), 1e-9)

    return run
