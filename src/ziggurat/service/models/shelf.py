"""The models that this server offers: what the page shows of each, and the thread that runs it.

Language models (`shelf[name]`) write; reward models (`shelf.judge(name)`) give scores. `swap` puts another model behind
a name: requests that hold the old one are answered by it, later requests get the new one.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from ziggurat.errors import BusyError, UsageError, did_you_mean
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError
from ziggurat.service.models.memory import give_back_after
from ziggurat.service.models.tickets import Watcher
from ziggurat.service.models.worker import ModelWorker, NoDesk
from ziggurat.version import __version__

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.dialogue.desk import Desk
    from ziggurat.records import Message

M = TypeVar("M")


@runtime_checkable
class Scorer(Protocol):
    """A reward model (`stages.judge.Judge`), recognised without importing torch.

    `rows` may be called on any thread.
    """

    @property
    def context(self) -> int: ...
    def rows(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]: ...
    def score(self, rows: Sequence[Sequence[int]]) -> list[float]: ...


class ModelCard(BaseModel):
    """Public facts of a model. The page translates `stage`; it shows `description` unchanged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stage: str = ""  # pretrain, sft, ppo, ...; "" for a model from elsewhere
    run: str = ""  # my/ppo-2, or the folder of a model from elsewhere
    parameters: int | None = None
    context: int | None = None  # tokens
    is_base: bool = False  # continues text; not trained on conversations
    description: str = ""
    licence: str = ""  # of its weights, as its card (cards.py) says; "" if it has none
    weights: str = ""  # hash of its files; "" for a model that was not loaded from files
    numerics: str = ""  # how it computes: bfloat16, float32, batch invariant, ...


class Example(BaseModel):
    """A question to try. `kind` names what it shows; the page translates the kinds that it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    lang: Literal["en", "zh"] = "en"
    kind: str = ""


@dataclass(frozen=True)
class Held(Generic[M]):
    card: ModelCard
    worker: ModelWorker[M]
    fingerprint: str
    """What an answer depends on beside the request: this server's version, the weights, and their numerics."""


Served: TypeAlias = "Held[Chat]"
Judging: TypeAlias = "Held[Scorer]"


class Shelf:
    """All models by name, in the order in which they were given: the page's order.

    Iterating gives the language models.
    """

    def __init__(
        self,
        models: Mapping[str, Chat | Scorer],
        cards: Mapping[str, ModelCard],
        examples: Sequence[Example],
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.examples = tuple(examples)
        self.draining = False
        self._watcher: Watcher | None = None
        self._retired: weakref.WeakSet[ModelWorker[Any]] = weakref.WeakSet()
        self._writers = {
            name: self._held(cards.get(name) or ModelCard(name=name, is_base=chat.is_base), chat, chat.desk)
            for name, chat in models.items()
            if not isinstance(chat, Scorer)
        }
        self._judges = {
            name: self._held(cards.get(name) or ModelCard(name=name, stage="reward"), judge, NoDesk)
            for name, judge in models.items()
            if isinstance(judge, Scorer)
        }

    def _held(self, card: ModelCard, model: M, open_desk: Callable[[], Desk | NoDesk]) -> Held[M]:
        limits = self.limits
        worker = ModelWorker(
            card.name,
            model,
            open_desk,
            max_running=limits.max_running,
            max_waiting=limits.max_waiting,
            max_waiting_each=limits.max_waiting_each,
        )
        worker.watcher, worker.draining = self._watcher, self.draining
        known = f"{__version__} {card.weights or card.name} {card.numerics}"
        return Held(card, worker, f"fp_{hashlib.sha256(known.encode()).hexdigest()[:10]}")

    # --- finding ------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Served:
        """A language model.

        Raises:
            ApiError: 404 for an unknown name, 400 for a reward model.
        """
        if name in self._judges:
            message = (
                f"{name} is a reward model, which gives scores and no text; send it pairs with POST /score."
            )
            raise ApiError(400, message, param="model", code="model_not_supported")
        if name not in self._writers:
            raise self._unknown(name)
        return self._writers[name]

    def judge(self, name: str) -> Judging:
        """A reward model.

        Raises:
            ApiError: 404 for an unknown name, 400 for a language model.
        """
        if name in self._writers:
            known = f"served here: {', '.join(self._judges)}" if self._judges else "none is served here"
            message = f"{name} is not a reward model ({known}); to score, serve the run of a reward stage."
            raise ApiError(400, message, param="model", code="model_not_supported")
        if name not in self._judges:
            raise self._unknown(name)
        return self._judges[name]

    def find(self, name: str) -> Served | Judging:
        return self.judge(name) if name in self._judges else self[name]

    def judges(self, name: str) -> bool:
        """Whether the name is a reward model's."""
        return name in self._judges

    def named_or_first(self, name: str | None) -> Served:
        """For endpoints whose `model` is optional: the first language model is used."""
        if not name and not self._writers:
            raise ApiError(404, "No language model is served here.", param="model", code="model_not_found")
        return self[name] if name else next(iter(self))

    def __iter__(self) -> Iterator[Served]:
        return iter(self._writers.values())

    def all(self) -> list[Served | Judging]:
        return [*self._writers.values(), *self._judges.values()]

    def _unknown(self, name: str) -> ApiError:
        names = [*self._writers, *self._judges]
        known, hint = ", ".join(names) or "none", did_you_mean(name, names)
        message = f'There is no model "{name[:200]}" here (served: {known}).{hint}'
        return ApiError(404, message, param="model", code="model_not_found")

    # --- changing -----------------------------------------------------------------------------------------------

    def add(self, card: ModelCard, model: Chat | Scorer) -> None:
        """One more model, under a name that is free; on the event loop.

        Raises:
            BusyError: the server is shutting down.
            UsageError: the name is taken.
        """
        if self.draining:
            raise BusyError(f"The server is shutting down; {card.name} cannot be added.")
        if card.name in self._writers or card.name in self._judges:
            raise UsageError(f"{card.name} is served already; reload it, or give the new one another name.")
        if isinstance(model, Scorer):
            self._judges[card.name] = self._held(card, model, NoDesk)
        else:
            self._writers[card.name] = self._held(card, model, model.desk)

    def swap(self, card: ModelCard, model: Chat | Scorer) -> None:
        """Put another model of the same kind behind the name `card.name`; on the event loop.

        Requests that hold the old model are answered by it; it is dropped with the last of them.

        Raises:
            BusyError: the server is shutting down.
            UsageError: one model writes and the other gives scores.
        """
        if self.draining:
            raise BusyError(f"The server is shutting down; {card.name} cannot be replaced.")
        old = self.find(card.name)
        judges = isinstance(model, Scorer)
        if judges != self.judges(card.name):
            kinds = ("gives scores", "writes") if judges else ("writes", "gives scores")
            raise UsageError(
                f"{card.run} {kinds[0]} and {card.name} {kinds[1]}; serve it under another name."
            )
        if isinstance(model, Scorer):
            self._judges[card.name] = self._held(card, model, NoDesk)
        else:
            self._writers[card.name] = self._held(card, model, model.desk)
        self._retired.add(old.worker)
        give_back_after(old.worker)
        old.worker.retire()
        self.find(card.name).worker.draining = self.draining  # SIGTERM may have come meanwhile

    def watched_by(self, watcher: Watcher) -> None:
        """Report everything that the models do, now and after a swap, to `watcher`."""
        self._watcher = watcher
        for held in self.all():
            held.worker.watcher = watcher

    def stats(self) -> dict[str, dict[str, float]]:
        """Current figures of each name. Requests of a replaced model count for its name."""
        figures = {held.card.name: held.worker.stats() for held in self.all()}
        for worker in list(self._retired):
            for name, value in (("running", worker.running), ("waiting", worker.waiting)):
                figures[worker.name][name] += value
        return figures

    def drain(self) -> None:
        """Refuse new requests; requests that were taken are answered."""
        self.draining = True
        for worker in self._workers():
            worker.draining = True

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop every model's thread and wait `timeout_s` for each. Unfinished answers end with an error. May be called
        twice."""
        self.drain()
        for worker in self._workers():
            worker.close(timeout_s)

    def _workers(self) -> list[ModelWorker[Any]]:
        return [*(held.worker for held in self.all()), *self._retired]
