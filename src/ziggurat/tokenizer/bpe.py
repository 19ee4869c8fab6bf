"""The tokenizer: text to ids and back, trained here or loaded from any Hugging Face folder.

making.py makes a vocabulary, folder.py reads and writes its files.

One promise shapes this file: **text never becomes a special token**. `encode` runs on a copy of the tokenizer without
its special tokens, so `<|assistant|>` typed by a user is ordinary characters. Special tokens
enter through the chat template (template.py), through `endoftext_id` in packing, and through
`encode_with_specials`, which only the raw endpoints call.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tokenizers as hf
from tokenizers import AddedToken, models

from ziggurat.data_files import whole_characters
from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.tokenizer.folder import content_of, read_folder, write_folder
from ziggurat.tokenizer.jinja import ZIGGURAT_JINJA
from ziggurat.tokenizer.making import ENDOFTEXT, SPECIALS, character_vocabulary, train_bpe
from ziggurat.tokenizer.twin import bytes_of_tokens, escaping, is_byte_level, without

# Names under which published models end a turn, tried in this order when a folder does not use ours.
_END_OF_TURN = ("<|end|>", "<|im_end|>", "<|eot_id|>", "<|eot|>", "<end_of_turn>", "<|return|>")
# Added tokens that are not "special" but mark structure (<tool_call>, [INST]) are guarded like special ones;
# others, such as runs of spaces in code models, are ordinary text.
_MARKER = re.compile(r"\s*[<\[|].*[>\]|]\s*", re.DOTALL)
_ANCHORS = ("]", "。", "0", "")
"""Texts that may stand before a piece while it is encoded, if a token would join the piece to the first one tried."""

Before = Literal["nothing", "special", "text"]
"""What a piece of text follows: it decides whether SentencePiece vocabularies put a space before it."""


class Tokenizer:
    """Text in, ids out, and the ids that have names. Construct by `train`, `characters` or `load`."""

    def __init__(
        self, full: hf.Tokenizer, config: Mapping[str, Any] | None = None, chat_template: str | None = None
    ):
        full.no_padding()
        full.no_truncation()
        self._full = full
        self.config: dict[str, Any] = dict(config or {})
        self.chat_template = chat_template
        self._added: dict[int, AddedToken] = dict(full.get_added_tokens_decoder())
        self.guarded: dict[str, int] = {
            token.content: id
            for id, token in self._added.items()
            if token.special or _MARKER.fullmatch(token.content)
        }
        self.special_ids = frozenset(id for id, token in self._added.items() if token.special)
        self._plain = without(full, self.guarded)
        self._moved = {
            moved: id
            for id, token in self._added.items()
            if token.content not in self.guarded and (moved := self._plain.token_to_id(token.content)) != id
        }
        self._escape = escaping(self._plain, self.guarded)

    # ------------------------------------------------------------------ making

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Byte-level BPE: start from the 256 bytes, merge the most frequent pair, until `vocab_size` is reached."""
        return cls._own(train_bpe(texts, vocab_size))

    @classmethod
    def characters(cls, text: str, *, byte_fallback: bool = True) -> Tokenizer:
        """One token per character of `text`; other characters become their UTF-8 bytes, `<0xE8><0x8C><0x9D>`.

        Without `byte_fallback` the vocabulary is 256 tokens smaller and a strange character is refused.
        """
        return cls._own(character_vocabulary(text, byte_fallback=byte_fallback))

    @classmethod
    def _own(cls, full: hf.Tokenizer) -> Tokenizer:
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": ENDOFTEXT,
            "pad_token": "<|pad|>",
            "clean_up_tokenization_spaces": False,
        }
        return cls(full, config, ZIGGURAT_JINJA)

    # ------------------------------------------------------------------ disk

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read `tokenizer.json` and, where they are, `tokenizer_config.json` and `chat_template.jinja`."""
        return cls(*read_folder(Path(folder)))

    def save(self, folder: Path) -> None:
        """Write the three files that transformers.AutoTokenizer, vLLM and llama.cpp's converter read."""
        write_folder(Path(folder), self._full, self.config, self.chat_template)

    def to_json(self) -> str:
        """The text of tokenizer.json."""
        text: str = self._full.to_str(pretty=True)
        return text

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the ids: equal fingerprints, equal ids for every text."""
        state = json.loads(self._full.to_str())
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    # ------------------------------------------------------------------ text to ids

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, never a special token among them."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, on all threads: several times faster than one by one."""
        cleaned = [self._escape(whole_characters(text)) for text in texts]
        encodings = self._plain.encode_batch_fast(cleaned, add_special_tokens=False)
        ids: list[list[int]] = [self._replaced(encoding.ids) for encoding in encodings]
        if not self._always_covers:
            for text, row in zip(cleaned, ids, strict=True):
                self._refuse_unknown(text, row)
        return ids

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_batch` of whole texts for stage 1: each begins with bos where the tokenizer's own encoding does."""
        return [[*self.added_start, *ids] for ids in self.encode_batch(texts)]

    def encode_pieces(self, pieces: Sequence[tuple[str, Before]]) -> list[list[int]]:
        """The ids of texts, each as it is encoded after what it follows."""
        anchors = [self._anchor(before) for _, before in pieces]
        ids = self.encode_batch([anchor + text for anchor, (text, _) in zip(anchors, pieces, strict=True)])
        return [
            self._after(anchor, row, text) if anchor else row
            for anchor, row, (text, _) in zip(anchors, ids, pieces, strict=True)
        ]

    def encode_with_spans(
        self, text: str, before: Before = "nothing"
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """`encode`, and for each token the characters from which and up to which it reaches."""
        anchor = self._anchor(before)
        encoding = self._plain.encode(self._escape(whole_characters(anchor + text)), add_special_tokens=False)
        ids, spans = self._replaced(encoding.ids), list(encoding.offsets)
        first = self.encode(anchor) if anchor else []
        if ids[: len(first)] != first:
            return self.encode_with_spans(text)
        gone = len(anchor)
        return ids[len(first) :], [(max(0, a - gone), b - gone) for a, b in spans[len(first) :]]

    def _after(self, anchor: str, ids: list[int], text: str) -> list[int]:
        """What is left of the ids of anchor + text; another anchor is tried where a token crosses the border."""
        first = self.encode(anchor)
        for other in _ANCHORS:
            if ids[: len(first)] == first:
                return ids[len(first) :]
            first, ids = self.encode(other), self.encode(other + text)
        return self.encode(text)

    def _anchor(self, before: Before) -> str:
        """A text to encode before a piece, and to take away again, so that the piece gets no space of its own."""
        if before == "nothing" or self.is_own or not self._text_anchor:
            return ""
        return self._text_anchor if before == "text" or not self._spaces_after_special else ""

    @cached_property
    def _text_anchor(self) -> str:
        """ "" where the beginning of a text is encoded like its middle, as byte-level vocabularies do."""
        first = self.encode("\n")
        return "" if self.encode("\na") == [*first, *self.encode("a")] else "\n"

    @cached_property
    def _spaces_after_special(self) -> bool:
        """Whether text after a special token begins like text after nothing (Metaspace's "always", not "first")."""
        for name, id in self.guarded.items():
            return bool(self.encode_with_specials(f"{name}a") == [id, *self.encode("a")])
        return True

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Finds special tokens in trusted text, with the spaces that some of them swallow."""
        parts = []
        for name in sorted(self.guarded, key=len, reverse=True):
            token = self.added_token(self.guarded[name])
            parts.append(
                (r"\s*" if token.lstrip else "") + re.escape(name) + (r"\s*" if token.rstrip else "")
            )
        return re.compile("|".join(parts)) if parts else re.compile(r"(?!)")

    def _replaced(self, ids: list[int]) -> list[int]:
        """Added tokens that are ordinary text (runs of spaces) may have other ids in the copy without specials."""
        return [self._moved.get(id, id) for id in ids] if self._moved else ids

    def encode_with_specials(self, text: str) -> list[int]:
        """Like `encode`, but `<|endoftext|>` and its kin are parsed: for raw endpoints and trusted text only."""
        return list(self._full.encode(whole_characters(text), add_special_tokens=False).ids)

    def with_start(self, ids: Sequence[int]) -> list[int]:
        """The ids of a raw text as the tokenizer's own encoding begins them; bos is not put before bos.

        transformers would put a second one before a text that a chat template has begun with bos.
        """
        start = self.added_start
        return list(ids) if start and list(ids[:1]) == start else [*start, *ids]

    # ------------------------------------------------------------------ ids to text

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return str(self._full.decode(list(ids), skip_special_tokens=skip_special))

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token (a special token: its name); joined, they are the UTF-8 of the text."""
        return self._bytes[id]

    def piece(self, id: int) -> str:
        """The token as people read it; bytes that are no whole character appear as `<0xE8>`."""
        raw = self.token_bytes(id)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in raw)

    @cached_property
    def _bytes(self) -> list[bytes]:
        return bytes_of_tokens(self._full, self.vocab_size, self._added, metaspace=not self.is_own)

    # ------------------------------------------------------------------ names

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id: what the model's embedding needs."""
        return max(self._full.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def is_own(self) -> bool:
        return all(self._full.token_to_id(special) == id for id, special in enumerate(SPECIALS))

    @cached_property
    def endoftext_id(self) -> int:
        """What separates documents."""
        found = self.id_of(ENDOFTEXT)
        found = found if found is not None else self._configured("eos_token")
        if found is None:
            raise ModelFolderError(
                f'the tokenizer has neither {ENDOFTEXT} nor an "eos_token"; name one in tokenizer_config.json'
            )
        return found

    @cached_property
    def bos_id(self) -> int | None:
        """The token that begins a text, where the tokenizer names one."""
        return self._configured("bos_token")

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer's own encoding of raw text begins with `bos_id` (LLaMA; not GPT-2 or Qwen).

        As in transformers 5, the post-processor of tokenizer.json alone decides.
        """
        return self.bos_id is not None and self._full.encode("", add_special_tokens=True).ids[:1] == [
            self.bos_id
        ]

    @property
    def added_start(self) -> list[int]:
        """What the tokenizer's own encoding puts before a raw text: `bos_id`, or nothing."""
        return [self.bos_id] if self.adds_bos and self.bos_id is not None else []

    @property
    def text_start_id(self) -> int:
        """The token before a raw text: `bos_id` where the tokenizer adds it, else the end of the document before."""
        return next(iter(self.added_start), self.endoftext_id)

    @cached_property
    def pad_id(self) -> int:
        found = self.id_of("<|pad|>")
        found = found if found is not None else self._configured("pad_token")
        return found if found is not None else self.endoftext_id

    @cached_property
    def end_id(self) -> int | None:
        """What ends an assistant's turn, where the tokenizer has such a token."""
        named = [id for name in _END_OF_TURN if (id := self.id_of(name)) is not None]
        return named[0] if named else self._configured("eos_token")

    def id_of(self, token: str) -> int | None:
        found: int | None = self._full.token_to_id(token)
        return found

    def special_text(self, name: str) -> str | None:
        """The text of `eos_token`, `bos_token` ... as tokenizer_config.json names it (a string or an object)."""
        text: str | None = content_of(self.config.get(name))
        return text

    def added_token(self, id: int) -> AddedToken:
        return self._added[id]

    def _configured(self, name: str) -> int | None:
        text = self.special_text(name)
        return self.id_of(text) if text else None

    # ------------------------------------------------------------------ characters without bytes to fall back on

    @cached_property
    def _always_covers(self) -> bool:
        model = self._full.model
        if not isinstance(model, models.BPE) or is_byte_level(self._full):
            return True
        return bool(model.byte_fallback or model.unk_token)

    def _refuse_unknown(self, text: str, ids: list[int]) -> None:
        if len(ids) == len(text):
            return
        strange = sorted({char for char in text if self.id_of(char) is None})
        raise ConfigError(
            f"the character vocabulary has no {strange[0]!r} (and {len(strange) - 1} more); "
            "make it from all of your text, or with byte fallback"
        )
