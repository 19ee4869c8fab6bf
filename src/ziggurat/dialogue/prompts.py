"""From a conversation to the ids of a prompt: the chat template, and a refusal of what the template cannot show.

A model that never saw a conversation (`is_base`) gets the text of the messages and continues it; every other model gets
its chat template. Text in a message can never become a special token (see tokenizer/template.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ziggurat.dialogue.calls import CallMarks
from ziggurat.dialogue.forms import Rendering
from ziggurat.errors import DataError, UsageError
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.contents import with_arguments
from ziggurat.tokenizer.template import ChatTemplate

Tools = Sequence[dict[str, Any]]
PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "probe",
        "description": "Answers a probe.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    },
}


class Prompts:
    """Renders conversations for one model."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        is_base: bool,
        refuses: bool = True,
        name: str = "",
    ) -> None:
        """`refuses`: whether a message is refused that the template would leave out."""
        self.tokenizer, self.template, self.is_base, self.refuses = tokenizer, template, is_base, refuses
        self.name = name or "the model"

    @cached_property
    def marks(self) -> CallMarks:
        """How the model marks its tool calls."""
        return CallMarks.of(self.tokenizer, "" if self.is_base else self.template.jinja)

    @cached_property
    def shows_tools(self) -> bool:
        """Whether the template puts tools into the prompt."""
        probe = [Message(role="user", content="u")]
        try:
            return not self.is_base and self._render(probe, tools=[PROBE_TOOL]) != self._render(probe)
        except DataError:
            return False

    def ids(
        self, messages: Sequence[Message], tools: Tools | None = None, rendering: Rendering | None = None
    ) -> list[int]:
        return self.many([messages], [tools], rendering)[0]

    def many(
        self,
        conversations: Sequence[Sequence[Message]],
        tools: Sequence[Tools | None] | None = None,
        rendering: Rendering | None = None,
    ) -> list[list[int]]:
        """The prompts of conversations that await an answer, each with its tools.

        UsageError names the message that the template cannot show.
        """
        asked = rendering or Rendering()
        for messages in conversations:
            self._check(messages, asked)
        if self.is_base:
            return self.raw(["\n".join(m.content for m in messages) for messages in conversations])
        rendered = self.template.render_many(
            [self._readable(messages) for messages in conversations],
            add_generation_prompt=asked.add_generation_prompt and not asked.continue_final,
            tools=tools,
            template_kwargs=asked.kwargs,
            continue_final=asked.continue_final,
        )
        return [row.ids for row in rendered]

    def raw(self, texts: Sequence[str]) -> list[list[int]]:
        """A text to be continued begins as a document does in pre-training: with bos, or after the end of another."""
        return [[self.tokenizer.text_start_id, *ids] for ids in self.tokenizer.encode_batch(texts)]

    # --- what a template cannot show ----------------------------------------------------------------------------

    def _check(self, messages: Sequence[Message], asked: Rendering) -> None:
        if not messages:
            raise UsageError("the conversation is empty; give at least one message.")
        last = messages[-1]
        if asked.continue_final and (last.role != "assistant" or last.tool_calls or not last.content):
            raise UsageError(
                "continue_final_message is set and the last message is not text of the assistant; "
                "end messages with what the answer should begin with."
            )
        for number, message in enumerate(messages if self.refuses else ()):
            hidden = self._hidden(messages, number, message)
            if hidden:
                raise UsageError(
                    f"messages.{number} has {hidden}, which the chat template of {self.name} does not show; "
                    "leave it out, or ask a model whose template shows it."
                )

    def _hidden(self, messages: Sequence[Message], number: int, message: Message) -> str:
        """What of a message the template would drop; "" if it shows all."""
        if message.tool_calls and (self.is_base or not self.template.shows_calls):
            return "tool_calls"
        if self.is_base:
            return ""
        if message.role == "tool" and not self._shows_results:
            return "the role tool"
        if message.role == "system" and message.content:
            shown = self._shows_system if number == 0 else self._shows_content(messages, number)
            return "" if shown else "the role system"
        return ""

    @cached_property
    def _shows_results(self) -> bool:
        return self._differ(*(_with_result(text) for text in ("first", "second")))

    @cached_property
    def _shows_system(self) -> bool:
        return self._differ(*(_with_system(text) for text in ("first", "second")))

    def _shows_content(self, messages: Sequence[Message], number: int) -> bool:
        changed = list(messages)
        changed[number] = Message(role=messages[number].role, content=messages[number].content + " probe")
        return self._differ(messages, changed)

    def _differ(self, one: Sequence[Message], other: Sequence[Message]) -> bool:
        """Whether the template renders two conversations differently; where it refuses them, the request learns why."""
        try:
            return self._render(one) != self._render(other)
        except DataError:
            return True

    def _render(self, messages: Sequence[Message], tools: Tools | None = None) -> list[int]:
        return self.template.render(self._readable(messages), add_generation_prompt=True, tools=tools).ids

    def _readable(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Arguments of calls as objects, as templates from elsewhere expect; ours takes them as they are written."""
        if self.marks.close == "" or not any(message.tool_calls for message in messages):
            return messages
        return [
            message.model_copy(
                update={"tool_calls": [with_arguments(call, "object") for call in message.tool_calls]}
            )
            if message.tool_calls
            else message
            for message in messages
        ]


def _with_result(result: str) -> list[Message]:
    function = {"name": "probe", "arguments": '{"q": "q"}'}
    return [
        Message(role="user", content="u"),
        Message(
            role="assistant",
            content="",
            tool_calls=[{"id": "call00001", "type": "function", "function": function}],
        ),
        Message(role="tool", content=result, tool_call_id="call00001", name="probe"),
    ]


def _with_system(text: str) -> list[Message]:
    return [Message(role="system", content=text), Message(role="user", content="u")]
