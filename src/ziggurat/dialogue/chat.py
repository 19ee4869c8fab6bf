"""Talking to a model: messages in, text out, streamed or whole, one conversation or thousands.

`Chat` is the one way to generate text from conversations: for the chat and the service, and, with a model in training,
for samples, checks and exams. Several threads may use one `Chat` at once: their requests run as one batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ziggurat.dialogue.desk import Delta, Desk, Request, Usage, Writer
from ziggurat.dialogue.forms import CALLS, Form, Rendering
from ziggurat.dialogue.language_model import LanguageModel
from ziggurat.dialogue.loading import LoadOptions, load_draft, load_weights, never_chatted
from ziggurat.dialogue.prompts import Tools
from ziggurat.dialogue.stops import StopAtStrings, StopStrings
from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Finish
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.rows import LogitsMask
from ziggurat.engine.shared import SharedEngine
from ziggurat.errors import ContextError, UsageError
from ziggurat.model.accounting import cache_bytes_per_token
from ziggurat.model.hub.adapters import attach, base_of, read_adapter
from ziggurat.model.transformer import Transformer
from ziggurat.places import base_named, model_folder, reasoning_of
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

if TYPE_CHECKING:
    from ziggurat.dialogue.grammar import Forms

ARENA_BYTES = 1 << 30
"""Memory for keys and values of all requests of a model; when it is full, the youngest requests wait."""
MAX_SLOTS, PARKED = 64, 16
"""Requests that run at once, and finished ones kept for the next turn of their conversation."""
CHUNK_FLOPS = 2e10
"""Prefill in one step: 0.1 s or less on two cores, which is the longest pause that it puts into other streams."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. `ids` ends with its stop id if `finish` is "stop"; `prompt` holds the ids before it."""

    text: str
    finish: Finish
    usage: Usage
    ids: list[int]
    logprobs: list[float]  # of `ids`: of the tempered, full-vocabulary distribution
    prompt: list[int]


class Chat(LanguageModel):
    """A model that answers."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        template: ChatTemplate | None = None,
        is_base: bool | None = None,
        as_trained: bool = False,
        defaults: SamplingParams | None = None,
        name: str = "",
        batch_invariant: bool = False,
        small: Transformer | None = None,
    ) -> None:
        """Loads nothing; see `LanguageModel` for the first arguments.

        `defaults`: the params of a call that gives none; else greedy.
        `batch_invariant`, `small`: how streams and desks compute (see `Engine`); whole batches are not affected.
        """
        super().__init__(
            model, tokenizer, template=template, is_base=is_base, as_trained=as_trained, name=name
        )
        self.defaults = defaults or SamplingParams(temperature=0.0)
        self.batch_invariant, self.small = batch_invariant, small
        self.base: Chat | None = None  # of an adapter that shares its weights
        self._shared: SharedEngine | None = None

    @classmethod
    def load(cls, name_or_path: str | Path, **options: Unpack[LoadOptions]) -> Chat:
        """A run by its name, a run folder, a checkpoint, or a Hugging Face folder."""
        folder, base = model_folder(name_or_path), base_named(name_or_path)
        tokenizer = Tokenizer.load(folder)
        template = ChatTemplate(tokenizer, reasoning=reasoning_of(folder))
        model = load_weights(folder, options.get("weights", "auto"), base=base)
        as_trained = options.get("as_trained", False)
        return cls(
            model.eval(),
            tokenizer,
            template=template,
            is_base=None if as_trained else never_chatted(folder, template),
            as_trained=as_trained,
            name=str(name_or_path),
            batch_invariant=options.get("batch_invariant", False),
            small=load_draft(draft, tokenizer) if (draft := options.get("draft")) else None,
        )

    def with_adapter(self, name: str | Path) -> Chat:
        """BASE@ADAPTER over this model, the base: another `Chat` that shares its weights.

        Raises ModelFolderError for an adapter of another base.
        """
        folder = model_folder(name)
        base_of(folder, self.model.source)
        tokenizer = Tokenizer.load(
            folder if (folder / "tokenizer.json").is_file() else self.model.source or folder
        )
        template = ChatTemplate(tokenizer, reasoning=reasoning_of(folder))
        chat = Chat(
            attach(self.model, read_adapter(folder)).eval(),
            tokenizer,
            template=template,
            is_base=never_chatted(folder, template),
            name=str(name),
            batch_invariant=self.batch_invariant,
            small=self.small,
        )
        chat.base = self
        return chat

    # --- answers ------------------------------------------------------------------------------------------------

    def stream(
        self, messages: Sequence[Message], params: SamplingParams, *, stop: Sequence[str] = ()
    ) -> Iterator[Delta]:
        """The answer, piece by piece. Closing the iterator frees the model for others at once."""
        return self._stream(self.prompt_ids(messages), self._with_stops(params), stop)

    def complete(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *, stop: Sequence[str] = ()
    ) -> str:
        return self.answer_many([messages], params, stop=stop)[0].text

    def complete_many(
        self,
        conversations: Sequence[Sequence[Message]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        tools: Sequence[Tools | None] | None = None,
    ) -> list[str]:
        """The texts of `answer_many`."""
        return [answer.text for answer in self.answer_many(conversations, params, tools=tools)]

    def answer_many(
        self,
        conversations: Sequence[Sequence[Message]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        stop: Sequence[str] = (),
        tools: Sequence[Tools | None] | None = None,
        last: int | None = None,
        form: Form | None = None,
    ) -> list[Answer]:
        """Answers with their ids, reasons and counts, computed as one batch; `params.n` answers for each conversation.

        One `params` for all: conversation i draws by (seed, i). One `params` each: each draws by its own seed. Each
        answer has the room that its own prompt leaves in the context, and `max_tokens` at most. The template's stop
        ids are added to those of `params`. `tools`: those of each conversation, for the template. `last`: only so many
        tokens of each prompt are kept, its last ones. `form`: what every answer must look like (dialogue/grammar.py).
        ContextError names the first conversation that leaves no room.
        """
        return self._generate(
            self.prompts.many(conversations, tools), params, stop, last, "conversation", form
        )

    def stream_text(self, text: str, params: SamplingParams, *, stop: Sequence[str] = ()) -> Iterator[Delta]:
        """Continue raw text, piece by piece, whatever stage the model is of."""
        return self._stream(self.prompts.raw([text])[0], self._with_stops(params), stop)

    def continue_many(
        self,
        texts: Sequence[str],
        params: SamplingParams | Sequence[SamplingParams],
        *,
        stop: Sequence[str] = (),
        last: int | None = None,
    ) -> list[Answer]:
        """`answer_many` for raw texts: continues them, whatever stage the model is of."""
        return self._generate(self.prompts.raw(texts), params, stop, last, "text")

    def continue_ids(
        self,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams],
        *,
        stop: Sequence[str] = (),
        last: int | None = None,
        form: Form | None = None,
    ) -> list[Answer]:
        """`continue_many` for prompts that are ids already; they are used as they are."""
        return self._generate([list(ids) for ids in prompts], params, stop, last, "prompt", form)

    def _with_stops(self, params: SamplingParams) -> SamplingParams:
        return dataclasses.replace(params, stop_ids=params.stop_ids | self._ends)

    def _stream(self, ids: list[int], params: SamplingParams, stop: Sequence[str]) -> Iterator[Delta]:
        if params.n != 1 or params.beam:
            raise UsageError(
                "only one sampled answer can be streamed; ask for several, or for a beam, at once."
            )
        request = Request(ids=ids, params=params, stop=stop)
        writer = Writer(self.tokenizer, request)
        rule = StopAtStrings(self.tokenizer, stop) if stop else None
        for event in self._engine().stream(ids, params, stop_rule=rule):
            for delta in writer.push(event):
                if delta.text or delta.finish is not None:
                    yield delta

    def _generate(
        self,
        prompts: list[list[int]],
        params: SamplingParams | Sequence[SamplingParams] | None,
        stop: Sequence[str],
        last: int | None,
        what: str,
        form: Form | None = None,
    ) -> list[Answer]:
        """`what` the prompts are, for the message about one that does not fit."""
        params = self.defaults if params is None else params
        if last is not None:
            prompts = [ids[-last:] for ids in prompts]
        for number, ids in enumerate(prompts, start=1):
            if len(ids) >= self.context:
                raise ContextError(
                    f"{what} {number} has {len(ids):,} tokens and the context is {self.context:,}, so nothing can be "
                    "added; shorten it."
                )
        alone = isinstance(params, SamplingParams)
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
        given = [self._with_stops(one) for one in each]
        rules = [StopAtStrings(self.tokenizer, stop) for _ in prompts] if stop else None
        wanted = given[0] if alone and given else given
        masks = None if form is None else [self._mask(form) for _ in prompts]
        completions = iter(generate(self.model, prompts, wanted, stop_rules=rules, logits_masks=masks))
        answers = []
        for ids, one in zip(prompts, given, strict=True):
            for _ in range(one.n):
                made, text = next(completions), StopStrings(stop)
                shown = text.push(self.tokenizer.decode(made.ids)) + text.flush()
                usage = Usage(len(ids), len(made.ids))
                answers.append(Answer(shown, made.finish, usage, made.ids, made.logprobs, ids))
        return answers

    # --- many requests at once, for a service ----------------------------------------------------------------------

    def prepare(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        fit: bool = False,
        last: int | None = None,
        tools: Tools | None = None,
        form: Form | None = None,
        rendering: Rendering | None = None,
    ) -> Request:
        """A conversation as a request. With `fit`, its oldest turns are dropped if it outgrew the context.

        `last`: only so many tokens of the prompt, its last ones; see `_cut`. `form`: what the answer must look like;
        see dialogue/grammar.py. UsageError if the template cannot show the tools, unless the form forces a call.
        """
        forced = form is not None and form.kind == "call"
        if tools and not self.uses_tools:
            if not forced:
                raise UsageError(
                    f"the chat template of {self.name or 'the model'} does not show tools; leave out tools, "
                    "force a call with tool_choice, or ask a model whose template shows them."
                )
            tools = None
        kept, dropped = list(messages), 0
        if fit:
            kept, dropped = self.fit(messages, params.max_tokens, tools, rendering)
        ids = self._cut(self.prompts.ids(kept, tools, rendering), last, params)
        self._must_fit(ids)
        calls = bool(tools) or (form is not None and form.kind in CALLS)
        return Request(
            ids=ids,
            params=self._with_stops(params),
            stop=stop,
            dropped=dropped,
            mask=self._mask(form),
            marks=self.marks if calls else None,
        )

    def prepare_raw(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        last: int | None = None,
        form: Form | None = None,
        add_start: bool = True,
    ) -> Request:
        """Raw text (see `raw_ids`), or ids, which are used as they are, as a request."""
        own = self.raw_ids(prompt, add_start=False) if isinstance(prompt, str) else list(prompt)
        ids = self.tokenizer.with_start(own) if isinstance(prompt, str) and add_start else own
        kept = self._cut(ids or [self.tokenizer.text_start_id], last, params)
        self._must_fit(kept)
        return Request(
            ids=kept,
            params=self._with_stops(params),
            stop=stop,
            added=len(ids) - len(own) if len(kept) == len(ids) else 0,
            mask=self._mask(form),
        )

    def _mask(self, form: Form | None) -> LogitsMask | None:
        return None if form is None else self._forms.mask(form)

    @cached_property
    def _forms(self) -> Forms:
        from ziggurat.dialogue.grammar import Forms  # imported when the first form is asked for

        return Forms(self.tokenizer, self.model.config.vocab_size, self._ends, self.marks)

    def desk(self) -> Desk:
        """A desk with an engine of its own."""
        return Desk(self._new_engine(), self.tokenizer)

    def _engine(self) -> SharedEngine:
        if self._shared is None:
            self._shared = SharedEngine(self._new_engine())
        return self._shared

    def _new_engine(self) -> Engine:
        tokens = ARENA_BYTES // cache_bytes_per_token(self.model.config, self.model.compute_dtype)
        return Engine(
            self.model,
            max_slots=MAX_SLOTS,
            parked=PARKED,
            cache_tokens=tokens,
            chunk_flops=CHUNK_FLOPS,
            batch_invariant=self.batch_invariant,
            small=self.small,
        )
