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

What it does not protect from: a template that rewrites contents (upper-cases them, cuts them apart) sees the
placeholder, not the content. Trimming works, and think blocks are taken apart before the template runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ziggurat.errors import DataError, ModelFolderError, UsageError
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Before, Tokenizer
from ziggurat.tokenizer.contents import CONTENTS, Arguments, Content, Contents, Placed, to_json
from ziggurat.tokenizer.jinja import PLAIN_JINJA, Generation

Reasoning = Literal["trained", "shown", "hidden"]
"""What becomes of an assistant's reasoning: trained like its answer; shown to the model but not trained; left out."""

_OURS = frozenset({"messages", "tools", "add_generation_prompt", CONTENTS})


@dataclass(frozen=True, slots=True)
class Rendered:
    """`ids[i]` is trained on where `mask[i]` is true: the assistant's own words and the token that ends its turn."""

    ids: list[int]
    mask: list[bool]
    starts: list[int] = field(default_factory=list, compare=False)
    """For each assistant message the number of tokens before it: the length of the prompt that it answers."""


@dataclass(slots=True)
class _Run:
    """Ordinary text to be encoded in one go, with stretches of (characters, trained); or one special token."""

    text: str = ""
    stretches: list[tuple[int, bool]] = field(default_factory=list)
    special: int | None = None
    after: Before = "nothing"
    opens: bool = False
    """An assistant's turn begins here."""

    @property
    def trained(self) -> bool | None:
        """Whether its text is trained; None: some of it is."""
        flags = {flag for _, flag in self.stretches}
        return None if len(flags) > 1 else flags.pop() if flags else False


@dataclass(slots=True)
class _Turn:
    """Where an assistant's turn begins and ends in the rendered text, and where its trained part begins."""

    start: int
    first: int
    """Where its first content begins."""
    trained_from: int
    end: int
    trained: bool


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
        self.jinja = chosen or PLAIN_JINJA
        self.template_kwargs, self.reasoning = _checked(template_kwargs), reasoning
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        environment.filters["tojson"] = to_json
        try:
            self._template = environment.from_string(self.jinja)
        except jinja2.TemplateError as error:
            raise ModelFolderError(f"the model's chat template is not valid Jinja: {error}") from None
        self._prompts: dict[str, str] = {}

    def adopt(self) -> None:
        """Make the plain template the tokenizer's own, so that a model trained with it is saved with it."""
        if self.is_plain:
            self.tokenizer.chat_template = self.jinja
            self.tokenizer.config.setdefault("eos_token", self._names["eos_token"])

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
        return self._encoded(
            [self._runs(messages, add_generation_prompt, tools, template_kwargs, continue_final)]
        )[0]

    def render_many(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Sequence[dict[str, Any]] | None] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Rendered]:
        """`render` for many conversations, encoded in one batch."""
        all_tools = tools if tools is not None else [None] * len(conversations)
        return self._encoded(
            [
                self._runs(messages, add_generation_prompt, these, template_kwargs)
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
        made: list[list[_Run] | DataError] = []
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
        ends = {self.tokenizer.endoftext_id, *self._ends_of([("user", "u"), ("assistant", "a")])}
        if not self.is_plain and self.tokenizer.end_id is not None:
            ends.add(self.tokenizer.end_id)
        return frozenset(ends)

    @cached_property
    def lead(self) -> str:
        """White space that the template puts between the prompt and an answer (LLaMA 2: one space).

        A model writes it at the beginning of its answer; it is no part of the message.
        """
        try:
            parts, turns = self._parts(_conversation(("user", "u"), ("assistant", "a")))
        except DataError:
            return ""
        inside = "".join(
            placed.part[max(0, turn.start - placed.start) :]
            for turn in turns
            for placed in parts
            if isinstance(placed.part, str) and placed.start < turn.first and placed.end > turn.start
        )
        return "" if inside.strip() else inside

    # ------------------------------------------------------------------ Jinja

    @cached_property
    def _names(self) -> dict[str, str]:
        """The special tokens that a template may write. The plain template needs an end: the end of a document."""
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        found = {name: self.tokenizer.special_text(name) or "" for name in names}
        if self.is_plain and not found["eos_token"]:
            found["eos_token"] = self.tokenizer.token_bytes(self.tokenizer.endoftext_id).decode()
        return found

    def _render_text(
        self,
        messages: list[dict[str, Any]],
        generate: bool,
        tools: Any = None,
        contents: Contents | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        try:
            return self._template.render(
                {
                    **self._names,
                    **(self.template_kwargs if variables is None else variables),
                    "messages": messages,
                    "tools": tools or None,
                    "add_generation_prompt": generate,
                    CONTENTS: contents,
                }
            )
        except (jinja2.TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(f"the chat template refuses a conversation of {roles}: {error}") from None

    def _generation_prompt(self, variables: Mapping[str, Any]) -> str:
        """The template text before an answer, such as `<|assistant|>`; "" where only whole prompts can tell."""
        key = json.dumps(variables, sort_keys=True, default=str)
        if key not in self._prompts:
            user = [{"role": "user", "content": "u"}]
            try:
                without = self._render_text(user, False, variables=variables)
                prompted = self._render_text(user, True, variables=variables)
            except DataError:
                without, prompted = "", ""
            self._prompts[key] = prompted[len(without) :] if prompted.startswith(without) else ""
        return self._prompts[key]

    @cached_property
    def _shows_reasoning(self) -> bool:
        """Whether the template writes the reasoning of the last answer."""
        messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
        thought = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), "\ue002")
        try:
            return "\ue002" in self._render_text([messages[0], messages[1] | thought], False)
        except DataError:
            return False

    def _probed_call(self, arguments: Any) -> str | None:
        """What the template writes for a tool call; None where it refuses."""
        call = {"type": "function", "id": "call00001", "function": {"name": "probed", "arguments": arguments}}
        asked: dict[str, Any] = {"role": "user", "content": "u"}
        try:
            return self._render_text(
                [asked, {"role": "assistant", "content": "", "tool_calls": [call]}], False
            )
        except DataError:
            return None

    @cached_property
    def _arguments(self) -> Arguments:
        """The form of tool arguments that the template can write: text may come out as JSON inside JSON."""
        text, value = self._probed_call('{"q": 1}'), self._probed_call({"q": 1})
        if value is None:
            return "any" if text is None else "text"
        return "object" if text is None or '\\"q\\"' in text else "any"

    @cached_property
    def _shows_calls(self) -> bool:
        """Whether the template writes tool calls; the refusal of a conversation itself says why."""
        written = [self._probed_call(form) for form in ({"q": 1}, '{"q": 1}')]
        return any("probed" in text for text in written if text is not None) or written == [None, None]

    def _check_calls(self, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages, 1):
            if message.tool_calls and not self._shows_calls:
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
    ) -> tuple[list[Placed], list[_Turn]]:
        """The rendered text in parts, and where each turn of the assistant lies in it."""
        contents = Contents(self.tokenizer.special_pattern)
        variables = contents.hide_unsafe({**self.template_kwargs, **_checked(template_kwargs)})
        hidden_tools = contents.hide_unsafe(tools) if tools else None
        rows = [self._hidden(contents, number, message) for number, message in enumerate(messages)]
        rendered = self._render_text(rows, generate, hidden_tools, contents, variables)
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
            start = self._opening(parts, at, self._generation_prompt(variables))
            if start is None:
                prompt = self._prompt_text(rows[:number], hidden_tools, contents, variables)
                before = parts[at - 1].start if at else 0
                start = min(parts[at].start, max(before, _shared(prompt, rendered)))
            turn = _Turn(
                start, parts[at].start, start, self._end(parts, own[number][-1]), message.weight != 0
            )
            if self.reasoning != "trained":
                turn.trained_from = _after_thinking(parts, turn)
            turns.append(turn)
        return parts, turns

    def _hidden(self, contents: Contents, number: int, message: Message) -> dict[str, Any]:
        form = self._arguments if message.tool_calls else "any"
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
            reasoning, text = _cut_thinking(text, self._shows_reasoning)
        if reasoning is None or self.reasoning == "hidden":
            return text, None, False
        return text, reasoning, not self._shows_reasoning and "</think>" not in self.jinja

    def _opening(self, parts: list[Placed], first: int, prompt: str) -> int | None:
        """Where an answer begins in the template text before it: right after the generation prompt."""
        before = parts[first - 1] if first else None
        if not prompt or before is None or not isinstance(before.part, str):
            return None
        at = before.part.rfind(prompt)
        return before.start + at + len(prompt) if at >= 0 else None

    def _prompt_text(self, rows: Any, tools: Any, contents: Contents, variables: Mapping[str, Any]) -> str:
        try:
            return self._render_text(rows, True, tools, contents, variables) if rows else ""
        except DataError:
            return ""

    def _end(self, parts: list[Placed], last: int) -> int:
        """Where a turn ends: after the token that ends it in the template text that follows its last content."""
        content = parts[last]
        following = parts[last + 1] if last + 1 < len(parts) else None
        if following is None or not isinstance(following.part, str):
            return content.end
        found = list(self.tokenizer.special_pattern.finditer(following.part))
        ends = [match for match in found if self.tokenizer.guarded[match[0].strip()] in self._turn_ends]
        ends = ends or [
            m for m in found if self.tokenizer.guarded[m[0].strip()] in self.tokenizer.special_ids
        ]
        return following.start + ends[0].end() if ends else content.end

    @cached_property
    def _turn_ends(self) -> frozenset[int]:
        """Tokens that follow an answer in this template, at the end of a conversation or inside it."""
        once = [("user", "u"), ("assistant", "a")]
        return frozenset({*self._ends_of(once), *self._ends_of(once * 2)})

    def _ends_of(self, turns: Sequence[tuple[Any, str]]) -> Iterator[int]:
        """The first special token after each answer of a conversation."""
        contents = Contents(self.tokenizer.special_pattern)
        messages = _conversation(*turns)
        rows = [contents.hide(n, message, message.content, None, False) for n, message in enumerate(messages)]
        try:
            parts = contents.parse(self._render_text(rows, False, None, contents))
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

    # ------------------------------------------------------------------ parts -> runs -> ids

    def _runs(
        self,
        messages: Sequence[Message],
        generate: bool,
        tools: Any,
        template_kwargs: Mapping[str, Any] | None = None,
        continue_final: bool = False,
    ) -> list[_Run]:
        parts, turns = self._parts(messages, generate, tools, template_kwargs)
        if continue_final:
            own = [
                at
                for at, p in enumerate(parts)
                if isinstance(p.part, Content) and p.part.message == len(messages) - 1
            ]
            if not own:
                raise DataError("the chat template does not show the last message, which is to be continued.")
            parts = parts[: own[-1] + 1]
        starts = {turn.start for turn in turns}
        borders = sorted(starts | {t.trained_from for t in turns} | {t.end for t in turns})
        runs = [_Run()]
        for placed in parts:
            for text, start, special in self._pieces(placed, borders):
                trained = any(t.trained and t.trained_from <= start < t.end for t in turns)
                if start in starts and (runs[-1].text or runs[-1].special is not None):
                    runs.append(_Run(after="text" if runs[-1].special is None else "special"))
                if start in starts:
                    starts.discard(start)
                    runs[-1].opens = True
                if special is not None:
                    if runs[-1].text or runs[-1].special is not None:
                        runs.append(_Run())
                    runs[-1].special = special
                    runs[-1].stretches = [(1, trained)]
                    continue
                if runs[-1].special is not None:
                    runs.append(_Run(after="special"))
                runs[-1].text += text
                runs[-1].stretches.append((len(text), trained))
        return runs

    def _pieces(self, placed: Placed, borders: list[int]) -> Iterator[tuple[str, int, int | None]]:
        """(text, place, special token) of a part; template text is cut at special tokens and at the borders."""
        part, at = placed.part, placed.start
        if isinstance(part, Content):
            yield part.text, at, None
            return
        done = 0
        cuts = [border - at for border in borders if 0 < border - at < len(part)]
        for match in self.tokenizer.special_pattern.finditer(part):
            yield from _cut(part, done, match.start(), cuts, at)
            yield "", at + match.start(), self.tokenizer.guarded[match[0].strip()]
            done = match.end()
        yield from _cut(part, done, len(part), cuts, at)

    def _encoded(self, conversations: Sequence[Sequence[_Run]]) -> list[Rendered]:
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

    def _mixed(self, run: _Run) -> tuple[list[int], list[bool]]:
        """Ids of a run of which some is trained: a token that holds a trained character is trained."""
        flags = [flag for length, flag in run.stretches for _ in range(length)]
        ids, spans = self.tokenizer.encode_with_spans(run.text, run.after)
        return ids, [any(flags[start : max(end, start + 1)]) for start, end in spans]


def _cut(part: str, start: int, end: int, cuts: list[int], at: int) -> Iterator[tuple[str, int, None]]:
    """The text between two places of a part, cut at the borders inside."""
    for border in [*(cut for cut in cuts if start < cut < end), end]:
        if border > start:
            yield part[start:border], at + start, None
        start = border


def _cut_thinking(text: str, shown: bool) -> tuple[str, str]:
    """(reasoning, answer) as the templates of Qwen3 (`shown`) and of DeepSeek-R1 cut a content at </think>."""
    pieces = text.split("</think>")
    thought = pieces[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
    return thought, pieces[-1].lstrip("\n") if shown else pieces[-1]


def _after_thinking(parts: list[Placed], turn: _Turn) -> int:
    """Where the answer of a turn begins: after its reasoning and the text of the template that ends it."""
    found = turn.start
    for placed in parts:
        if placed.end <= turn.start or placed.start >= turn.end:
            continue
        if isinstance(placed.part, Content):
            if placed.part.kind != "reasoning":
                break
            found = placed.end
        elif (at := placed.part.rfind("</think>")) >= 0 and placed.start + at >= turn.start:
            rest = placed.part[at + len("</think>") :]
            found = placed.end - len(rest.lstrip())
    return found


def _shared(one: str, other: str) -> int:
    """The number of characters with which both texts begin."""
    short = min(len(one), len(other))
    return next((at for at in range(short) if one[at] != other[at]), short)


def _conversation(*turns: tuple[Any, str]) -> list[Message]:
    return [Message(role=role, content=content) for role, content in turns]


def _checked(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    if ours := sorted(_OURS & set(kwargs or {})):
        raise UsageError(
            f"chat_template_kwargs holds {ours[0]!r}, which has a parameter of its own; leave it out there."
        )
    return dict(kwargs or {})


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
