"""Every bound of the service, with its reason. Nothing that a client sends or waits for is unbounded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_body_bytes: int = 1_048_576
    """A whole conversation of `max_messages` fits; a larger body is answered with 413 before it is parsed."""

    body_timeout_s: float = 30.0
    """A body that trickles longer than this is answered with 408, so that slow clients cannot hold connections."""

    max_messages: int = 400
    """Turns in one request. The model's context is shorter than this in nearly every case."""

    max_message_chars: int = 32_000
    """Characters of one message: far more than a context of 2,048 tokens, far less than would stall the tokenizer."""

    max_tokens: int = 2_048
    """The longest completion that may be asked for, so that one request cannot keep a model busy for ever."""

    max_running: int = 32
    """Prompts that one model answers at once, as one batch: a step reads the weights once for all of them."""

    max_sequences: int = 128
    """Answers that one request may ask for, prompts times `n` or `best_of`: one slow request is better sent as several,
    between which others have their turn."""

    max_waiting: int = 256
    """Prompts that may wait for one model; the next one is told to come back (503) instead of queueing for minutes."""

    max_waiting_each: int = 128
    """Answers of one key, or of one address where there are no keys, that may wait for one model (429 beyond). Half of
    the line, so that nobody fills it alone, and as many as one request may ask for."""

    max_stored: int = 1_000
    """Responses kept for `store: true`, of all keys together; beyond, the longest unused go."""

    max_stored_bytes: int = 64 * 1024 * 1024
    """Of their JSON; a conversation of the town has a few thousand."""

    keepalive_s: float = 10.0
    """While a request waits, an SSE comment goes out this often, so that proxies keep the connection open."""


DEFAULT_TEMPERATURE = 0.0
"""The page's first setting: the likeliest token each time, so that the same question gets the exam's own answer."""

DEFAULT_MAX_TOKENS = 160
"""The page's first setting: longer than any answer of the town, short enough that a base model's ramble ends soon."""
