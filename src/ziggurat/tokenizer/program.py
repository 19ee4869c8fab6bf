"""A chat template as a program: Jinja in a sandbox, and what probes tell about it.

The program gets messages as dictionaries and returns text. It knows nothing of placeholders and masks (template.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ziggurat.errors import DataError, ModelFolderError, UsageError
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.contents import CONTENTS, Arguments, Content, Contents, to_json
from ziggurat.tokenizer.jinja import Generation

OWN_VARIABLES = frozenset({"messages", "tools", "add_generation_prompt", CONTENTS})


class Program:
    """A compiled template. `variables` are its further variables; ModelFolderError if it is not valid Jinja."""

    def __init__(self, tokenizer: Tokenizer, jinja: str, variables: Mapping[str, Any], *, is_plain: bool):
        self.tokenizer, self.variables, self.is_plain = tokenizer, variables, is_plain
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        environment.filters["tojson"] = to_json
        try:
            self._template = environment.from_string(jinja)
        except jinja2.TemplateError as error:
            raise ModelFolderError(f"the model's chat template is not valid Jinja: {error}") from None
        self._prompts: dict[str, str] = {}

    @cached_property
    def names(self) -> dict[str, str]:
        """The special tokens that a template may write. The plain template needs an end: the end of a document."""
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        found = {name: self.tokenizer.special_text(name) or "" for name in names}
        if self.is_plain and not found["eos_token"]:
            found["eos_token"] = self.tokenizer.token_bytes(self.tokenizer.endoftext_id).decode()
        return found

    def render(
        self,
        messages: list[dict[str, Any]],
        generate: bool,
        tools: Any = None,
        contents: Contents | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of a conversation; DataError where the template refuses it."""
        try:
            return self._template.render(
                {
                    **self.names,
                    **(self.variables if variables is None else variables),
                    "messages": messages,
                    "tools": tools or None,
                    "add_generation_prompt": generate,
                    CONTENTS: contents,
                }
            )
        except (jinja2.TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(f"the chat template refuses a conversation of {roles}: {error}") from None

    def generation_prompt(self, variables: Mapping[str, Any]) -> str:
        """The template text before an answer, such as `<|assistant|>`; "" where only whole prompts can tell."""
        key = json.dumps(variables, sort_keys=True, default=str)
        if key not in self._prompts:
            user = [{"role": "user", "content": "u"}]
            try:
                without = self.render(user, False, variables=variables)
                prompted = self.render(user, True, variables=variables)
            except DataError:
                without, prompted = "", ""
            self._prompts[key] = prompted[len(without) :] if prompted.startswith(without) else ""
        return self._prompts[key]

    @cached_property
    def shows_reasoning(self) -> bool:
        """Whether the template writes the reasoning of the last answer."""
        messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
        thought = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), "\ue002")
        try:
            return "\ue002" in self.render([messages[0], messages[1] | thought], False)
        except DataError:
            return False

    def _probed_call(self, arguments: Any) -> str | None:
        """What the template writes for a tool call; None where it refuses."""
        call = {"type": "function", "id": "call00001", "function": {"name": "probed", "arguments": arguments}}
        asked: dict[str, Any] = {"role": "user", "content": "u"}
        try:
            return self.render([asked, {"role": "assistant", "content": "", "tool_calls": [call]}], False)
        except DataError:
            return None

    @cached_property
    def arguments(self) -> Arguments:
        """The form of tool arguments that the template can write: text may come out as JSON inside JSON."""
        text, value = self._probed_call('{"q": 1}'), self._probed_call({"q": 1})
        if value is None:
            return "any" if text is None else "text"
        return "object" if text is None or '\\"q\\"' in text else "any"

    @cached_property
    def shows_calls(self) -> bool:
        """Whether the template writes tool calls; the refusal of a conversation itself says why."""
        written = [self._probed_call(form) for form in ({"q": 1}, '{"q": 1}')]
        return any("probed" in text for text in written if text is not None) or written == [None, None]

    @cached_property
    def turn_ends(self) -> frozenset[int]:
        """Tokens that follow an answer in this template, at the end of a conversation or inside it."""
        once = [("user", "u"), ("assistant", "a")]
        return frozenset({*self.ends_of(once), *self.ends_of(once * 2)})

    def ends_of(self, turns: Sequence[tuple[Any, str]]) -> Iterator[int]:
        """The first special token after each answer of a conversation."""
        contents = Contents(self.tokenizer.special_pattern)
        messages = conversation(*turns)
        rows = [contents.hide(n, message, message.content, None, False) for n, message in enumerate(messages)]
        try:
            parts = contents.parse(self.render(rows, False, None, contents))
        except DataError:
            return
        for before, after in pairwise(parts):
            answers = isinstance(before.part, Content) and messages[before.part.message].role == "assistant"
            if (
                answers
                and isinstance(after.part, str)
                and (match := self.tokenizer.special_pattern.search(after.part))
            ):
                yield self.tokenizer.guarded[match[0].strip()]


def conversation(*turns: tuple[Any, str]) -> list[Message]:
    """Messages of (role, text)."""
    return [Message(role=role, content=content) for role, content in turns]


def checked_variables(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The variables as a dictionary; UsageError for one that the program sets itself."""
    if ours := sorted(OWN_VARIABLES & set(kwargs or {})):
        raise UsageError(
            f"chat_template_kwargs holds {ours[0]!r}, which has a parameter of its own; leave it out there."
        )
    return dict(kwargs or {})


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
