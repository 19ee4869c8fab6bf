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

import json
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

# A tool call follows <|tool|> inside the assistant's turn; a turn that begins with <|tool|> is the tool's answer.
ZIGGURAT_JINJA = (
    "{%- for message in messages -%}"
    "{%- if loop.first and tools and message.role != 'system' -%}"
    "{{- '<|system|>' -}}{%- for tool in tools -%}{{- '<|tool|>' + (tool | tojson) -}}{%- endfor -%}{{- '<|end|>' -}}"
    "{%- endif -%}"
    "{{- '<|' + message.role + '|>' + (message.content or '') -}}"
    "{%- if loop.first and tools and message.role == 'system' -%}"
    "{%- for tool in tools -%}{{- '<|tool|>' + (tool | tojson) -}}{%- endfor -%}"
    "{%- endif -%}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set call = call.function or call -%}"
    "{{- '<|tool|>{\"name\": ' + (call.name | tojson) + ', \"arguments\": ' -}}"
    "{{- (call.arguments if call.arguments is string else call.arguments | tojson) + '}' -}}"
    "{%- endfor -%}"
    "{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

# For base models that come without a template and without tokens of their own for turns (GPT-2).
PLAIN_JINJA = (
    "{%- for message in messages -%}"
    "{{- message.role | capitalize + ': ' + (message.content or '') -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "{{- '\nCall: ' + ((call.function or call) | tojson) -}}"
    "{%- endfor -%}"
    "{%- if message.role == 'assistant' -%}{{- eos_token -}}{%- endif -%}{{- '\n\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Assistant: ' -}}{%- endif -%}"
)

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: around the number of a placeholder
_PLACEHOLDER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Rendered:
    """`ids[i]` is trained on where `mask[i]` is true: the assistant's own words and the token that ends its turn."""

    ids: list[int]
    mask: list[bool]


@dataclass(slots=True)
class _Content:
    text: str
    message: int  # which message it came from; -1: the tools


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
        self.is_plain = chosen is None  # callers say so aloud: "no template of its own, uses User:/Assistant: lines"
        self.jinja = chosen or PLAIN_JINJA
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        environment.filters["tojson"] = _to_json
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
        probe = self._runs([Message(role="user", content="u"), Message(role="assistant", content="a")], False, None)
        after = [run.special for run in probe if run.special is not None and all(run.flags)]
        ends = {self.tokenizer.endoftext_id, *after}
        if not self.is_plain and self.tokenizer.end_id is not None:
            ends.add(self.tokenizer.end_id)
        return frozenset(ends)

    # ------------------------------------------------------------------ Jinja

    def _render_text(
        self, messages: list[dict[str, Any]], generate: bool, tools: Any = None, contents: _Contents | None = None
    ) -> str:
        try:
            return self._template.render(
                messages=messages,
                _contents=contents,
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
        contents = _Contents(self._split, trim=self._trims)
        rows = [contents.hide(number, message) for number, message in enumerate(messages)]
        hidden_tools = contents.hide_unsafe(tools) if tools else None
        rendered = self._render_text(rows, generate, hidden_tools, contents)
        trained = {
            number
            for number, message in enumerate(messages)
            if message.role == "assistant" and message.weight != 0
        }
        return list(self._spans(contents.parse(rendered), trained))

    def _spans(self, parts: list[str | _Content], trained: set[int]) -> Iterator[_Run]:
        """Flags each stretch as trained or not; then cuts template text at its special tokens and joins the rest."""
        last_of = {part.message: at for at, part in enumerate(parts) if isinstance(part, _Content)}
        first_of: dict[int, int] = {}
        for at, part in enumerate(parts):
            if isinstance(part, _Content):
                first_of.setdefault(part.message, at)
        starts = {first_of[n] for n in trained if n in first_of}
        ends = {last_of[n] for n in trained if n in last_of}
        text, flags, inside, closing = "", list[bool](), False, False
        for at, part in enumerate(parts):
            if isinstance(part, _Content):
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
                    # Text between the last word and the token that ends the turn (a space, a bracket) is the turn's.
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


class _Contents:
    """Hides contents behind placeholders and finds them again in the rendered text."""

    def __init__(self, special: re.Pattern[str], *, trim: bool):
        self.special = special
        self.trim = trim
        self.contents: list[_Content] = []

    def hide(self, number: int, message: Message) -> dict[str, Any]:
        row = message.model_dump(exclude_none=True, exclude={"weight"})
        content = row.get("content")
        if isinstance(content, list):  # parts, as the OpenAI API has them
            content = "".join(part.get("text", "") for part in content)
        if content:
            row["content"] = self._new(content.strip() if self.trim else content, number)
        elif "tool_calls" in row:
            row["content"] = ""
        else:
            row["content"] = self._new("", number)
        if row.get("tool_calls"):
            row["tool_calls"] = self._deep(row["tool_calls"], number)
        if row.get("name"):
            row["name"] = self._new(row["name"], number)
        return row

    def hide_unsafe(self, value: Any) -> Any:
        """Tools stay readable for the template, save strings that hold the name of a special token."""
        if isinstance(value, str):
            return self._new(value, -1) if self._is_unsafe(value) else value
        if isinstance(value, dict):
            return {key: self.hide_unsafe(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_unsafe(item) for item in value]
        return value

    def parse(self, rendered: str) -> list[str | _Content]:
        """`["<|user|>", content 0, "<|end|>"]`"""
        pieces = _PLACEHOLDER.split(rendered)
        parts: list[str | _Content] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                parts.append(self.contents[int(piece)])
            elif piece:
                parts.append(piece)
        return parts

    def reveal(self, value: Any) -> Any:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(lambda match: self.contents[int(match[1])].text, value)
        if isinstance(value, dict):
            return {key: self.reveal(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.reveal(item) for item in value]
        return value

    def dump(self, value: Any, options: dict[str, Any]) -> str:
        """JSON of a value with its contents revealed; hidden in turn, as words of the message they came from."""
        written = json.dumps(value, **options | {"ensure_ascii": False})
        first = _PLACEHOLDER.search(written)
        revealed = json.dumps(self.reveal(value), **options)
        if first is not None:
            return self._new(revealed, self.contents[int(first[1])].message)
        return self._new(revealed, -1) if self._is_unsafe(revealed) else revealed

    def _is_unsafe(self, text: str) -> bool:
        return _OPEN in text or self.special.search(text) is not None

    def _deep(self, value: Any, number: int, key: str = "") -> Any:
        if isinstance(value, str):
            return value if key == "type" and value == "function" else self._new(value, number)
        if isinstance(value, dict):
            return {k: self._deep(item, number, k) for k, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._deep(item, number) for item in value]
        return value

    def _new(self, text: str, number: int) -> str:
        self.contents.append(_Content(text, number))
        return f"{_OPEN}{len(self.contents) - 1}{_CLOSE}"


@jinja2.pass_context
def _to_json(
    context: jinja2.runtime.Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """transformers' `tojson` (no HTML escapes); what it writes of hidden contents stays hidden."""
    options = {"ensure_ascii": ensure_ascii, "indent": indent, "separators": separators, "sort_keys": sort_keys}
    contents = context.get("_contents")
    return contents.dump(value, options) if isinstance(contents, _Contents) else json.dumps(value, **options)


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
