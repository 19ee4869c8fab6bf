"""Talking to a model: messages in, text out, streamed or whole, one conversation or thousands.

`Chat` is the one way to generate text from conversations: for the chat and the service, and, with a model in training,
for samples, checks and exams. Several threads may use one `Chat` at once: their requests run as one batch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch

from ziggurat.dialogue.calls import CallMarks
from ziggurat.dialogue.decode import spelled, token_name
from ziggurat.dialogue.desk import Delta, Desk, Request, Usage, Writer
from ziggurat.dialogue.forms import CALLS, Form, Rendering
from ziggurat.dialogue.prompts import Prompts, Tools
from ziggurat.dialogue.stops import StopAtStrings, StopStrings
from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Finish
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams, check_prompt
from ziggurat.engine.rows import LogitsMask
from ziggurat.engine.shared import SharedEngine
from ziggurat.errors import ContextError, ModelFolderError, UsageError
from ziggurat.model.accounting import cache_bytes_per_token, total_parameters
from ziggurat.model.cpu.int8 import load_to_serve
from ziggurat.model.hub.adapters import attach, base_of, read_adapter
from ziggurat.model.padding import right_pad
from ziggurat.model.transformer import Transformer
from ziggurat.places import base_named, model_folder
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.precision import choose_dtype

if TYPE_CHECKING:
    from ziggurat.dialogue.grammar import Forms

ARENA_BYTES = 1 << 30
"""Memory for keys and values of all requests of a model; when it is full, the youngest requests wait."""
MAX_SLOTS, PARKED = 64, 16
"""Requests that run at once, and finished ones kept for the next turn of their conversation."""
CHUNK_FLOPS = 2e10
"""Prefill in one step: 0.1 s or less on two cores, which is the longest pause that it puts into other streams."""


class LoadOptions(TypedDict, total=False):
    """How a model computes, where the default is not wanted."""

    batch_invariant: bool
    weights: str  # auto or int8; see model/cpu/int8.py
    as_trained: bool  # see `Chat`
    draft: str | None  # a smaller model of the same tokenizer that guesses ahead; see engine/speculate.py


@dataclass(frozen=True)
class Answer:
    """A whole answer. `ids` ends with its stop id if `finish` is "stop"; `prompt` holds the ids before it."""

    text: str
    finish: Finish
    usage: Usage
    ids: list[int]
    logprobs: list[float]  # of `ids`: of the tempered, full-vocabulary distribution
    prompt: list[int]


class Chat:
    """A model with its tokenizer and its template."""

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
        """Loads nothing. `model` may be in training; it computes with the weights that it has at each call.

        `is_base`: prompts are raw text, and only the end of a document ends an answer; the default is whether the model
        has no template.
        `as_trained`: prompts are rendered as in training: by the plain template where the model has none, and what the
        template leaves out is left out, not refused.
        `defaults`: the params of a call that gives none; else greedy.
        `batch_invariant`, `small`: how streams and desks compute (see `Engine`); whole batches are not affected.
        """
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ModelFolderError(
                f"{name or 'the model'} has {model.config.vocab_size:,} tokens and its tokenizer "
                f"{tokenizer.vocab_size:,}; they do not belong together, use the tokenizer it was trained with."
            )
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.template = template or ChatTemplate(tokenizer)
        self.is_base = (self.template.is_plain and not as_trained) if is_base is None else is_base
        self.prompts = Prompts(
            tokenizer, self.template, is_base=self.is_base, refuses=not as_trained, name=name
        )
        self.defaults = defaults or SamplingParams(temperature=0.0)
        self.batch_invariant = batch_invariant
        self.small = small
        self.base: Chat | None = None  # of an adapter that shares its weights
        self._shared: SharedEngine | None = None

    @classmethod
    def load(cls, name_or_path: str | Path, **options: Unpack[LoadOptions]) -> Chat:
        """A run by its name, a run folder, a checkpoint, or a Hugging Face folder."""
        folder, base = model_folder(name_or_path), base_named(name_or_path)
        tokenizer = Tokenizer.load(folder)
        template = ChatTemplate(tokenizer)
        model = load_to_serve(folder, choose_dtype()[0], options.get("weights", "auto"), base=base)
        as_trained = options.get("as_trained", False)
        return cls(
            model.eval(),
            tokenizer,
            template=template,
            is_base=None if as_trained else never_chatted(folder, template),
            as_trained=as_trained,
            name=str(name_or_path),
            batch_invariant=options.get("batch_invariant", False),
            small=_load_small(draft, tokenizer) if (draft := options.get("draft")) else None,
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
        template = ChatTemplate(tokenizer)
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

    @property
    def context(self) -> int:
        """Tokens that fit, prompt and answer together."""
        return self.model.config.context

    @property
    def parameters(self) -> int:
        return total_parameters(self.model.config)

    # --- prompts ------------------------------------------------------------------------------------------------

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt of a conversation that awaits an answer."""
        return self.prompts.ids(messages)

    def fit(
        self,
        messages: Sequence[Message],
        reserve: int,
        tools: Tools | None = None,
        rendering: Rendering | None = None,
    ) -> tuple[list[Message], int]:
        """Drop the oldest turns (never a leading system message) until `reserve` tokens are free for the answer.

        Returns the messages that are left and how many were dropped. The last question is never dropped.
        """
        kept = list(messages)
        first = 1 if kept and kept[0].role == "system" else 0
        reserve = min(reserve, self.context // 2)
        while len(self.prompts.ids(kept, tools, rendering)) + reserve > self.context:
            following = [i for i in range(first + 1, len(kept)) if kept[i].role == "user"]
            if not following:
                break
            del kept[first : following[0]]
        return kept, len(messages) - len(kept)

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
        stop: Sequence[str] = (),
        tools: Sequence[Tools | None] | None = None,
    ) -> list[str]:
        """The texts of `answer_many`."""
        return [answer.text for answer in self.answer_many(conversations, params, stop=stop, tools=tools)]

    def answer_many(
        self,
        conversations: Sequence[Sequence[Message]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        stop: Sequence[str] = (),
        tools: Sequence[Tools | None] | None = None,
        last: int | None = None,
    ) -> list[Answer]:
        """Answers with their ids, reasons and counts, computed as one batch; `params.n` answers for each conversation.

        One `params` for all: conversation i draws by (seed, i). One `params` each: each draws by its own seed. Each
        answer has the room that its own prompt leaves in the context, and `max_tokens` at most. The template's stop
        ids are added to those of `params`. `tools`: those of each conversation, for the template. `last`: only so many
        tokens of each prompt are kept, its last ones. ContextError names the first conversation that leaves no room.
        """
        return self._generate(self.prompts.many(conversations, tools), params, stop, last, "conversation")

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
        completions = iter(generate(self.model, prompts, wanted, stop_rules=rules))
        answers = []
        for ids, one in zip(prompts, given, strict=True):
            for _ in range(one.n):
                made, text = next(completions), StopStrings(stop)
                shown = text.push(self.tokenizer.decode(made.ids)) + text.flush()
                usage = Usage(len(ids), len(made.ids))
                answers.append(Answer(shown, made.finish, usage, made.ids, made.logprobs, ids))
        return answers

    # --- tokens -------------------------------------------------------------------------------------------------

    @property
    def uses_tools(self) -> bool:
        """Whether its template puts tools into the prompt; a call can be forced for any model."""
        return self.prompts.shows_tools

    def raw_ids(self, text: str) -> list[int]:
        """Trusted text: `<|endoftext|>` and its kin are parsed."""
        return self.tokenizer.encode_with_specials(text)

    def text_ids(self, text: str) -> list[int]:
        """Untrusted text: `<|endoftext|>` and its kin stay text."""
        return self.tokenizer.encode(text)

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens by their names."""
        self._check_known(ids)
        return self.tokenizer.decode(ids, skip_special=False)

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """`text_of`, and for each token the character of that text at which it begins."""
        text = self.text_of(ids)
        joined, starts = spelled(self.tokenizer, ids)
        dropped = (
            len(joined) - len(text) if joined.endswith(text) else 0
        )  # some decoders drop a leading space
        return text, [min(max(start - dropped, 0), len(text)) for start in starts]

    def _check_known(self, ids: Sequence[int]) -> None:
        if strange := [id for id in ids if id >= self.tokenizer.vocab_size]:
            raise UsageError(
                f"token {strange[0]} is outside the vocabulary of {self.tokenizer.vocab_size:,} tokens."
            )

    def token_name(self, id: int) -> str:
        return token_name(self.tokenizer, id)

    def token_bytes(self, id: int) -> bytes | None:
        """What a token adds to the text; None for a special token, which adds nothing."""
        silent = id >= self.tokenizer.vocab_size or id in self.tokenizer.special_ids
        return None if silent else self.tokenizer.token_bytes(id)

    def tokenizer_info(self) -> dict[str, Any]:
        """What a client needs in order to write prompts of its own."""
        eos = self.tokenizer.token_bytes(self.tokenizer.endoftext_id).decode()
        return {
            "tokenizer_class": self.tokenizer.config.get("tokenizer_class", "PreTrainedTokenizerFast"),
            "eos_token": eos,
            "bos_token": self.tokenizer.special_text("bos_token"),
            "pad_token": self.tokenizer.token_bytes(self.tokenizer.pad_id).decode(),
            "chat_template": None if self.is_base else self.template.jinja,
            "vocab_size": self.tokenizer.vocab_size,
            "max_model_len": self.context,
        }

    @torch.inference_mode()
    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of length 1 for each prompt: the mean of the last layer's states of its tokens.

        Give prompts of similar length together. These models are not trained to embed: near vectors mean shared words
        more than shared meaning.
        """
        for ids in prompts:
            self._must_fit(ids)
        rows, lengths = (part.to(self.model.embedding.weight.device) for part in right_pad(prompts, 0))
        hidden = self.model.hidden(rows).float()  # (B, T, C)
        within = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]  # (B, T)
        mean = (hidden * within[..., None]).sum(1) / lengths[:, None]
        vectors: list[list[float]] = torch.nn.functional.normalize(mean, dim=-1).tolist()
        return vectors

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
    ) -> Request:
        """Raw text (special tokens are parsed) or ids as a request: nothing is put before them."""
        ids = self.raw_ids(prompt) if isinstance(prompt, str) else prompt
        ids = self._cut(ids or [self.tokenizer.endoftext_id], last, params)
        self._must_fit(ids)
        return Request(ids=ids, params=self._with_stops(params), stop=stop, mask=self._mask(form))

    def _cut(self, ids: Sequence[int], last: int | None, params: SamplingParams) -> Sequence[int]:
        """The last tokens of a prompt; -1: as many as leave room for the answer, and half of the context at least."""
        if last is None:
            return ids
        if last > self.context:
            raise ContextError(
                f"{last:,} tokens of the prompt should be kept and the context is {self.context:,}; keep fewer."
            )
        return ids[-(last if last > 0 else self.context - min(params.max_tokens, self.context // 2)) :]

    def _mask(self, form: Form | None) -> LogitsMask | None:
        return None if form is None else self._forms.mask(form)

    @cached_property
    def _forms(self) -> Forms:
        from ziggurat.dialogue.grammar import Forms  # imported when the first form is asked for

        return Forms(self.tokenizer, self.model.config.vocab_size, self._ends, self.marks)

    @property
    def marks(self) -> CallMarks:
        """How the model marks its tool calls."""
        return self.prompts.marks

    @property
    def _ends(self) -> frozenset[int]:
        return frozenset({self.tokenizer.endoftext_id}) if self.is_base else self.template.stop_ids

    def _must_fit(self, ids: Sequence[int]) -> None:
        check_prompt(ids, self.context, self.model.config.vocab_size)

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


def _load_small(name: str, tokenizer: Tokenizer) -> Transformer:
    folder = model_folder(name)
    own = Tokenizer.load(folder)
    both = range(tokenizer.vocab_size)
    if own.vocab_size != len(both) or any(own.token_bytes(i) != tokenizer.token_bytes(i) for i in both):
        raise UsageError(
            f"{name} has another tokenizer than the model it should guess for; choose one of its family."
        )
    return load_to_serve(folder, choose_dtype()[0])


def never_chatted(folder: Path, template: ChatTemplate) -> bool:
    """Whether no stage in the lineage of the model in `folder` taught it conversations.

    Where the lineage ends in a model from elsewhere, or there is none, a model with a chat template knows them.
    """
    entry: dict[str, Any] | None = None
    for place in (folder, *folder.parents[:3]):  # a run, its model/, or checkpoints/step-n/policy inside it
        if (place / "manifest.json").is_file():
            entry = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
            break
    if entry is None:
        return template.is_plain
    while entry:
        stage = entry.get("stage")
        if stage is None:
            return template.is_plain
        if stage != "pretrain":
            return False
        entry = entry.get("parent")
    return True
