"""The models that this server offers: what the page shows of each, and the thread that runs it.

Language models (`shelf[name]`) write, reward models (`shelf.judge(name)`) give scores, embedding models turn texts into
vectors. `swap` puts another model behind a name: requests that hold the old one are answered by it, later ones by the
new one.

A **route** is a name that stands for one of the models: a channel's name for the release that serves on it, for a share
of the people for its canary. Changing a route takes no time and touches no answer that is being written.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeGuard,
    TypeVar,
    cast,
    runtime_checkable,
)

from pydantic import BaseModel, ConfigDict

from ziggurat.console import with_article
from ziggurat.errors import BusyError, UsageError, did_you_mean
from ziggurat.flywheel.release.split import takes_canary
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


@runtime_checkable
class Embedding(Protocol):
    """An embedding model (`models.embed.Embedder`). `text_ids` may be called on any thread."""

    @property
    def context(self) -> int: ...
    def text_ids(self, text: str) -> list[int]: ...
    def embed_rows(self, rows: Sequence[Sequence[int]]) -> list[list[float]]: ...


Kind: TypeAlias = Literal["language_model", "reward_model", "embedding_model"]
USES: dict[Kind, tuple[str, str]] = {
    "language_model": ("writes", "POST /v1/chat/completions"),
    "reward_model": ("gives scores", "POST /score"),
    "embedding_model": ("gives vectors", "POST /v1/embeddings"),
}
"""What a model of each kind does, and the endpoint for it."""


def kind_of(model: Chat | Scorer | Embedding) -> Kind:
    if isinstance(model, Scorer):
        return "reward_model"
    return "embedding_model" if isinstance(model, Embedding) else "language_model"


def writes(model: Chat | Scorer | Embedding) -> TypeGuard[Chat]:
    """Whether it is a language model."""
    return kind_of(model) == "language_model"


class ModelCard(BaseModel):
    """Public facts of a model. The page translates `stage`; it shows `description` unchanged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stage: str = ""  # pretrain, sft, ppo, ...; "" for a model from elsewhere
    run: str = ""  # my/ppo-2, smollm2, or the path of a folder outside $ZIGGURAT_HOME
    parameters: int | None = None
    context: int | None = None  # tokens
    is_base: bool = False  # continues text; not trained on conversations
    description: str = ""
    languages: tuple[str, ...] = ()  # that it writes well, as its card says; empty: not known
    licence: str = ""  # of its weights, as its card (cards.py) says; "" if it has none
    weights: str = ""  # hash of its files; "" for a model that was not loaded from files
    upstream: str = ""  # the server elsewhere that has it; "" for one of this server
    release: str = ""  # the release (flywheel/release/releases.py) that it is; "" for a model that is none
    numerics: str = ""  # how it computes: bfloat16, float32, batch invariant, ...


ASKER: ContextVar[str] = ContextVar("asker", default="")
"""Who asks, for routes with a canary; set where a request's key or person is known."""


@dataclass(frozen=True)
class Route:
    """The model that a channel's name stands for, and a canary for a share of the people."""

    serving: str
    canary: str | None = None
    share: float = 0.0
    split: str = ""
    """Names the split: the same people for the same name."""

    def name_for(self, asker: str) -> str:
        if self.canary is not None and takes_canary(asker, self.split, self.share):
            return self.canary
        return self.serving


class Example(BaseModel):
    """A question to try. `kind` names what it shows; the page translates the kinds that it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    lang: Literal["en", "zh"] = "en"
    kind: str = ""


@dataclass(frozen=True)
class Held(Generic[M]):
    kind: Kind
    card: ModelCard
    worker: ModelWorker[M]
    fingerprint: str
    """What an answer depends on beside the request: this server's version, the weights, and their numerics."""


Served: TypeAlias = "Held[Chat]"
Judging: TypeAlias = "Held[Scorer]"
Embedders: TypeAlias = "Held[Chat] | Held[Embedding]"
AnyModel: TypeAlias = "Chat | Scorer | Embedding"


class Shelf:
    """All models by name, in the order in which they were given: the page's order.

    Iterating gives the language models.
    """

    def __init__(
        self,
        models: Mapping[str, AnyModel],
        cards: Mapping[str, ModelCard],
        examples: Sequence[Example],
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.examples = tuple(examples)
        self.draining = False
        self._watcher: Watcher | None = None
        self._retired: weakref.WeakSet[ModelWorker[Any]] = weakref.WeakSet()
        self._held: dict[str, Held[Any]] = {}
        self._routes: dict[str, Route] = {}
        for name, model in models.items():
            self._held[name] = self._hold(cards.get(name) or _card_of(name, model), model)

    def _hold(self, card: ModelCard, model: AnyModel) -> Held[Any]:
        limits = self.limits
        open_desk: Callable[[], Desk | NoDesk] = model.desk if writes(model) else NoDesk
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
        return Held(kind_of(model), card, worker, f"fp_{hashlib.sha256(known.encode()).hexdigest()[:10]}")

    # --- finding ------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Served:
        """A language model.

        Raises:
            ApiError: 404 for an unknown name, 400 for a model of another kind.
        """
        found: Served = self._one_of(name, "language_model")
        return found

    def judge(self, name: str) -> Judging:
        """A reward model.

        Raises:
            ApiError: 404 for an unknown name, 400 for a model of another kind.
        """
        found: Judging = self._one_of(name, "reward_model")
        return found

    def embedder(self, name: str) -> Embedders:
        """An embedding model, or a language model, whose last states stand for a text.

        Raises:
            ApiError: 404 for an unknown name, 400 for a reward model.
        """
        found: Embedders = self._one_of(name, "embedding_model", "language_model")
        return found

    def _one_of(self, name: str, *kinds: Kind) -> Held[Any]:
        held = self.find(name)
        if held.kind in kinds:
            return held
        does, where = USES[held.kind]
        others = [one.card.name for one in self.all() if one.kind == kinds[0]]
        served = f"served here: {', '.join(others)}" if others else "none is served here"
        message = (
            f"{name} is {with_article(held.kind.replace('_', ' '))}, which {does}; use it with {where}, "
            f"or name {with_article(kinds[0].replace('_', ' '))} ({served})."
        )
        raise ApiError(400, message, param="model", code="model_not_supported")

    def find(self, name: str) -> Held[Any]:
        """A model of any kind. Raises ApiError 404 for an unknown name."""
        if name in self._routes:
            return self._routed(name, ASKER.get())
        if name not in self._held:
            names = [*self._routes, *self._held]
            known, hint = ", ".join(names) or "none", did_you_mean(name, names)
            message = f'There is no model "{name[:200]}" here (served: {known}).{hint}'
            raise ApiError(404, message, param="model", code="model_not_found")
        return self._held[name]

    def named_or_first(self, name: str | None) -> Served:
        """For endpoints whose `model` is optional: the first language model is used."""
        first = next(iter(self), None)
        if not name and first is None:
            raise ApiError(404, "No language model is served here.", param="model", code="model_not_found")
        return self[name] if name else cast("Served", first)

    def __iter__(self) -> Iterator[Served]:
        return (held for held in self.all() if held.kind == "language_model")

    def all(self) -> list[Held[Any]]:
        """Routes first, then the language models, then the others, each in the order in which they were given."""
        routed = [self._routed(name, ASKER.get()) for name in self._routes]
        return [*routed, *sorted(self._held.values(), key=lambda held: list(USES).index(held.kind))]

    def resolve(self, name: str, asker: str) -> str:
        """The model that a route's name means for this person; any other name means itself."""
        return self._routes[name].name_for(asker) if name in self._routes else name

    def _routed(self, name: str, asker: str) -> Held[Any]:
        """The model behind a route, under the route's name."""
        held = self._held[self._routes[name].name_for(asker)]
        return replace(held, card=held.card.model_copy(update={"name": name}))

    # --- changing -----------------------------------------------------------------------------------------------

    def route(self, name: str, route: Route | None) -> None:
        """Let a name stand for models that are held; None takes it away. On the event loop.

        Raises:
            UsageError: a model has this name, or one of the models is not held.
        """
        if route is None:
            self._routes.pop(name, None)
            return
        if name in self._held:
            raise UsageError(f"{name} is the name of a model here; a channel needs a name of its own.")
        if missing := {route.serving, route.canary or route.serving} - self._held.keys():
            raise UsageError(
                f"{name} cannot stand for {', '.join(sorted(missing))}, which is not served here."
            )
        self._routes[name] = route

    def _is_free(self, name: str) -> None:
        routed = {one for route in self._routes.values() for one in (route.serving, route.canary)}
        if name in self._routes or name in routed:
            raise UsageError(f"{name} belongs to a channel; promote another release instead.")

    def add(self, card: ModelCard, model: AnyModel) -> None:
        """One more model, under a name that is free; on the event loop.

        Raises:
            BusyError: the server is shutting down.
            UsageError: the name is taken.
        """
        if self.draining:
            message = f"The server is shutting down; {card.name} cannot be added."
            raise BusyError(message, code="shutting_down")
        if card.name in self._held or card.name in self._routes:
            raise UsageError(f"{card.name} is served already; reload it, or give the new one another name.")
        self._held[card.name] = self._hold(card, model)

    def swap(self, card: ModelCard, model: AnyModel) -> None:
        """Put another model of the same kind behind the name `card.name`; on the event loop.

        Requests that hold the old model are answered by it; it is dropped with the last of them.

        Raises:
            BusyError: the server is shutting down.
            UsageError: the new model is of another kind.
        """
        if self.draining:
            message = f"The server is shutting down; {card.name} cannot be replaced."
            raise BusyError(message, code="shutting_down")
        self._is_free(card.name)
        old, kind = self.find(card.name), kind_of(model)
        if kind != old.kind:
            raise UsageError(
                f"{card.run} {USES[kind][0]} and {card.name} {USES[old.kind][0]}; serve it under another name."
            )
        held = self._hold(card, model)
        self._held[card.name] = held
        self._retired.add(old.worker)
        give_back_after(old.worker)
        old.worker.retire()
        held.worker.draining = self.draining  # SIGTERM may have come meanwhile

    def retire(self, name: str) -> None:
        """Take a model away; requests that hold it are answered, then it is dropped. On the event loop.

        Raises:
            ApiError: 404 for an unknown name.
        """
        self._is_free(name)
        old = self.find(name)
        del self._held[name]
        self._retired.add(old.worker)
        give_back_after(old.worker)
        old.worker.retire()

    def watched_by(self, watcher: Watcher) -> None:
        """Report everything that the models do, now and after a swap, to `watcher`."""
        self._watcher = watcher
        for held in self._held.values():
            held.worker.watcher = watcher

    def stats(self) -> dict[str, dict[str, float]]:
        """Current figures of each name. Requests of a replaced model count for its name."""
        figures = {name: held.worker.stats() for name, held in self._held.items()}
        for worker in list(self._retired):
            for name, value in (("running", worker.running), ("waiting", worker.waiting)):
                if worker.name in figures:
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
        return [*(held.worker for held in self._held.values()), *self._retired]


def _card_of(name: str, model: AnyModel) -> ModelCard:
    """The card of a model that was not loaded from files."""
    if writes(model):
        return ModelCard(name=name, is_base=model.is_base)
    return ModelCard(name=name, stage="reward" if isinstance(model, Scorer) else "")
