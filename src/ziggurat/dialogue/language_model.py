"""A model with its tokenizer and its chat template: conversations and texts to ids, ids to texts and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ziggurat.dialogue.calls import CallMarks
from ziggurat.dialogue.decode import spelled, token_name
from ziggurat.dialogue.forms import Rendering
from ziggurat.dialogue.prompts import Prompts, Tools
from ziggurat.engine.params import SamplingParams, check_prompt
from ziggurat.errors import ContextError, ModelFolderError, UsageError
from ziggurat.model.accounting import total_parameters
from ziggurat.model.padding import right_pad
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate


class LanguageModel:
    """Knows what a model reads and writes; `Chat` adds how answers are generated."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        template: ChatTemplate | None = None,
        is_base: bool | None = None,
        as_trained: bool = False,
        name: str = "",
    ) -> None:
        """Loads nothing. `model` may be in training; it computes with the weights that it has at each call.

        `is_base`: prompts are raw text, and only the end of a document ends an answer; the default is whether the model
        has no template.
        `as_trained`: prompts are rendered as in training: by the plain template where the model has none, and what the
        template leaves out is left out, not refused.
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

    def _cut(self, ids: Sequence[int], last: int | None, params: SamplingParams) -> Sequence[int]:
        """The last tokens of a prompt; -1: as many as leave room for the answer, and half of the context at least."""
        if last is None:
            return ids
        if last > self.context:
            raise ContextError(
                f"{last:,} tokens of the prompt should be kept and the context is {self.context:,}; keep fewer."
            )
        return ids[-(last if last > 0 else self.context - min(params.max_tokens, self.context // 2)) :]

    @property
    def uses_tools(self) -> bool:
        """Whether its template puts tools into the prompt; a call can be forced for any model."""
        return self.prompts.shows_tools

    @property
    def marks(self) -> CallMarks:
        """How the model marks its tool calls."""
        return self.prompts.marks

    @property
    def _ends(self) -> frozenset[int]:
        return frozenset({self.tokenizer.endoftext_id}) if self.is_base else self.template.stop_ids

    def _must_fit(self, ids: Sequence[int]) -> None:
        check_prompt(ids, self.context, self.model.config.vocab_size)

    # --- tokens -------------------------------------------------------------------------------------------------

    def raw_ids(self, text: str, *, add_start: bool = True) -> list[int]:
        """Trusted text: `<|endoftext|>` and its kin are parsed. `add_start`: begin it as the tokenizer itself does."""
        ids = self.tokenizer.encode_with_specials(text)
        return self.tokenizer.with_start(ids) if add_start else ids

    def text_ids(self, text: str) -> list[int]:
        """Untrusted text: `<|endoftext|>` and its kin stay text; it begins as the tokenizer itself begins a text."""
        return self.tokenizer.with_start(self.tokenizer.encode(text))

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens by their names."""
        self._check_known(ids)
        return self.tokenizer.decode(ids, skip_special=False)

    def spelled(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """`text_of`, and for each token the character of that text at which it begins."""
        text = self.text_of(ids)
        joined, starts = spelled(self.tokenizer, ids)
        # some decoders drop a leading space
        dropped = len(joined) - len(text) if joined.endswith(text) else 0
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
