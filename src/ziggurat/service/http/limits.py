"""All limits of the service, each with its reason. Nothing that a client sends or waits for is unbounded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_body_bytes: int = 1_048_576
    """Bytes of a request body (413 beyond, before it is parsed): a conversation of `max_messages` short messages."""
    body_timeout_s: float = 30.0
    """Seconds until a body must be complete (408 beyond), so that slow clients cannot hold connections."""
    max_messages: int = 400
    """Messages in one request. Most contexts are full earlier."""
    max_message_chars: int = 32_000
    """Characters of one message: far more than a context of 2,048 tokens, and tokenized in milliseconds."""
    max_tokens: int = 2_048
    """Tokens of one completion, so that one request cannot keep a model busy without end."""
    max_running: int = 32
    """Requests that one model answers at once, in one batch: a step reads the weights once for all of them."""
    max_sequences: int = 128
    """Completions of one request: prompts times `n` or `best_of`. Other clients get their turn between two requests,
    not within one."""
    max_waiting: int = 256
    """Requests in one model's queue (503 beyond)."""
    max_waiting_each: int = 128
    """Completions that one key, or one address where there are no keys, may have in one model's queue (429 beyond):
    half of the queue, and as many as one request may ask for."""
    max_stored: int = 1_000
    """Responses stored for `store: true`, of all keys together; the least recently used are removed first."""
    max_stored_bytes: int = 64 * 1024 * 1024
    """Bytes of their JSON; a short conversation has a few thousand."""
    keepalive_s: float = 10.0
    """An event stream that has sent nothing for so many seconds sends a comment, so that proxies keep it open."""


DEFAULT_TEMPERATURE = 0.0
"""The page's first setting: the likeliest token each time, so that the same question gets the same answer."""
DEFAULT_MAX_TOKENS = 160
"""The page's first setting: a paragraph. A base model, which does not stop by itself, ends soon."""
