"""The guard around a model's answer: what the endpoints put between a request and its ticket.

    asked = await examined(services, messages)                   what becomes of the request; None without a guard
    tickets = let_in(request, services, served, prepared, [asked], whole=...)

A ticket from here is read like any other. A request that is not let through gets one whose only piece is the guard's
text; every other answer passes through a watch, piece by piece. The last piece of an answer that the guard ended has
the reason `content_filter`, and `guard` says which layer and rule acted. Tokens whose text waits or is not shown are
not passed on either: their log-probabilities would tell it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import Request

from ziggurat.safety.guard import Decision, Guard, Said
from ziggurat.safety.watch import AnswerWatch
from ziggurat.service.access.admission import admit
from ziggurat.service.models.shelf import Served
from ziggurat.service.models.tickets import Answering, Ticket
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.services import Services

if TYPE_CHECKING:
    from ziggurat.dialogue import desk

FILTERED = "content_filter"
"""Why an answer ended that the guard ended; OpenAI's word."""


@dataclass(frozen=True)
class Counts:
    """Like `desk.Usage`."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Piece:
    """Like `desk.Delta`, as the guard lets it through."""

    text: str = ""
    finish: str | None = None
    usage: Any = None
    choice: int = 0
    call: int | None = None
    tokens: tuple[Any, ...] = ()
    prompt: tuple[Any, ...] = ()
    at: int = 0
    guard: dict[str, str | None] | None = None
    """Which layer and rule ended the answer."""
    replaces: bool = False
    """Whether `text` takes the place of all that the choice has so far."""


Note = Callable[[Sequence[tuple[str, str]], Decision | None, str], None]
"""Takes (layer, action) of what matched, the decision that acted, and what the model had written by then."""


async def examined(services: Services, messages: Sequence[Said]) -> Decision | None:
    """What the guard says about a request; None without a guard."""
    guard = services.guard
    if guard is None:
        return None
    return await anyio.to_thread.run_sync(guard.before, messages)


def let_in(
    request: Request,
    services: Services,
    served: Served,
    prepared: Sequence[desk.Request],
    asked: Sequence[Decision | None],
    *,
    whole: bool,
) -> list[Answering]:
    """Tickets for requests, in their order; those that the guard does not let through never reach the model.

    `whole`: nothing of an answer is sent before it has ended, so that a guard's text replaces all of it.

    Raises:
        ApiError, BusyError: those of `admit`.
    """
    request.state.served = served
    guard = services.guard
    if guard is None:
        return list[Answering](admit(request, served, prepared))
    note = _note(request, services, served.card.name)
    through = [
        one for one, decision in zip(prepared, asked, strict=True) if decision is None or not decision.acts
    ]
    admitted = iter(admit(request, served, through) if through else ())
    tickets: list[Answering] = []
    for one, decision in zip(prepared, asked, strict=True):
        if decision is not None and decision.acts:
            visit_of(request.scope).count(prompt=len(one.ids), written=0)
            note(decision.counts(), decision, "")
            tickets.append(StandIn(one, decision))
        elif decision is not None:
            note(decision.counts(), None, "")
            tickets.append(GuardedTicket(next(admitted), guard, decision, note, whole=whole))
        else:
            tickets.append(next(admitted))
    return tickets


def _note(request: Request, services: Services, model: str) -> Note:
    visit, metrics = visit_of(request.scope), services.metrics
    hold = services.upstreams.holding.of(request, model)

    def note(counts: Sequence[tuple[str, str]], decision: Decision | None, written: str) -> None:
        hold(decision, written)
        metrics.guard_acted(counts)
        visit.guarded(counts, None if decision is None else decision.record())

    return note


class StandIn:
    """The ticket of a request that the model does not get: its answer is the guard's text."""

    def __init__(self, request: desk.Request, decision: Decision) -> None:
        self.request, self.tokens = request, 0
        self.on_end: Callable[[int], None] | None = None
        self.t_submitted = self.t_started = self.t_first = self.t_finished = time.perf_counter()
        last = request.params.n - 1
        self._pieces: deque[Piece | None] = deque(
            Piece(
                decision.text or "",
                FILTERED,
                Counts(len(request.ids) if choice == last else 0, 0),
                choice,
                guard=decision.record(),
                replaces=True,
            )
            for choice in range(request.params.n)
        )

    async def next(self) -> Any:
        return self._pieces.popleft() if self._pieces else None

    def cancel(self) -> None:
        self._pieces.clear()
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end(0)

    def arrive(self, item: Any) -> None:
        """Nothing waits for its pieces."""


@dataclass
class _Choice:
    """One choice of an answer on its way through the guard."""

    watch: AnswerWatch
    waiting: deque[tuple[int, str]] = field(
        default_factory=deque
    )  # content that is not yet shown, and where it is
    tokens: list[Any] = field(default_factory=list)  # whose text is not yet shown
    calls: str = ""  # the text of its tool calls
    texts: list[str] = field(default_factory=list)  # all that was written, its calls too
    written: int = 0  # tokens
    front: int = 0  # where the shown text ends
    begun: bool = False
    done: bool = False


class GuardedTicket:
    """A ticket whose answer passes through the guard."""

    def __init__(self, ticket: Ticket, guard: Guard, asked: Decision, note: Note, *, whole: bool) -> None:
        self.ticket, self.guard, self.asked, self.whole = ticket, guard, asked, whole
        self._note = note
        self._choices: dict[int, _Choice] = {}
        self._ready: deque[Piece] = deque()
        self._ended = False

    # --- what a ticket has ----------------------------------------------------------------------------------------

    @property
    def request(self) -> desk.Request:
        return self.ticket.request

    @property
    def tokens(self) -> int:
        return self.ticket.tokens

    @property
    def on_end(self) -> Callable[[int], None] | None:
        return self.ticket.on_end

    @on_end.setter
    def on_end(self, called: Callable[[int], None] | None) -> None:
        self.ticket.on_end = called

    @property
    def t_submitted(self) -> float:
        return self.ticket.t_submitted

    @property
    def t_started(self) -> float:
        return self.ticket.t_started

    @property
    def t_first(self) -> float:
        return self.ticket.t_first

    @property
    def t_finished(self) -> float:
        return max(self.ticket.t_finished, self.ticket.t_first)

    def cancel(self) -> None:
        self.ticket.cancel()

    def arrive(self, item: Any) -> None:
        self.ticket.arrive(item)

    async def next(self) -> Any:
        """The next piece that is shown; None after the last. The wait may be cancelled."""
        while not self._ready and not self._ended:
            delta = await self.ticket.next()
            if delta is None:
                self._ended = True
                break
            self._ready += self._through(delta)
            if len(self._choices) == self.request.params.n and all(c.done for c in self._choices.values()):
                self._ended = True
                if delta.finish is None:  # the guard ended it, and the model goes on
                    self.ticket.stop()
        return self._ready.popleft() if self._ready else None

    # --- the pieces --------------------------------------------------------------------------------------------------

    def _through(self, delta: Any) -> list[Piece]:
        choice = self._choices.get(delta.choice)
        if choice is None:
            choice = self._choices[delta.choice] = _Choice(self.guard.watch(self.asked))
        if choice.done:
            return []
        choice.tokens += delta.tokens
        choice.written += len(delta.tokens)
        choice.texts.append(delta.text)
        if delta.call is not None:
            shown = choice.watch.flush()
            choice.calls += delta.text
        else:
            if delta.text:
                choice.waiting.append((delta.at, delta.text))
            shown = choice.watch.feed(delta.text)
        if delta.finish is not None:
            shown += choice.watch.end()
            choice.watch.judge_calls(
                choice.calls
            )  # they are passed on at the end, and nothing of them before
        if delta.finish is not None or choice.watch.decision is not None:
            choice.done = True
            self._note(choice.watch.counts(), choice.watch.decision, "".join(choice.texts))
        pieces = self._shown(choice, delta, shown)
        if choice.watch.decision is not None:
            return [*pieces, self._cut(choice, delta)]
        if delta.finish is not None:
            last = (
                pieces.pop()
                if pieces and pieces[-1].call is None
                else Piece(choice=delta.choice, at=choice.front)
            )
            tokens = (*last.tokens, *choice.tokens)
            pieces.append(_with(last, finish=delta.finish, usage=delta.usage, tokens=tokens))
            choice.tokens = []
        return pieces

    def _shown(self, choice: _Choice, delta: Any, shown: str) -> list[Piece]:
        """Pieces with the text that may be shown, and the tokens that belong to it."""
        pieces = [Piece(text, choice=delta.choice, at=at) for at, text in _taken(choice.waiting, len(shown))]
        if pieces:
            choice.front = pieces[-1].at + len(pieces[-1].text)
        if delta.call is not None and delta.text and choice.watch.decision is None:
            pieces.append(Piece(delta.text, choice=delta.choice, call=delta.call, at=delta.at))
        free = self._free_tokens(choice)
        if free or delta.prompt or not choice.begun:
            first = pieces[0] if pieces else Piece(choice=delta.choice, at=choice.front)
            pieces[:1] = [_with(first, tokens=free, prompt=tuple(delta.prompt))]
            choice.begun = True
        return pieces

    def _free_tokens(self, choice: _Choice) -> tuple[Any, ...]:
        """Tokens whose text is shown, and those without text between them."""
        if choice.watch.decision is not None:
            choice.tokens = []
            return ()
        if not choice.waiting:
            free, choice.tokens = choice.tokens, []
            return tuple(free)
        begin = choice.waiting[0][0]
        count = next((i for i, token in enumerate(choice.tokens) if token.start >= begin), len(choice.tokens))
        free, choice.tokens = choice.tokens[:count], choice.tokens[count:]
        return tuple(free)

    def _cut(self, choice: _Choice, delta: Any) -> Piece:
        decision = choice.watch.decision
        assert decision is not None
        choice.waiting.clear()
        choice.tokens = []
        text = decision.text or ""
        return Piece(
            text if self.whole else choice.watch.replacement,
            FILTERED,
            Counts(len(self.request.ids), choice.written) if delta.usage is None else delta.usage,
            delta.choice,
            at=choice.front,
            guard=decision.record(),
            replaces=self.whole,
        )


def _with(piece: Piece, **changes: Any) -> Piece:
    return Piece(**{**piece.__dict__, **changes})


def _taken(waiting: deque[tuple[int, str]], count: int) -> list[tuple[int, str]]:
    """The first `count` characters of what waits, by place; neighbours are joined."""
    taken: list[tuple[int, str]] = []
    while count > 0 and waiting:
        at, text = waiting.popleft()
        if len(text) > count:
            waiting.appendleft((at + count, text[count:]))
            text = text[:count]
        count -= len(text)
        if taken and taken[-1][0] + len(taken[-1][1]) == at:
            taken[-1] = (taken[-1][0], taken[-1][1] + text)
        else:
            taken.append((at, text))
    return taken
