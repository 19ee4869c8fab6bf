"""What the service needs of a model: small protocols. `dialogue` and `stages` fulfil them, and tests hand in fakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ziggurat.dialogue.forms import Form, Rendering
    from ziggurat.engine.params import SamplingParams
    from ziggurat.records import Message
    from ziggurat.service.models.tickets import Ticket


class DeltaLike(Protocol):
    """A piece of a choice; its last one carries the finish reason and the token counts."""

    @property
    def text(self) -> str: ...
    @property
    def finish(self) -> str | None: ...
    @property
    def usage(self) -> Any: ...
    @property
    def choice(self) -> int: ...
    @property
    def call(self) -> int | None: ...
    @property
    def tokens(self) -> Sequence[Any]: ...
    @property
    def prompt(self) -> Sequence[Any]: ...
    @property
    def at(self) -> int: ...


class RequestLike(Protocol):
    @property
    def params(self) -> SamplingParams: ...
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def dropped(self) -> int: ...


class DeskLike(Protocol):
    """What the thread drives: `dialogue.desk.Desk`; tests hand in a fake."""

    def begin(self, request: Any) -> int: ...
    def step(self) -> Sequence[tuple[int, DeltaLike]]: ...
    def cancel(self, handle: int) -> None: ...
    def reset(self) -> None: ...
    def stats(self) -> dict[str, float]: ...


class ChatLike(Protocol):
    """What the service needs of `dialogue.chat.Chat`; all of it may be called on any thread."""

    @property
    def is_base(self) -> bool: ...
    @property
    def uses_tools(self) -> bool: ...
    @property
    def context(self) -> int: ...
    def desk(self) -> DeskLike: ...
    def prepare(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        fit: bool = False,
        last: int | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
        form: Form | None = None,
        rendering: Rendering | None = None,
    ) -> RequestLike: ...
    def prepare_raw(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        last: int | None = None,
        form: Form | None = None,
    ) -> RequestLike: ...
    def prompt_ids(self, messages: Sequence[Message]) -> list[int]: ...
    def raw_ids(self, text: str) -> list[int]: ...
    def text_of(self, ids: Sequence[int]) -> str: ...
    def spelled(self, ids: Sequence[int]) -> tuple[str, list[int]]: ...
    def token_name(self, id: int) -> str: ...
    def token_bytes(self, id: int) -> bytes | None: ...
    def tokenizer_info(self) -> dict[str, Any]: ...
    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]: ...


@runtime_checkable
class JudgeLike(Protocol):
    """What the service needs of a reward model: `stages.judge.Judge`; `rows` may be called on any thread."""

    @property
    def context(self) -> int: ...
    def rows(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]: ...
    def score(self, rows: Sequence[Sequence[int]]) -> list[float]: ...


class Watcher(Protocol):
    """Who counts what the models do; called on the event loop."""

    def watch(self, ticket: Ticket, item: DeltaLike | BaseException | None) -> None:
        """`item` arrives for `ticket`; None is its end."""

    def count(self, model: str, *, prompt: int, written: int) -> None:
        """So many tokens were read and written without a ticket."""
