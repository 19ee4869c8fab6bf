"""The chat template: a conversation becomes ids, and the mask of the tokens to be trained on.

One object serves SFT, the reward model, PPO, evaluation and the chat, so that none of them can disagree. Ours is

    <|user|>How far is it?<|end|><|assistant|>Two miles.<|end|>
                                              ^^^^^^^^^^^^^^^^^  trained: what the assistant must produce itself

saved as Jinja, the form in which models from elsewhere bring their own; theirs run in Jinja's sandbox.

How text is kept from becoming a special token. The template is rendered with *placeholders* in place of every
content. The rendered string then falls into template text, where special tokens are recognised, and contents, where
they never are. Neighbouring stretches of ordinary text are joined before they are encoded, so that ordinary
conversations get exactly the ids that `apply_chat_template` of transformers gives them.

What it does not protect from: a template that rewrites contents (upper-cases them, cuts them apart) sees the
placeholder, not the content. Trimming, which is common, is recognised and done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ziggurat.errors import DataError, ModelFolderError
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.contents import CONTENTS, Content, Contents, to_json
from ziggurat.tokenizer.jinja import PLAIN_JINJA


@dataclass(frozen=True, slots=True)
class Rendered:
    """`ids[i]` is trained on where `mask[i]` is true: the assistant's own words and the token that ends its turn."""

    ids: list[int]
    mask: list[bool]


@dataclass(slots=True)
class _Run:
    """Ordinary text to be encoded in one go, with one flag for each character; or one special token."""

    text: str
    flags: list[bool]
    special: int | None = None

    @property
    def mixed(self) -> bool:
        return len(set(self.flags)) > 1


class ChatTemplate:
    def __init__(self, tokenizer: Tokenizer, jinja: str | None = None):
        self.tokenizer = tokenizer
        chosen = jinja or tokenizer.chat_template
        # Callers say so aloud: "this model has no chat template; it is written to as User: and Assistant:".
        self.is_plain = chosen is None
        self.jinja = chosen or PLAIN_JINJA
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        environment.filters["tojson"] = to_json
        try:
            self._template = environment.from_string(self.jinja)
        except jinja2.TemplateError as error:
            raise ModelFolderError(f"the model's chat template is not valid Jinja: {error}") from None
        self._split = _special_pattern(tokenizer)

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> Rendered:
        return self.render_many([messages], add_generation_prompt=add_generation_prompt, tools=[tools])[0]

    def render_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Sequence[dict[str, Any]] | None] | None = None,
    ) -> list[Rendered]:
        """`render` for many conversations, encoded in one batch."""
        all_tools = tools if tools is not None else [None] * len(conversations)
        runs = [
            self._runs(messages, add_generation_prompt, these)
            for messages, these in zip(conversations, all_tools, strict=True)
        ]
        even = [run.text for row in runs for run in row if run.special is None and not run.mixed]
        encoded = iter(self.tokenizer.encode_batch(even))
        return [self._join(row, encoded) for row in runs]

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: what follows one in this template, the end of turn, the end of a document."""
        probe = self._runs(
            [Message(role="user", content="u"), Message(role="assistant", content="a")], False, None
        )
        after = [run.special for run in probe if run.special is not None and all(run.flags)]
        ends = {self.tokenizer.endoftext_id, *after}
        if not self.is_plain and self.tokenizer.end_id is not None:
            ends.add(self.tokenizer.end_id)
        return frozenset(ends)

    # ------------------------------------------------------------------ Jinja

    def _render_text(
        self,
        messages: list[dict[str, Any]],
        generate: bool,
        tools: Any = None,
        contents: Contents | None = None,
    ) -> str:
        try:
            return self._template.render(
                messages=messages,
                **{CONTENTS: contents},
                tools=tools or None,
                add_generation_prompt=generate,
                bos_token=self.tokenizer.special_text("bos_token") or "",
                eos_token=self.tokenizer.special_text("eos_token") or "",
                pad_token=self.tokenizer.special_text("pad_token") or "",
                unk_token=self.tokenizer.special_text("unk_token") or "",
            )
        except (jinja2.TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(f"the chat template refuses a conversation of {roles}: {error}") from None

    @cached_property
    def _generation_prompt(self) -> str:
        """What the template puts before an answer, such as `<|assistant|>`."""
        user = [{"role": "user", "content": "u"}]
        with_prompt, without = self._render_text(user, True), self._render_text(user, False)
        return with_prompt[len(without) :] if with_prompt.startswith(without) else ""

    @cached_property
    def _trims(self) -> bool:
        """Whether the template strips contents, as LLaMA's and Gemma's do."""
        return " u " not in self._render_text([{"role": "user", "content": " u "}], True)

    # ------------------------------------------------------------------ conversation -> runs

    def _runs(self, messages: Sequence[Message], generate: bool, tools: Any) -> list[_Run]:
        contents = Contents(self._split, trim=self._trims)
        rows = [contents.hide(number, message) for number, message in enumerate(messages)]
        hidden_tools = contents.hide_unsafe(tools) if tools else None
        rendered = self._render_text(rows, generate, hidden_tools, contents)
        trained = {
            number
            for number, message in enumerate(messages)
            if message.role == "assistant" and message.weight != 0
        }
        return list(self._spans(contents.parse(rendered), trained))

    def _spans(self, parts: list[str | Content], trained: set[int]) -> Iterator[_Run]:
        """Flags each character as trained or not; cuts template text at special tokens and joins the rest."""
        last_of = {part.message: at for at, part in enumerate(parts) if isinstance(part, Content)}
        first_of: dict[int, int] = {}
        for at, part in enumerate(parts):
            if isinstance(part, Content):
                first_of.setdefault(part.message, at)
        starts = {first_of[n] for n in trained if n in first_of}
        ends = {last_of[n] for n in trained if n in last_of}
        text, flags, inside, closing = "", list[bool](), False, False
        for at, part in enumerate(parts):
            if isinstance(part, Content):
                inside = inside or at in starts
                text, flags = text + part.text, flags + [inside] * len(part.text)
                closing = at in ends
                inside = inside and not closing
                continue
            opens_at = self._opening(part) if at + 1 in starts else len(part)
            for piece, start, special in self._pieces(part):
                if special is None:
                    text += piece
                    flags += [inside or (start + n >= opens_at) for n in range(len(piece))]
                    # Text between the last word and the token that ends the turn (a space) belongs to the turn.
                    if closing and self._ends_with_special(part, start):
                        flags[-len(piece) :] = [True] * len(piece)
                    continue
                if text:
                    yield _Run(text, flags)
                    text, flags = "", []
                yield _Run("", [inside or closing or start >= opens_at], special)
                closing = False
            closing = False
        if text:
            yield _Run(text, flags)

    def _opening(self, part: str) -> int:
        """Where an answer begins in the template text before it: right after the generation prompt."""
        prompt = self._generation_prompt
        at = part.rfind(prompt) if prompt else -1
        return at + len(prompt) if at >= 0 else len(part)

    def _pieces(self, part: str) -> Iterator[tuple[str, int, int | None]]:
        at = 0
        for match in self._split.finditer(part):
            if match.start() > at:
                yield part[at : match.start()], at, None
            yield match[0], match.start(), self.tokenizer.guarded[match[0].strip()]
            at = match.end()
        if at < len(part):
            yield part[at:], at, None

    def _ends_with_special(self, part: str, start: int) -> bool:
        return self._split.search(part, start) is not None

    def _join(self, runs: list[_Run], encoded: Iterator[list[int]]) -> Rendered:
        ids: list[int] = []
        mask: list[bool] = []
        for run in runs:
            if run.special is not None:
                ids.append(run.special)
                mask.append(run.flags[0])
            elif run.mixed:
                some, starts = self.tokenizer.encode_with_offsets(run.text)
                ids += some
                mask += [run.flags[min(start, len(run.flags) - 1)] for start in starts]
            else:
                some = next(encoded)
                ids += some
                mask += run.flags[:1] * len(some)
        return Rendered(ids, mask)


def _special_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Finds special tokens in template text, with the spaces that some of them swallow."""
    names = sorted(tokenizer.guarded, key=len, reverse=True)
    parts = []
    for name in names:
        token = tokenizer.added_token(tokenizer.guarded[name])
        parts.append((r"\s*" if token.lstrip else "") + re.escape(name) + (r"\s*" if token.rstrip else ""))
    return re.compile("|".join(parts)) if parts else re.compile(r"(?!)")


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
