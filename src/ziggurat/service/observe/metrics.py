"""Figures for Prometheus at `/metrics`, under our names and, where vLLM has the same figure, under vLLM's name too.

All times come from one monotonic clock. The time to the first token starts when a request joins the queue: it is the
time in the queue plus the prefill; with the decoding it is the whole duration. Gauges are read from the models on
request. The event loop counts, a model's thread does not. No label holds text that a client sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.responses import Response

from ziggurat.service.models.shelf import Shelf
from ziggurat.service.models.tickets import Ticket
from ziggurat.service.observe.visits import AuthFailure, LimitScope, Visit

if TYPE_CHECKING:
    from ziggurat.dialogue.desk import Delta

M = TypeVar("M", Counter, Histogram)
GUARD_ACTIONS = {
    "patterns": ("block", "answer", "hold", "log"),
    "policy": ("block", "answer", "log"),
    "model": ("refuse",),
}
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
TOKENS = (1, 8, 32, 128, 512, 2048, 8192)


class Metrics:
    """The counters of one server."""

    def __init__(self, shelf: Shelf) -> None:
        self.registry = CollectorRegistry()
        model, route = ["model"], ["route"]
        self.http_requests = self._counter(
            "app_http_requests", "HTTP requests.", ["route", "method", "status"]
        )
        self.http_seconds = self._histogram("app_http_request_duration_seconds", "Of HTTP requests.", route)
        self.streams = Gauge("app_sse_connections", "Event streams that are open.", registry=self.registry)
        self.streams_left = self._counter(
            "app_sse_disconnects", "Event streams whose clients disconnected before the end.", []
        )
        self.over_limit = self._counter(
            "app_ratelimit_rejections", "Requests refused with 429, by the limit.", ["scope"]
        )
        self.auth_failures = self._counter(
            "app_auth_failures",
            "Requests refused because of a missing, unknown or non-admin key.",
            ["reason"],
        )
        self.guarded = self._counter(
            "app_guard", "What the guard did about requests and answers, by layer.", ["layer", "action"]
        )
        for layer, actions in GUARD_ACTIONS.items():
            for action in actions:
                self.guarded.labels(layer, action)
        for counter, values in ((self.over_limit, LimitScope), (self.auth_failures, AuthFailure)):
            for value in get_args(values):
                counter.labels(value)  # 0 from the start
        self.finished = [
            self._counter(name, "Answers by the reason they ended.", [*label, "finish_reason"])
            for name, label in (
                ("app_generation_requests", ["model"]),
                ("vllm:request_success", ["model_name"]),
            )
        ]
        self.cancelled = self._counter("app_cancelled", "Requests cancelled before their end.", model)
        self.prompt_tokens = self._both("prompt_tokens", "Tokens of prompts.")
        self.written_tokens = self._both("generation_tokens", "Tokens written.")
        self.prompt_sizes = self._histogram("app_prompt_tokens_each", "Tokens of a prompt.", model, TOKENS)
        self.written_sizes = self._histogram("app_output_tokens_each", "Tokens of an answer.", model, TOKENS)
        self.queue = self._timed("queue_time_seconds", "request_queue_time_seconds")
        self.first_token = self._timed("time_to_first_token_seconds", "time_to_first_token_seconds")
        self.prefill = self._timed("prefill_time_seconds", "request_prefill_time_seconds")
        self.decode = self._timed("decode_time_seconds", "request_decode_time_seconds")
        self.between = self._timed("inter_token_latency_seconds", "inter_token_latency_seconds")
        self.whole = self._timed("generation_duration_seconds", "e2e_request_latency_seconds")
        self.registry.register(_Gauges(shelf))
        shelf.watched_by(self)
        self._last: dict[Ticket, dict[int, float]] = {}  # when each choice's last token arrived
        self._children: dict[tuple[Any, str], Any] = {}

    # --- counting ----------------------------------------------------------------------------------------

    def watch(self, ticket: Ticket, item: Delta | BaseException | None) -> None:
        """Count one delta or the end of a request; on the event loop."""
        model, now = ticket.model, time.perf_counter()
        if item is None or isinstance(item, BaseException):
            self._last.pop(ticket, None)
            if ticket.cancelled:
                self.cancelled.labels(model).inc()
            elif item is not None:
                for counter in self.finished:
                    counter.labels(model, "error").inc()
            elif item is None:
                self._observe(self.decode, model, ticket.t_finished - ticket.t_first)
                self._observe(self.whole, model, ticket.t_finished - ticket.t_submitted)
            return
        seen = self._last.get(ticket)
        if seen is None:
            seen = self._last[ticket] = {}
            self._observe(self.queue, model, ticket.t_started - ticket.t_submitted)
            self._observe(self.prefill, model, ticket.t_first - ticket.t_started)
            self._observe(self.first_token, model, ticket.t_first - ticket.t_submitted)
            prompt = len(ticket.request.ids)
            self.count(model, prompt=prompt, written=0)
            self.prompt_sizes.labels(model).observe(prompt)
        elif item.choice in seen:
            self._observe(self.between, model, now - seen[item.choice])
        seen[item.choice] = now
        self.count(model, prompt=0, written=len(item.tokens))
        if item.finish is not None:
            for counter in self.finished:
                counter.labels(model, item.finish).inc()
            if item.usage is not None:
                self.written_sizes.labels(model).observe(item.usage.completion_tokens)

    def count(self, model: str, *, prompt: int, written: int) -> None:
        """Add tokens read and written."""
        for counters, tokens in ((self.prompt_tokens, prompt), (self.written_tokens, written)):
            for counter in counters if tokens else ():
                self._of(counter, model).inc(tokens)

    def guard_acted(self, counts: Sequence[tuple[str, str]]) -> None:
        """Count what the guard did, by (layer, action)."""
        for layer, action in counts:
            self.guarded.labels(layer, action).inc()

    def visited(self, visit: Visit) -> None:
        """Count an HTTP request that has ended."""
        self.http_requests.labels(visit.route, visit.method, str(visit.status)).inc()
        self.http_seconds.labels(visit.route).observe(visit.elapsed_s)
        if visit.streamed:
            self.streams.dec()
        if visit.left:
            self.streams_left.inc()
        if visit.over_limit is not None:
            self.over_limit.labels(visit.over_limit).inc()
        if visit.auth_failure is not None:
            self.auth_failures.labels(visit.auth_failure).inc()

    # --- making counters --------------------------------------------------------------------------------------------

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _both(self, name: str, text: str) -> list[Counter]:
        ours, theirs = self._counter(f"app_{name}", text, ["model"]), f"vllm:{name}"
        return [ours, self._counter(theirs, text, ["model_name"])]

    def _timed(self, ours: str, theirs: str) -> list[Histogram]:
        pairs = ((f"app_{ours}", "model"), (f"vllm:{theirs}", "model_name"))
        return [self._histogram(name, "Seconds.", [label]) for name, label in pairs]

    def _observe(self, histograms: list[Histogram], model: str, seconds: float) -> None:
        for histogram in histograms:
            self._of(histogram, model).observe(max(seconds, 0.0))

    def _of(self, family: M, model: str) -> M:
        """`family.labels(model)`, kept: the lookup takes longer than counting, and every token is counted."""
        if (child := self._children.get((family, model))) is None:
            child = self._children[family, model] = family.labels(model)
        return child


class _Gauges:
    """The current state of the models."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def collect(self) -> Iterator[Metric]:
        gauges = {
            "running": ("app_generation_running", "vllm:num_requests_running", "Requests being answered."),
            "waiting": ("app_generation_waiting", "vllm:num_requests_waiting", "Requests in the queue."),
            "cache_usage": (
                "app_kv_cache_usage_ratio",
                "vllm:kv_cache_usage_perc",
                "Filled share of the cache of keys and values.",
            ),
        }
        counters = {
            "prefix_hits": (
                "app_prefix_cache_hits",
                "vllm:prefix_cache_hits",
                "Prompt tokens taken from the prefix cache.",
            ),
            "prefix_queries": ("app_prefix_cache_queries", "vllm:prefix_cache_queries", "Prompt tokens."),
            "preempted": (
                "app_preemptions",
                "vllm:num_preemptions",
                "Answers interrupted for want of cache and begun again.",
            ),
            "guessed": (
                "app_guesses",
                "vllm:spec_decode_num_draft_tokens",
                "Tokens that the draft model proposed.",
            ),
            "taken": (
                "app_guesses_taken",
                "vllm:spec_decode_num_accepted_tokens",
                "Proposed tokens that were accepted.",
            ),
        }
        with suppress(RuntimeError):  # the registry collects once when it is created, without a loop
            tasks = len(asyncio.all_tasks())
            yield GaugeMetricFamily(
                "app_event_loop_tasks", "Tasks of the event loop; grows with open connections.", tasks
            )
        stats = self.shelf.stats()
        for kind, table in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
            for key, (ours, theirs, text) in table.items():
                for name, label in ((ours, "model"), (theirs, "model_name")):
                    family = kind(name, text, labels=[label])
                    for model, figures in stats.items():
                        family.add_metric([model], figures.get(key, 0.0))
                    yield family


def metrics_routes(metrics: Metrics) -> APIRouter:
    routes = APIRouter()

    @routes.get("/metrics", response_class=Response)
    async def read() -> Response:
        return Response(
            generate_latest(metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return routes
