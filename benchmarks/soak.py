"""An hour of everything at once, and what is left behind: the server must be as it was.

    python benchmarks/soak.py [RUN] [--minutes 60]

A real server in its own process answers conversations, completions, forms, embeddings, long prompts, clients that hang
up and requests that are none. Between waves of load it is left alone for a moment, and what it holds is written down:
memory, open files, tasks, threads, running and waiting requests, the cache. The verdict: memory's slope in the second
half, with its 95 % interval, must not lie above `MIB_PER_HOUR`; of everything else nothing may be left. Without a run a
tiny random model is served. Prints a table, then one JSON document as its last line; ends with 1 where something leaks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from ziggurat.console import err, out, table
from ziggurat.evaluation.server_process import ServerProcess, serving
from ziggurat.evaluation.serving import write_random
from ziggurat.evaluation.traffic import connection
from ziggurat.lineage import machine
from ziggurat.model.config import ModelConfig

TINY = ModelConfig(
    layers=2, d_model=64, heads=2, kv_heads=1, d_head=32, d_ff=128, vocab_size=1024, context=1024
)
CLIENTS = 16
WAVE_S = 10.0
MIB_PER_HOUR = 20.0
WORDS = [
    "the",
    "baker",
    "by",
    "canal",
    "says",
    "good",
    "morning",
    "to",
    "Ana",
    "早上好",
    "运河",
    "面包师",
    "0",
    "12",
]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}

Send = tuple[str, dict[str, Any] | bytes, set[int]]  # path, body, statuses that are right


def request(rng: random.Random, model: str, context: int) -> tuple[str, Send]:
    """One of the mix, by name."""

    def words(n: int) -> str:
        return " ".join(rng.choices(WORDS, k=n))

    common = {"model": model, "temperature": rng.choice([0, 1]), "max_tokens": rng.randint(1, 48)}
    chat = {**common, "messages": [{"role": "user", "content": words(rng.randint(1, 30))}]}
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    ids = [rng.randrange(256) for _ in range(rng.randint(context // 2, context - 60))]
    kinds: dict[str, Send] = {
        "chat": ("/v1/chat/completions", {**chat, "n": rng.choice([1, 1, 3])}, {200}),
        "stream": ("/v1/chat/completions", {**chat, "stream": True}, {200}),
        "cut off": ("/v1/chat/completions", {**chat, "stream": True, "max_tokens": 400}, {200}),
        "completion": ("/v1/completions", {**common, "prompt": words(8), "logprobs": 3, "echo": True}, {200}),
        "form": ("/v1/chat/completions", {**chat, "response_format": form, "max_tokens": 60}, {200}),
        "embedding": ("/v1/embeddings", {"model": model, "input": [words(5), words(9)]}, {200}),
        "long prompt": ("/v1/completions", {**common, "prompt": ids}, {200}),
        "too long": ("/v1/completions", {**common, "prompt": [1] * (context + 1)}, {400}),
        "no model": ("/v1/completions", {**common, "model": "none", "prompt": "x"}, {404}),
        "no JSON": ("/v1/chat/completions", b'{"model": [', {400}),
        "bad form": ("/v1/chat/completions", {**chat, "response_format": {"type": "poem"}}, {400}),
    }
    name = rng.choice(list(kinds))
    return name, kinds[name]


async def send(client: httpx.AsyncClient, rng: random.Random, model: str, context: int) -> str:
    """Send one and judge the answer; returns what happened."""
    name, (path, body, right) = request(rng, model, context)
    told = {"content": body, "headers": {"content-type": "application/json"}}
    if isinstance(body, dict):
        told = {"json": body}
    async with client.stream("POST", path, **told) as response:  # type: ignore[arg-type]
        if name == "cut off":
            async for _ in response.aiter_raw():
                break
            return name
        content = await response.aread()
    if response.status_code == 503 and "retry-after" in response.headers:
        return "told to come back"
    if response.status_code not in right or (b'"error"' in content and 200 in right):
        raise RuntimeError(f"{name}: {response.status_code} {content[:300]!r}")
    return name


async def wave(server: ServerProcess, model: str, context: int, seconds: float, seed: int) -> Counter[str]:
    """`CLIENTS` clients for so long."""
    sent: Counter[str] = Counter()
    deadline = time.monotonic() + seconds

    async def one(number: int) -> None:
        rng = random.Random(1000 * seed + number)
        async with connection(server.address) as client:
            while time.monotonic() < deadline:
                sent[await send(client, rng, model, context)] += 1

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    return sent


def figures(server: ServerProcess) -> dict[str, float]:
    """What the server holds now."""
    text = httpx.get(f"{server.address}/metrics").text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def total(name: str) -> float:
        return sum(sample.value for sample in samples if sample.name == name)

    return {
        "rss_mib": server.process.memory_info().rss / 2**20,
        "open_files": float(server.process.num_fds()),
        "threads": float(server.process.num_threads()),
        "tasks": total("app_event_loop_tasks"),
        "running": total("app_generation_running"),
        "waiting": total("app_generation_waiting"),
        "cache_usage": total("app_kv_cache_usage_ratio"),
    }


def at_rest(server: ServerProcess, within_s: float = 15.0) -> dict[str, float]:
    """Once nothing runs; what still runs after `within_s` is a leak and is reported as such."""
    deadline = time.monotonic() + within_s
    while True:
        found = figures(server)
        if found["running"] == found["waiting"] == 0 or time.monotonic() > deadline:
            time.sleep(0.5)  # connections that were closed are noticed
            return figures(server)
        time.sleep(0.1)


def slope_per_hour(seconds: list[float], values: list[float]) -> tuple[float, float]:
    """Least squares: the slope per hour, and half the width of its 95 % interval (normal)."""
    x, y = np.array(seconds) / 3600, np.array(values)
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / (x * x).sum())
    residual = float(((y - slope * x) ** 2).sum() / max(len(x) - 2, 1))
    return slope, 1.96 * (residual / float((x * x).sum())) ** 0.5


def soak(server: ServerProcess, minutes: float, wave_s: float = WAVE_S) -> dict[str, Any]:
    """Waves of load with rests between them; what was sent, what was held at each rest, and the verdict."""
    model = server.model
    card = httpx.get(f"{server.address}/tokenizer_info").json()
    context, sent, rests, times = int(card["max_model_len"]), Counter[str](), [], []
    t0 = time.monotonic()
    while not rests or time.monotonic() - t0 < 60 * minutes or len(rests) < 4:
        sent += asyncio.run(wave(server, model, context, wave_s, seed=len(rests)))
        rests.append(at_rest(server))
        times.append(time.monotonic() - t0)
        err.print(f"{times[-1]:.0f} s: " + ", ".join(f"{k} {v:g}" for k, v in rests[-1].items()))
    half = len(rests) // 2
    slope, margin = slope_per_hour(times[half:], [rest["rss_mib"] for rest in rests[half:]])
    first, last = rests[half], rests[-1]
    grown = {
        name: last[name] - first[name]
        for name in ("open_files", "tasks", "running", "waiting")  # threads: a pool that comes and goes
        if last[name] > first[name]
    }
    missing = {"running": last["running"], "waiting": last["waiting"]}
    return {
        "minutes": times[-1] / 60,
        "sent": dict(sent),
        "rests": rests,
        "rss_mib_per_hour": slope,
        "margin": margin,
        "left": {**grown, **{name: value for name, value in missing.items() if value}},
        "memory_holds": slope - margin <= MIB_PER_HOUR,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?")
    parser.add_argument("--minutes", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.run is None:
            write_random(Path(folder), TINY)
        with serving([asked.run or folder]) as server:
            found = soak(server, asked.minutes)
    names = list(found["rests"][0])
    shown = [found["rests"][i] for i in sorted({0, len(found["rests"]) // 2, len(found["rests"]) - 1})]
    rows = [[name, *(f"{rest[name]:,.4g}" for rest in shown)] for name in names]
    total = sum(found["sent"].values())
    out.print(
        table(
            f"{found['minutes']:.1f} minutes, {total:,} requests",
            ["at rest", "first", "middle", "last"],
            rows,
        )
    )
    out.print(
        f"memory: {found['rss_mib_per_hour']:+.1f} ± {found['margin']:.1f} MiB an hour in the second half"
        f" ({'holds' if found['memory_holds'] else 'LEAKS'}); left behind: {found['left'] or 'nothing'}"
    )
    print(json.dumps({**found, "machine": machine()}))
    return 0 if found["memory_holds"] and not found["left"] else 1


if __name__ == "__main__":
    sys.exit(main())
