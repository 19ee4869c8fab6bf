"""The models that this server offers: what the page shows of each, and the thread that runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ziggurat import __version__
from ziggurat.errors import did_you_mean
from ziggurat.service.limits import Limits
from ziggurat.service.problems import ApiError
from ziggurat.service.protocols import ChatLike
from ziggurat.service.worker import ModelWorker


class ModelCard(BaseModel):
    """What is told about a model. The page words `stage` in its own languages; `description` is shown as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    stage: str = ""  # pretrain, sft, ppo, ...; "" for a model from elsewhere
    run: str = ""  # town/ppo-2, or the folder of a model from elsewhere
    parameters: int | None = None
    context: int | None = None  # tokens
    is_base: bool = False  # continues text; never saw a conversation
    description: str = ""


class Example(BaseModel):
    """A question to try. `kind` says what it shows; the page words these four kinds, any other is shown as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    lang: Literal["en", "zh"] = "en"
    kind: Literal["known", "unknown", "improper", "skill"] | str = ""


@dataclass(frozen=True)
class Served:
    card: ModelCard
    worker: ModelWorker
    fingerprint: str = ""
    """What an answer hangs on beside the request: this server's version and the model."""


class Shelf:
    """All models by name, in the order they were given (the page's order: bottom of the ladder first)."""

    def __init__(
        self,
        models: Mapping[str, ChatLike],
        cards: Mapping[str, ModelCard],
        examples: Sequence[Example],
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.examples = tuple(examples)
        self.draining = False
        self._served = {
            name: Served(
                cards.get(name) or ModelCard(name=name, is_base=chat.is_base),
                ModelWorker(name, chat, max_running=limits.max_running, max_waiting=limits.max_waiting),
                fingerprint=_fingerprint(name),
            )
            for name, chat in models.items()
        }

    def __getitem__(self, name: str) -> Served:
        if name not in self._served:
            known = ", ".join(self._served) or "none"
            hint = did_you_mean(name, self._served)
            raise ApiError(
                404,
                f'There is no model "{name[:200]}" here (served: {known}).{hint}',
                param="model",
                code="model_not_found",
            )
        return self._served[name]

    def named_or_first(self, name: str | None) -> Served:
        """For endpoints that may leave the model out, as a server of one model allows."""
        return self[name] if name else next(iter(self))

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def drain(self) -> None:
        """Take no new request; those that were taken are answered."""
        self.draining = True
        for served in self:
            served.worker.draining = True

    def close(self) -> None:
        """Stop every model's thread. May be called twice."""
        self.drain()
        for served in self:
            served.worker.close()


def _fingerprint(name: str) -> str:
    return f"fp_{hashlib.sha256(f'{__version__} {name}'.encode()).hexdigest()[:10]}"
