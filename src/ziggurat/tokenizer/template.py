"""The chat template: a conversation becomes ids, and the mask of the tokens to be trained on.

One object serves SFT, the reward model, PPO, evaluation and the chat, so that all of them agree. Ours is

    <|user|>How far is it?<|end|><|assistant|>Two miles.<|end|>
                                              ^^^^^^^^^^^^^^^^^  trained: what the assistant must produce itself

saved as Jinja, the form in which models from elsewhere bring their own; theirs run in Jinja's sandbox.

How text is kept from becoming a special token. The template is rendered with *placeholders* in place of every
content. The rendered string then falls into template text, where special tokens are recognised, and contents, where
they never are.

How a prompt stays the beginning of what is trained. An assistant's turn begins where the prompt for it ends. The text
before and after this place is encoded apart, in training and in serving alike, so that no token crosses it. Elsewhere
neighbouring stretches of ordinary text are joined before they are encoded, so that conversations get the ids that
`apply_chat_template` of transformers gives them.

What it does not protect from: a template that rewrites contents (upper-cases them) or compares them sees the
placeholder, not the content; one that cuts them apart is refused. Trimming works, JSON may lose its last brace, and
think blocks are taken apart before the template runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ziggurat.errors import DataError
from ziggurat.messages import Reasoning
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.contents import Content, Contents, Placed
from ziggurat.tokenizer.jinja import plain_jinja
from ziggurat.tokenizer.program import Program, checked_variables
from ziggurat.tokenizer.turns import Run, Turn, after_thinking, opening, runs_of, shared


@dataclass(frozen=True, slots=True)
class Rendered:
    """`ids[i]` is trained on where `mask[i]` is true: the assistant's own words and the token that ends its turn."""

    ids: list[int]
    mask: list[bool]
    starts: list[int] = field(default_factory=list, compare=False)
    """For each assistant message the number of tokens before it: the length of the prompt that it answers."""


class ChatTemplate:
    """A tokenizer with the Jinja template of a chat model.

    `template_kwargs` are further variables of the template (`enable_thinking`), which `render` may override.
    `reasoning` decides whether the reasoning in messages is trained. ModelFolderError for a template that is not valid
    Jinja.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        jinja: str | None = None,
        *,
        template_kwargs: Mapping[str, Any] | None = None,
        reasoning: Reasoning = "trained",
    ):
        self.tokenizer = tokenizer
        chosen = jinja or tokenizer.chat_template
        # Callers print it: "this model has no chat template; conversations are written as User: and Assistant:".
        self.is_plain = chosen is None
        self.jinja = chosen or plain_jinja(bos=tokenizer.adds_bos)
        self.template_kwargs, self.reasoning = checked_variables(template_kwargs), reasoning
        self._program = Program(tokenizer, self.jinja, self.template_kwargs, is_plain=self.is_plain)

    def adopt(self) -> None:
        """Make the plain template the tokenizer's own, so that a model trained with it is saved with it."""
        if self.is_plain:
            self.tokenizer.chat_template = self.jinja
            self.tokenizer.config.setdefault("eos_token", self._program.names["eos_token"])

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[dict[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        continue_final: bool = False,
    ) -> Rendered:
        """One conversation as ids and mask. DataError where the template refuses it.

        `continue_final`: the last message is not ended, so that a model continues it.
        """
        return self.render_many(
            [messages],
            add_generation_prompt=add_generation_prompt,
            tools=[tools],
            template_kwargs=template_kwargs,
            continue_final=continue_final,
        )[0]

    def render_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Sequence[dict[str, Any]] | None] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        continue_final: bool = False,
    ) -> list[Rendered]:
        """`render` for many conversations, encoded in one batch."""
        all_tools = tools if tools is not None else [None] * len(conversations)
        return self._encoded(
            [
                self._runs(messages, add_generation_prompt, these, template_kwargs, continue_final)
                for messages, these in zip(conversations, all_tools, strict=True)
            ]
        )

    def try_many(
        self,
        conversations: Sequence[tuple[Sequence[Message], Sequence[dict[str, Any]] | None]],
        *,
        add_generation_prompt: bool = False,
    ) -> list[Rendered | DataError]:
        """`render_many` of (messages, tools); the error in place of a conversation that the template cannot show."""
        made: list[list[Run] | DataError] = []
        for messages, tools in conversations:
            try:
                self._check_calls(messages)
                made.append(self._runs(messages, add_generation_prompt, tools))
            except DataError as error:
                made.append(error)
        rendered = iter(self._encoded([runs for runs in made if not isinstance(runs, DataError)]))
        return [runs if isinstance(runs, DataError) else next(rendered) for runs in made]

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the end of turn in this template, and the end of a document."""
        ends = {self.tokenizer.endoftext_id, *self._program.ends_of([("user", "u"), ("assistant", "a")])}
        if not self.is_plain and self.tokenizer.end_id is not None:
            ends.add(self.tokenizer.end_id)
        return frozenset(ends)

    @property
    def shows_calls(self) -> bool:
        """Whether the template writes tool calls."""
        return self._program.shows_calls

    def _check_calls(self, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages, 1):
            if message.tool_calls and not self.shows_calls:
                raise DataError(
                    f"the chat template shows no tool calls, and message {number} has some; use a model whose "
                    "template shows tools, or leave tool_calls out."
                )

    # ------------------------------------------------------------------ conversation -> parts

    def _parts(
        self,
        messages: Sequence[Message],
        generate: bool = False,
        tools: Any = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> tuple[list[Placed], list[Turn]]:
        """The rendered text in parts, and where each turn of the assistant lies in it."""
        contents = Contents(self.tokenizer.special_pattern)
        variables = contents.hide_unsafe({**self.template_kwargs, **checked_variables(template_kwargs)})
        hidden_tools = contents.hide_unsafe(tools) if tools else None
        rows = [self._hidden(contents, number, message) for number, message in enumerate(messages)]
        rendered = self._program.render(rows, generate, hidden_tools, contents, variables)
        parts = contents.parse(rendered)
        own: dict[int, list[int]] = {}
        for at, placed in enumerate(parts):
            if isinstance(placed.part, Content):
                own.setdefault(placed.part.message, []).append(at)
        turns = []
        for number, message in enumerate(messages):
            if message.role != "assistant" or number not in own:
                continue
            at = own[number][0]
            start = opening(parts, at, self._program.generation_prompt(variables))
            if start is None:
                prompt = self._prompt_text(rows[:number], hidden_tools, contents, variables)
                before = parts[at - 1].start if at else 0
                start = min(parts[at].start, max(before, shared(prompt, rendered)))
            turn = Turn(start, parts[at].start, start, self._end(parts, own[number][-1]), message.weight != 0)
            if self.reasoning != "trained":
                turn.trained_from = after_thinking(parts, turn)
            turns.append(turn)
        return parts, turns

    def _hidden(self, contents: Contents, number: int, message: Message) -> dict[str, Any]:
        form = self._program.arguments if message.tool_calls else "any"
        return contents.hide(number, message, *self._said(message), form)

    def _said(self, message: Message) -> tuple[str, str | None, bool]:
        """(text, reasoning, inside) as the template gets them.

        inside: the template writes no reasoning, so that it gets it inside the text.
        """
        text, reasoning = message.content, message.reasoning
        if (
            reasoning is None
            and message.role == "assistant"
            and "</think>" in text
            and "</think>" in self.jinja
        ):
            reasoning, text = _cut_thinking(text, self._program.shows_reasoning)
        if reasoning is None or self.reasoning == "hidden":
            return text, None, False
        return text, reasoning, not self._program.shows_reasoning and "</think>" not in self.jinja

    def _prompt_text(self, rows: Any, tools: Any, contents: Contents, variables: Mapping[str, Any]) -> str:
        try:
            return self._program.render(rows, True, tools, contents, variables) if rows else ""
        except DataError:
            return ""

    def _end(self, parts: list[Placed], last: int) -> int:
        """Where a turn ends: after the token that ends it in the template text that follows its last content."""
        content = parts[last]
        following = parts[last + 1] if last + 1 < len(parts) else None
        if following is None or not isinstance(following.part, str):
            return content.end
        found = list(self.tokenizer.special_pattern.finditer(following.part))
        ends = [
            match for match in found if self.tokenizer.guarded[match[0].strip()] in self._program.turn_ends
        ]
        ends = ends or [
            m for m in found if self.tokenizer.guarded[m[0].strip()] in self.tokenizer.special_ids
        ]
        return following.start + ends[0].end() if ends else content.end

    # ------------------------------------------------------------------ parts -> runs -> ids

    def _runs(
        self,
        messages: Sequence[Message],
        generate: bool,
        tools: Any,
        template_kwargs: Mapping[str, Any] | None = None,
        continue_final: bool = False,
    ) -> list[Run]:
        parts, turns = self._parts(messages, generate, tools, template_kwargs)
        if continue_final:
            parts = self._unended(parts, len(messages) - 1, messages[-1].content)
        return runs_of(parts, turns, self.tokenizer.special_pattern, self.tokenizer.guarded)

    @staticmethod
    def _unended(parts: list[Placed], last: int, content: str) -> list[Placed]:
        """The parts up to the end of message `last`, with the white space that ends it where the template keeps it."""
        own = [at for at, p in enumerate(parts) if isinstance(p.part, Content) and p.part.message == last]
        if not own:
            raise DataError("the chat template does not show the last message, which is to be continued.")
        kept, space = parts[: own[-1] + 1], content[len(content.rstrip()) :]
        following = parts[own[-1] + 1 : own[-1] + 2]
        if space and following and str(following[0].part).startswith(space):
            kept.append(Placed(kept[-1].end, kept[-1].end + len(space), space))
        return kept

    def _encoded(self, conversations: Sequence[Sequence[Run]]) -> list[Rendered]:
        """All runs encoded in few batches and joined to conversations."""
        texts = [run for runs in conversations for run in runs if run.special is None]
        even = [(run.text, run.after) for run in texts if run.trained is not None]
        ids = iter(self.tokenizer.encode_pieces(even))
        rendered = []
        for runs in conversations:
            row, mask, starts = list[int](), list[bool](), list[int]()
            for run in runs:
                if run.opens:
                    starts.append(len(row))
                if run.special is not None:
                    some, flags = [run.special], [run.stretches[0][1]]
                elif (trained := run.trained) is not None:
                    some = next(ids)
                    flags = [trained] * len(some)
                else:
                    some, flags = self._mixed(run)
                row += some
                mask += flags
            rendered.append(Rendered(row, mask, starts))
        return rendered

    def _mixed(self, run: Run) -> tuple[list[int], list[bool]]:
        """Ids of a run of which some is trained: a token that holds a trained character is trained."""
        flags = [flag for length, flag in run.stretches for _ in range(length)]
        ids, spans = self.tokenizer.encode_with_spans(run.text, run.after)
        return ids, [any(flags[start : max(end, start + 1)]) for start, end in spans]


def _cut_thinking(text: str, shown: bool) -> tuple[str, str]:
    """(reasoning, answer) as the templates of Qwen3 (`shown`) and of DeepSeek-R1 cut a content at </think>."""
    pieces = text.split("</think>")
    thought = pieces[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
    return thought, pieces[-1].lstrip("\n") if shown else pieces[-1]
