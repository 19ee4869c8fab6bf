"""Models at work: they answer, are sampled for people to rank, and are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ziggurat.api.stages import Files, PathLike, paths, records_or_paths
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.records import Message, Prompt

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.stages.sample import Sampled


@dataclasses.dataclass(frozen=True)
class ChatModel:
    """A loaded model that answers."""

    chat: Chat
    """The model with its tokenizer and template, for what is not here."""

    def complete(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """The answer to a question, or to a conversation of messages. temperature: 0 is greedy.

        Raises UsageError for messages or numbers that are not valid, ContextError for a prompt that is too long.
        """
        params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        return self.chat.complete(_messages(messages), params, stop=stop)

    def stream(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """As `complete`, piece by piece; closing the iterator frees the model."""
        params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
        for delta in self.chat.stream(_messages(messages), params, stop=stop):
            yield delta.text


def chat(model: PathLike, *, weights: str = "auto") -> ChatModel:
    """Load a model to talk to: a run by its name or folder, a checkpoint, or a Hugging Face folder.

    weights: "auto", "int8" for a byte a weight, or "int4" for half of one. Raises RunError or ModelFolderError where
    there is no such model.
    """
    from ziggurat.dialogue.chat import Chat

    return ChatModel(Chat.load(str(model), weights=weights))


def sample(
    policy: PathLike,
    data: Files | Sequence[Prompt],
    *,
    k: int = 4,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 128,
    seed: int = 0,
    greedy: bool = True,
    out: PathLike | None = None,
) -> list[Sampled]:
    """k completions for each prompt; with `greedy` the first one is greedy.

    out: also write them to this file, which lacks only the ranks.
    Raises UsageError for k outside 2 to 9 or an `out` that exists, DataError, RunError, ModelFolderError.
    """
    from ziggurat.corpus.files import load_kind
    from ziggurat.stages import sample as stage

    if out is not None and Path(out).exists():
        raise UsageError(f"{out} is there already; name another file.")
    given = records_or_paths(data)
    files = [one for one in given if isinstance(one, Path)]
    prompts = load_kind("prompts", files).records if files else list(given)
    params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    sampled = stage.sample(policy, prompts, k, params, greedy=greedy)
    if out is not None:
        stage.write_to_rank(Path(out), sampled, policy=str(policy), params=params)
    return sampled


def evaluate(
    model: PathLike,
    *,
    text: Files | None = None,
    demonstrations: Files | None = None,
    context: int = 0,
    stride: int = 0,
    skip_bad_rows: bool = False,
) -> dict[str, Any]:
    """Measure a model on held-out files: bits per byte and perplexity of `text`, accuracy on `demonstrations`.

    context: tokens of a window; 0: the model's context. stride: tokens scored in each window; 0: all.
    Raises UsageError without files, DataError, RunError, ModelFolderError.
    """
    from ziggurat.evaluation.measure import measure

    if text is None and demonstrations is None:
        raise UsageError("evaluate needs text or demonstrations, or both; give the path of a file.")
    files = [[] if given is None else paths(given) for given in (text, demonstrations)]
    return measure(str(model), *files, context=context, stride=stride, skip=skip_bad_rows)


def _messages(given: str | Sequence[Message | Mapping[str, Any]]) -> list[Message]:
    """A question as one message of the user; dictionaries as messages."""
    if isinstance(given, str):
        return [Message(role="user", content=given)]
    try:
        return [one if isinstance(one, Message) else Message.model_validate(one) for one in given]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"A message is not valid ({where}: {first['msg']}); give role and content."
        ) from error
