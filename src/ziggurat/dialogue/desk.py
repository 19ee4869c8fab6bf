"""Many requests at once on one engine, text out: what the thread of a served model drives, step by step.

    begin(request) ──> handle        step() ──> [(handle, delta), ...]        cancel(handle)

It turns the engine's events into text: bytes wait until they are a whole character, text that may be the beginning of a
stop string is held back, and every token keeps its log-probability beside it. For one thread; `Chat.prepare` makes
requests in any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.dialogue.decode import IncrementalDecoder
from ziggurat.dialogue.stops import StopAtStrings, StopStrings
from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Event, Finish, Handle
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.rows import LogitsMask
from ziggurat.tokenizer.bpe import Tokenizer


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Token:
    """One token beside the text: itself, its log-probability, and what else was likely."""

    id: int
    logprob: float | None  # None for the first token of a prompt: nothing comes before it
    top: tuple[tuple[int, float], ...] = ()
    rank: int | None = None  # 1 for the likeliest; told of a prompt's tokens only


@dataclass(frozen=True)
class Delta:
    """A piece of one choice as it appears; the last one carries the reason it ended, and the counts."""

    text: str
    finish: Finish | None = None
    usage: Usage | None = None
    choice: int = 0
    call: int | None = None  # the tool call that this text belongs to; None: it is said to the user
    tokens: tuple[Token, ...] = ()
    prompt: tuple[Token, ...] = ()  # with the first piece, where its log-probabilities were asked for


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a model, as ids; its parameters already know the ids that end an answer."""

    ids: Sequence[int]
    params: SamplingParams
    stop: Sequence[str] = ()
    dropped: int = 0  # messages that no longer fitted
    mask: LogitsMask | None = None
    tool_id: int | None = None  # the token after which the model writes a tool call


class Writer:
    """Text of one choice. Stop strings end what is said to the user; a tool call is JSON and is left alone."""

    def __init__(self, tokenizer: Tokenizer, request: Request) -> None:
        self._decoder, self._stops = IncrementalDecoder(tokenizer), StopStrings(request.stop)
        self._prompt_tokens, self._tool_id = len(request.ids), request.tool_id
        self._call: int | None = None

    def push(self, event: Event, prompt: tuple[Token, ...] = ()) -> Delta:
        if event.finish == "cancelled":
            return Delta("", "cancelled", Usage(self._prompt_tokens, event.index), event.choice)
        said = self._decoder.push(event.token)
        if event.token == self._tool_id:
            said = self._stops.flush() if self._call is None else ""
            call, self._call = self._call, 0 if self._call is None else self._call + 1
        else:
            call = self._call
            said = self._stops.push(said) if call is None else said
        if event.finish is not None:
            rest = self._decoder.flush()
            said += self._stops.push(rest) + self._stops.flush() if self._call is None else rest
        usage = Usage(self._prompt_tokens, event.index + 1) if event.finish else None
        tokens = (Token(event.token, event.logprob, event.top),)
        return Delta(said, event.finish, usage, event.choice, call, tokens, prompt)


class Desk:
    """The requests of one engine."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self._writers: dict[tuple[Handle, int], Writer] = {}
        self._requests: dict[Handle, Request] = {}

    def begin(self, request: Request) -> Handle:
        rule = StopAtStrings(self.tokenizer, request.stop, request.tool_id) if request.stop else None
        handle = self.engine.submit(request.ids, request.params, stop_rule=rule, logits_mask=request.mask)
        self._requests[handle] = request
        for choice in range(request.params.n):
            self._writers[handle, choice] = Writer(self.tokenizer, request)
        return handle

    def step(self) -> list[tuple[Handle, Delta]]:
        """One token more of every request that is ready, with the text that is certain now."""
        deltas = []
        for event in self.engine.step():
            writer = self._writers.get((event.handle, event.choice))
            if writer is None:
                continue
            delta = writer.push(event, _prompt_tokens(self._requests[event.handle], event))
            deltas.append((event.handle, delta))
            if delta.finish is not None:
                self._forget(event.handle, event.choice)
        return deltas

    def cancel(self, handle: Handle) -> None:
        """End a request; nothing more is told of it."""
        if handle in self._requests:
            for choice in range(self._requests[handle].params.n):
                self._writers.pop((handle, choice), None)
            del self._requests[handle]
            self.engine.cancel(handle)

    def reset(self) -> None:
        self.engine.reset()
        self._writers.clear()
        self._requests.clear()

    def stats(self) -> dict[str, float]:
        """Figures that may be read on any thread: each is one number that the engine's thread writes."""
        engine = self.engine
        return {
            "cache_usage": engine.admission.filled / engine.cache_tokens,
            "prefix_hits": float(engine.lot.hits),
            "prefix_queries": float(engine.lot.hits + engine.prefiller.computed),
            "preempted": float(engine.admission.preempted),
            "guessed": float(engine.speculator.guessed if engine.speculator else 0),
            "taken": float(engine.speculator.taken if engine.speculator else 0),
        }

    def _forget(self, handle: Handle, choice: int) -> None:
        del self._writers[handle, choice]
        if not any((handle, other) in self._writers for other in range(self._requests[handle].params.n)):
            del self._requests[handle]


def _prompt_tokens(request: Request, event: Event) -> tuple[Token, ...]:
    if request.params.prompt_logprobs is None or event.index:
        return ()
    scored = (Token(s.token, s.logprob, s.top, s.rank) for s in event.prompt_scores)
    return (Token(request.ids[0], None), *scored)


def token_name(tokenizer: Tokenizer, id: int) -> str:
    """A token's text; one that is no whole character by its bytes, so that no two tokens have one name.

    Two different halves of Chinese characters would both read U+FFFD, and one would hide the other in a table of
    alternatives.
    """
    if id >= tokenizer.vocab_size:
        return f"<|unused {id}|>"
    raw = tokenizer.token_bytes(id)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
