"""A model behind an OpenAI-compatible address: chat completions; raw text and its likelihood by completions.

Likelihoods need a server that scores prompts (`echo` with `logprobs`: Ziggurat, vLLM, llama.cpp's server); others are
refused with one sentence. Answers at temperature 0 are as repeatable as the server is; its address and the model's name
stand for a hash, so a model that is replaced there keeps its old figures until `--fresh`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from ziggurat.dialogue.forms import Form
from ziggurat.errors import BusyError, UsageError
from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.records import Message

AT_ONCE = 8
"""Requests that wait at a time."""
TRIES, PAUSE_S = 4, 0.5
"""Of a request that is refused for want of room, and the first pause; each is twice the one before."""
STOPS = 4
"""Stops that OpenAI's API takes; what is behind a further one is cut off here."""
TIMEOUT = httpx.Timeout(600.0, connect=5.0)

T = TypeVar("T")
R = TypeVar("R")


class Server:
    """A `Candidate` behind an address."""

    chats = True
    cut: frozenset[int] = frozenset()

    def __init__(self, *, name: str, model: str, url: str, key: str = "") -> None:
        """`key`: the name of the environment variable with the server's key. UsageError if it does not answer."""
        self.name, self.model, self.url = name, model, url
        self.sha256 = hashlib.sha256(f"{url} {model}".encode()).hexdigest()
        secret = os.environ.get(key)
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=False)
        self._check(key)

    def _check(self, key: str) -> None:
        try:
            answer = self._client.get(f"{self.url}/models")
        except httpx.HTTPError as error:
            raise UsageError(
                f"{self.url} does not answer ({type(error).__name__}); start the server or correct the address."
            ) from None
        if answer.status_code in (401, 403):
            raise UsageError(f"{self.url} needs a key; set {key} to it.")
        try:
            listed = [str(one["id"]) for one in answer.json()["data"]] if answer.is_success else []
        except (ValueError, KeyError, TypeError):
            listed = []
        if listed and self.model not in listed:
            shown = ", ".join(listed[:8])
            raise UsageError(f"{self.url} has no model {self.model!r}; it has {shown}.")

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        bodies = [
            {"messages": [{"role": m.role, "content": m.content} for m in one]} for one in conversations
        ]
        return self._written("chat/completions", bodies, ask, _message)

    def continuations(self, texts: Sequence[str], ask: Ask) -> list[list[str]]:
        return self._written("completions", [{"prompt": text} for text in texts], ask, _text)

    def likelihoods(
        self, questions: Sequence[tuple[str | Sequence[Message], Sequence[str]]]
    ) -> list[list[Likelihood]]:
        if any(not isinstance(prompt, str) for prompt, _ in questions):
            raise UsageError(
                f"{self.name} gives no likelihoods of answers in a conversation; use --raw or --generate."
            )
        pairs = [(str(prompt), text) for prompt, texts in questions for text in texts]
        scored = self._all(lambda pair: self._scored(*pair), pairs)
        for (prompt, text), one in zip(pairs, scored, strict=True):
            if not one.tokens:
                raise UsageError(
                    f"{self.name} gives {text!r:.60} after {prompt[-30:]!r} no tokens of its own, so it cannot be "
                    "compared; begin it with a space, or use --generate."
                )
        found = iter(scored)
        return [[next(found) for _ in texts] for _, texts in questions]

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        found = self._all(lambda text: self._scored("", text), list(texts))
        return [(one.nats, one.tokens) for one in found]

    # --- requests -----------------------------------------------------------------------------------------------

    def _written(
        self, path: str, bodies: Sequence[dict[str, Any]], ask: Ask, text: Callable[[Any], str]
    ) -> list[list[str]]:
        common: dict[str, Any] = {
            "model": self.model,
            "max_tokens": ask.max_tokens,
            "temperature": ask.temperature,
        }
        if ask.form is not None:
            common |= self._form(ask.form, path)
        if ask.stop:
            common["stop"] = list(ask.stop)[:STOPS]
        requests = [
            {**common, **body, "seed": ask.seed + 1000 * number + sample}
            for number, body in enumerate(bodies)
            for sample in range(ask.samples)
        ]
        texts = self._all(lambda body: _stopped(text(self._choice(path, body)), ask.stop[STOPS:]), requests)
        return [texts[i : i + ask.samples] for i in range(0, len(texts), ask.samples)]

    def _form(self, form: Form, path: str) -> dict[str, Any]:
        """OpenAI's API has one form, a JSON schema in chat completions. UsageError for another."""
        if form.kind != "json_schema" or path != "chat/completions":
            raise UsageError(
                f"{self.name} is held to no {form.kind} on {path}; a server takes a JSON schema, in conversations."
            )
        schema = {"name": "answer", "schema": json.loads(form.text), "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def _scored(self, prompt: str, continuation: str) -> Likelihood:
        """The likelihood of a continuation of raw text, from the scores of the whole as a prompt."""
        kept = prompt.rstrip()
        whole = kept + prompt[len(kept) :] + continuation
        body = {"model": self.model, "prompt": whole, "max_tokens": 0, "echo": True, "logprobs": 1}
        scores = self._choice("completions", body).get("logprobs") or {}
        offsets, logprobs = scores.get("text_offset"), scores.get("token_logprobs")
        if not isinstance(offsets, list) or not isinstance(logprobs, list) or len(offsets) != len(logprobs):
            raise UsageError(
                f"{self.name} gives no log-probabilities of a prompt, which likelihoods need; "
                "use --generate, or leave this task out."
            )
        tops = scores.get("top_logprobs") or [None] * len(logprobs)
        chosen = [
            i
            for i, (at, value) in enumerate(zip(offsets, logprobs, strict=True))
            if at >= len(kept) and value is not None
        ]
        greedy = all(tops[i] and logprobs[i] >= max(tops[i].values()) - 1e-6 for i in chosen)
        return Likelihood(sum(logprobs[i] for i in chosen), len(chosen), greedy)

    def _choice(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._posted(path, body)
        try:
            choice: dict[str, Any] = answer.json()["choices"][0]
        except (ValueError, KeyError, IndexError, TypeError):
            raise UsageError(
                f"{self.url}/{path} answers without choices, so it is not OpenAI's API; correct the address."
            ) from None
        return choice

    def _posted(self, path: str, body: dict[str, Any]) -> httpx.Response:
        for attempt in range(TRIES):
            try:
                answer = self._client.post(f"{self.url}/{path}", json=body)
            except httpx.HTTPError as error:
                raise BusyError(
                    f"{self.url} stopped answering ({type(error).__name__}); run the same command again, it continues."
                ) from None
            if answer.status_code not in (429, 502, 503) or attempt == TRIES - 1:
                break
            time.sleep(PAUSE_S * 2**attempt)
        if not answer.is_success:
            raise UsageError(f"{self.url}/{path} refuses ({answer.status_code}): {answer.text[:200]}")
        return answer

    def _all(self, one: Callable[[T], R], given: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, given))


def _stopped(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


def _message(choice: dict[str, Any]) -> str:
    return str((choice.get("message") or {}).get("content") or "")


def _text(choice: dict[str, Any]) -> str:
    return str(choice.get("text") or "")
