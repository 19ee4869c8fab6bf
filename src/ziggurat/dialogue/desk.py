"""Many requests at once on one engine, text out: what the thread of a served model drives, step by step.

    begin(request) ──> handle        step() ──> [(handle, delta), ...]        cancel(handle)

It turns the engine's events into text: bytes wait until they are a whole character, text that may be the beginning of a
stop string or of a tool call is held back, and every token keeps its log-probability and its place in the text. A desk
belongs to one thread; `Chat.prepare` makes requests in any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.dialogue.calls import CallMarks, CallSplitter, Piece
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
    """One token beside the text: itself, its log-probability, and the likeliest others."""

    id: int
    logprob: float | None  # None for the first token of a prompt: nothing comes before it
    top: tuple[tuple[int, float], ...] = ()
    rank: int | None = None  # 1 for the likeliest; None for tokens of a completion
    start: int = 0  # its first character among all that the model wrote, marks and stop strings included


@dataclass(frozen=True)
class Delta:
    """A piece of one choice as it appears; the last one carries the reason it ended, and the counts."""

    text: str
    finish: Finish | None = None
    usage: Usage | None = None
    choice: int = 0
    call: int | None = None  # the tool call that this text belongs to; None: it is content
    tokens: tuple[Token, ...] = ()  # those that are new; their text may come in a later piece
    prompt: tuple[Token, ...] = ()  # with the first piece, where its log-probabilities were asked for
    at: int = 0  # the first character of `text` among all that the model wrote


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a model, as ids; its parameters already contain the ids that end an answer."""

    ids: Sequence[int]
    params: SamplingParams
    stop: Sequence[str] = ()
    dropped: int = 0  # messages that no longer fitted
    added: int = 0  # ids that the tokenizer put before a raw text; they are no part of it
    mask: LogitsMask | None = None
    marks: CallMarks | None = None  # how the model marks tool calls; None: it has no tools


class Writer:
    """The text of one choice. Stop strings end its content; in a tool call, which is JSON, they have no effect."""

    def __init__(self, tokenizer: Tokenizer, request: Request) -> None:
        self._decoder, self._splitter = IncrementalDecoder(tokenizer), CallSplitter(request.marks)
        self._stops, self._prompt_tokens = StopStrings(request.stop), len(request.ids)
        self._written = 0  # characters
        self._content_end = 0  # of the content that the stop strings have seen

    def push(self, event: Event, prompt: tuple[Token, ...] = ()) -> list[Delta]:
        """One or more deltas; the first has the token, the last the reason of the end."""
        if event.finish == "cancelled":
            return [Delta("", "cancelled", Usage(self._prompt_tokens, event.index), event.choice)]
        token = Token(event.token, event.logprob, event.top, start=self._written)
        text = self._decoder.push(event.token)
        if event.finish is not None:
            text += self._decoder.flush()
        self._written += len(text)
        pieces = self._pieces(event, text) or [Piece("", self._written)]
        end, usage = len(pieces) - 1, None
        if event.finish is not None:
            usage = Usage(self._prompt_tokens, event.index + 1)
        return [
            Delta(
                piece.text,
                event.finish if i == end else None,
                usage if i == end else None,
                event.choice,
                piece.call,
                (token,) if i == 0 else (),
                prompt if i == 0 else (),
                piece.at,
            )
            for i, piece in enumerate(pieces)
        ]

    def _pieces(self, event: Event, text: str) -> list[Piece]:
        pieces = self._splitter.push(event.token, text)
        if event.finish is not None:
            pieces += self._splitter.flush()
        stops, shown = self._stops, list[Piece]()
        for piece in pieces:
            if piece.call is not None:
                shown += [*self._rest(), piece]
                continue
            at = piece.at - len(stops.held)
            self._content_end = piece.at + len(piece.text)
            if said := stops.push(piece.text):
                shown.append(Piece(said, at))
        return shown + self._rest() if event.finish is not None or self._splitter.inside else shown

    def _rest(self) -> list[Piece]:
        """Content that was held back and is no stop string."""
        rest = self._stops.flush()
        return [Piece(rest, self._content_end - len(rest))] if rest else []


class Desk:
    """The requests of one engine."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self._writers: dict[tuple[Handle, int], Writer] = {}
        self._requests: dict[Handle, Request] = {}

    def begin(self, request: Request) -> Handle:
        rule = StopAtStrings(self.tokenizer, request.stop, request.marks) if request.stop else None
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
            pieces = writer.push(event, _prompt_tokens(self._requests[event.handle], event))
            deltas += [(event.handle, delta) for delta in pieces]
            if event.finish is not None:
                self._forget(event.handle, event.choice)
        return deltas

    def cancel(self, handle: Handle) -> None:
        """End a request; no more deltas of it come."""
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
