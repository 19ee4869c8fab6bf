"""A model in this process, by `dialogue.chat.Chat`: answers in batches, likelihoods with shared prefixes.

A prompt that leaves too little room in the context loses its first tokens, as lm-evaluation-harness does; `cut` says of
which prompts of the last call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from ziggurat.dialogue.chat import Answer, Chat
from ziggurat.dialogue.loading import never_chatted
from ziggurat.engine.params import SamplingParams
from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.exam.likelihood import encode_pairs, prompt_ids, score, text_nats
from ziggurat.files import sha256_file, to_json
from ziggurat.lineage import WEIGHTS
from ziggurat.places import base_named, model_folder
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

DECIDES = (
    *WEIGHTS,
    "*.blocks",
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "*.jinja",
)
"""The files of a model's folder that decide what it answers."""


def load(name: str, open_chat: Callable[[], Chat] | None = None) -> Local:
    """The model of a name or path; its weights are read when it is first asked, or `open_chat` gives them.

    RunError where there is none.
    """
    folder = model_folder(name)
    template = ChatTemplate(Tokenizer.load(_with_tokenizer(folder, base_named(name))))
    chats = not never_chatted(folder, template)
    return Local(open_chat or (lambda: Chat.load(name)), name, model_sha256(name), chats=chats)


def _with_tokenizer(folder: Path, base: Path | None) -> Path:
    return folder if base is None or (folder / "tokenizer.json").is_file() else base


def model_sha256(name: str) -> str:
    """One hash of all files that decide what a model answers; of BASE@ADAPTER, of both."""
    folders = [folder for folder in (base_named(name), model_folder(name)) if folder is not None]
    listed = [
        (path.name, sha256_file(path))
        for folder in folders
        for path in sorted({path for pattern in DECIDES for path in Path(folder).glob(pattern)})
    ]
    return hashlib.sha256(to_json(listed).encode()).hexdigest()


class Local:
    """A `Candidate` over a `Chat`."""

    def __init__(
        self, chat: Chat | Callable[[], Chat], name: str, sha256: str, *, chats: bool | None = None
    ) -> None:
        """`chat`: the model, or what loads it; then `chats` says whether it knows conversations."""
        self._chat, self.name, self.sha256 = chat, name, sha256
        self.chats = not self.chat.is_base if chats is None else chats
        self.cut: frozenset[int] = frozenset()

    @cached_property
    def chat(self) -> Chat:
        return self._chat if isinstance(self._chat, Chat) else self._chat()

    def answers(self, conversations: Sequence[Sequence[Message]], ask: Ask) -> list[list[str]]:
        if not conversations:
            return []
        last = self._last(ask)
        found = self.chat.answer_many(conversations, _params(ask), stop=ask.stop, last=last, form=ask.form)
        return self._texts(found, ask, last, self.chat.prompts.many(conversations))

    def continuations(self, texts: Sequence[str], ask: Ask) -> list[list[str]]:
        if not texts:
            return []
        last = self._last(ask)
        prompts = prompt_ids(self.chat.tokenizer, texts)
        found = self.chat.continue_ids(prompts, _params(ask), stop=ask.stop, last=last, form=ask.form)
        return self._texts(found, ask, last, prompts)

    def likelihoods(
        self, questions: Sequence[tuple[str | Sequence[Message], Sequence[str]]]
    ) -> list[list[Likelihood]]:
        pairs = encode_pairs(self.chat, questions)
        owners = [number for number, (_, texts) in enumerate(questions) for _ in texts]
        self.cut = frozenset(
            owner
            for owner, (prompt, continuation) in zip(owners, pairs, strict=True)
            if len(prompt) + len(continuation) > self.chat.context + 1  # the last token is only scored
        )
        found = iter(score(self.chat, pairs))
        return [[next(found) for _ in texts] for _, texts in questions]

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        self.cut = frozenset()
        return text_nats(self.chat, texts)

    def _last(self, ask: Ask) -> int:
        """Tokens of a prompt that leave room for the answer, and half of the context at least."""
        return self.chat.context - min(ask.max_tokens, self.chat.context // 2)

    def _texts(
        self, found: Sequence[Answer], ask: Ask, last: int, prompts: Sequence[Sequence[int]]
    ) -> list[list[str]]:
        groups = [found[i : i + ask.samples] for i in range(0, len(found), ask.samples)]
        self.cut = frozenset(i for i, prompt in enumerate(prompts) if len(prompt) > last)
        return [[answer.text for answer in group] for group in groups]


def _params(ask: Ask) -> SamplingParams:
    return SamplingParams(
        temperature=ask.temperature, max_tokens=ask.max_tokens, n=ask.samples, seed=ask.seed
    )
