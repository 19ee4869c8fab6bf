"""The models that this server offers: what the page shows of each, and the thread that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ziggurat.errors import did_you_mean
from ziggurat.service.limits import Limits
from ziggurat.service.problems import ApiError
from ziggurat.service.worker import ChatLike, ModelWorker


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
        self._served = {
            name: Served(
                cards.get(name) or ModelCard(name=name, is_base=chat.is_base),
                ModelWorker(name, chat, max_running=limits.max_running, max_waiting=limits.max_waiting),
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

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def close(self) -> None:
        """Stop every model's thread. May be called twice."""
        for served in self:
            served.worker.close()
