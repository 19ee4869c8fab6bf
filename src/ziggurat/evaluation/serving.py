"""How a served model holds up: its server in a process of its own, real HTTP, streams, measured from outside.

    offline        the same requests through the engine in this process, all at once: what the model can do at most
    closed loop    many clients that never pause: the saturation, and its share of offline
    open loop      Poisson arrivals at `LOAD` of the saturation: what a visitor waits for the first token and the next
    long prompt    it arrives while others stream: how long their next token waits

The load generator runs on the same machine as the server, so its own share of the processor is part of the result.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.evaluation.server_process import ServerProcess, serving
from ziggurat.evaluation.speed import REFERENCE
from ziggurat.evaluation.traffic import Answer, Wish, closed_loop, intrusion, open_loop, wishes
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.load import load_config, load_model
from ziggurat.model.hub.save import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.places import model_folder
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.training.device import place
from ziggurat.training.precision import Machine, measure_machine

R = TypeVar("R")
LOAD = 0.7


@dataclass(frozen=True, kw_only=True)
class Plan:
    requests: int = 96  # with 64 the last ones, which run nearly alone, are a third of a closed loop of 32
    clients: int = 32
    arrivals: int = 64
    prompt: tuple[int, int] = (16, 512)
    answer: tuple[int, int] = (16, 128)
    others: int = 8
    others_answer: int = 240
    long_prompt: int = 4000
    context: int = 8192  # of the random model

    def within(self, context: int) -> Plan:
        """For a model of `context` tokens, lengths that fit are kept and others cut to what does."""
        if context < 64:
            raise UsageError(f"the model's context is {context} tokens; `bench serve` needs 64 or more.")
        long, short = min(self.prompt[1], context // 2), min(self.answer[1], context // 4)
        return replace(
            self,
            prompt=(min(self.prompt[0], long), long),
            answer=(min(self.answer[0], short), short),
            others_answer=min(self.others_answer, context // 2),
            long_prompt=min(self.long_prompt, context - 9),
        )


QUICK = Plan(
    requests=8, clients=4, arrivals=6, prompt=(4, 32), answer=(4, 12), others=2, others_answer=24, long_prompt=200
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """What one phase over HTTP found; times in seconds."""

    requests_per_s: float
    first_p50_s: float
    first_p95_s: float
    between_p50_s: float
    between_p95_s: float
    between_max_s: float
    server_cpus: float  # processors that were busy with the server, on average
    client_cpus: float  # and with the load generator


@dataclass(frozen=True)
class Report:
    offline_per_s: float
    closed: Served
    open: Served
    open_per_s: float  # requests per second that were sent
    long_prompt: int
    long_first_s: float
    others_p50_s: float  # between tokens of the others before the long prompt came
    others_p99_s: float  # while it was read
    others_max_s: float

    @property
    def share(self) -> float:
        """Of the offline requests per second that the closed loop keeps."""
        return self.closed.requests_per_s / self.offline_per_s


def write_reference(folder: Path, context: int) -> None:
    """The random model of `bench decode` with a longer context."""
    write_random(folder, ModelConfig(**{**REFERENCE, "context": context}))  # type: ignore[arg-type]


def write_random(folder: Path, config: ModelConfig) -> None:
    """A model of random weights in bf16, and a tokenizer of as many tokens, nearly all of them text of their own."""
    rng = np.random.default_rng(0)
    letters = rng.integers(ord("a"), ord("z") + 1, size=(40_000, 4), dtype=np.uint8)
    text = " ".join(word.tobytes().decode() for word in letters)
    save_model(
        Transformer(config, seed=0).to(torch.bfloat16), folder, Tokenizer.train([text], config.vocab_size)
    )


def measure_serving(
    run: str | None, plan: Plan, *, dtype: torch.dtype, tell: Callable[[str], None] = lambda _: None
) -> tuple[Machine, Plan, Report]:
    """Every phase, between two measurements of the machine (the better one counts) and of offline (their mean)."""
    with _folder(run, plan) as folder:
        before = measure_machine()
        tell("offline: the same requests through the engine")
        config = load_config(folder)
        plan = plan.within(config.context)
        todo = wishes(plan.requests, config.vocab_size, plan.prompt, plan.answer)
        offline_per_s = _offline(folder, dtype, todo)
        tell(f"{offline_per_s:.2f} requests a second; a server starts")
        with serving([folder]) as server:
            found = _over_http(server, plan, todo, config.vocab_size, tell)
        tell("offline again: the machine may have become another")
        offline_per_s = (offline_per_s + _offline(folder, dtype, todo)) / 2
        return before.best(measure_machine()), plan, found(offline_per_s)


@contextmanager
def _folder(run: str | None, plan: Plan) -> Any:
    if run is not None:
        yield model_folder(run)
        return
    with tempfile.TemporaryDirectory(prefix="ziggurat-bench-") as folder:
        write_reference(Path(folder), plan.context)
        yield Path(folder)


def _offline(folder: Path, dtype: torch.dtype, todo: Sequence[Wish]) -> float:
    """Requests per second."""
    model = place(load_model(folder, dtype=dtype))
    prompts = [wish.prompt for wish in todo]
    params = [SamplingParams(temperature=0, max_tokens=w.tokens, min_tokens=w.tokens) for w in todo]
    generate(model, prompts[:2], params[:2])  # weights are cast and packed on first use
    t0 = time.perf_counter()
    generate(model, prompts, params)
    return len(todo) / (time.perf_counter() - t0)


def _over_http(
    server: ServerProcess,
    plan: Plan,
    todo: Sequence[Wish],
    vocab_size: int,
    tell: Callable[[str], None],
) -> Callable[[float], Report]:
    """The report, but for the requests per second offline."""
    where = server.address, server.model
    asyncio.run(closed_loop(*where, todo[:2], 2))  # warm

    tell(f"{plan.clients} clients")
    closed = _timed(server, closed_loop(*where, todo, plan.clients))
    per_s = LOAD * closed.requests_per_s
    tell(f"{closed.requests_per_s:.2f} requests a second; arrivals, {per_s:.2f} a second")
    arrivals = wishes(plan.arrivals, vocab_size, plan.prompt, plan.answer, seed=1)
    opened = _timed(server, open_loop(*where, arrivals, per_s))

    tell(f"a prompt of {plan.long_prompt:,} tokens")
    rng = np.random.default_rng(2)
    others = [
        Wish(rng.integers(vocab_size, size=32).tolist(), plan.others_answer) for _ in range(plan.others)
    ]
    long = Wish(rng.integers(vocab_size, size=plan.long_prompt).tolist(), 8)
    gaps_before, gaps_during, long_first_s = asyncio.run(intrusion(*where, others, long))
    return partial(
        Report,
        closed=closed,
        open=opened,
        open_per_s=per_s,
        long_prompt=plan.long_prompt,
        long_first_s=long_first_s,
        others_p50_s=float(np.median(gaps_before)),
        others_p99_s=float(np.percentile(gaps_during or [0.0], 99)),
        others_max_s=max(gaps_during, default=0.0),
    )


def _timed(server: ServerProcess, phase: Coroutine[Any, Any, list[Answer]]) -> Served:
    server0_s, own0_s, t0 = server.cpu_s(), sum(os.times()[:2]), time.perf_counter()
    answers = asyncio.run(phase)
    elapsed_s = time.perf_counter() - t0
    first = [answer.first_s for answer in answers]
    gaps = [gap for answer in answers for gap in answer.gaps_s]
    return Served(
        requests_per_s=len(answers) / elapsed_s,
        first_p50_s=float(np.percentile(first, 50)),
        first_p95_s=float(np.percentile(first, 95)),
        between_p50_s=float(np.percentile(gaps, 50)),
        between_p95_s=float(np.percentile(gaps, 95)),
        between_max_s=max(gaps),
        server_cpus=(server.cpu_s() - server0_s) / elapsed_s,
        client_cpus=(sum(os.times()[:2]) - own0_s) / elapsed_s,
    )
