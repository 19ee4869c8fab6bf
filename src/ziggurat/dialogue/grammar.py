"""Answers of a given form: a JSON schema, a regular expression, one of several texts, a context-free grammar.

A form is compiled (by llguidance, which also reads the schema) into a matcher over this tokenizer's bytes; before each
token it says which may come next, and the engine, which knows no text, sees only that mask. Where the form is complete,
nothing but a token that ends the answer is allowed; so an answer is valid, or it was cut off by a limit.

JSON is written as `{"a": 1, "b": [2, 3]}`: one space after commas and colons and no other, for a small model asked for
JSON may otherwise write spaces for ever. What of JSON Schema is understood: types, enum, const, properties, required,
additionalProperties, patternProperties, items, prefixItems, min/max of lengths, items and numbers, pattern, format
(of the common ones), anyOf, oneOf (as anyOf where the branches cannot both hold), allOf, $ref, $defs. Anything else is
refused by name rather than ignored.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import llguidance
import numpy as np
import torch
from torch import Tensor

from ziggurat.dialogue.forms import Form
from ziggurat.errors import UsageError
from ziggurat.tokenizer.bpe import Tokenizer

JSON_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
TIMES = {
    "time": f"^{_TIME}$",
    "date-time": f"^[12][0-9]{{3}}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T{_TIME}$",
}
"""Without leap seconds, which are valid at one moment only, and without the last days of months."""
TOOL = "<|tool|>"
MAX_FORM_CHARS = 100_000
LARGEST_NUMBER = 10**15
"""Of numbers that a schema does not bound; below 2**53, so that every reader has the same number."""


def compiled(form: Form) -> str:
    """As llguidance takes it."""
    matcher = llguidance.LLMatcher
    if form.kind == "regex":
        return matcher.grammar_from_regex(form.text)
    if form.kind == "grammar":
        return matcher.grammar_from_lark(form.text)
    if form.kind == "choice":
        texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in json.loads(form.text))
        return matcher.grammar_from_lark(f"start: {texts}")
    schema = {**_narrowed(json.loads(form.text)), "x-guidance": JSON_OPTIONS}
    if form.kind == "tool":
        return matcher.grammar_from_lark(f"start: {TOOL} call\ncall: %json {json.dumps(schema)}")
    if form.kind == "calls":  # what comes before the first is none of its business: see CallsMask
        return matcher.grammar_from_lark(f"start: call ({TOOL} call)*\ncall: %json {json.dumps(schema)}")
    return matcher.grammar_from_json_schema(schema)


def _narrowed(schema: Any) -> Any:
    """The schema narrowed to what every reader takes: 7e47470 is JSON, and infinite to most; 05:35:60 is no time."""
    if isinstance(schema, list):
        return [_narrowed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: value if key in ("enum", "const", "default", "examples") else _narrowed(value)
        for key, value in schema.items()
    }
    if "pattern" not in schema and schema.get("format") in TIMES:
        kept["pattern"] = TIMES[kept.pop("format")]
    kinds = schema.get("type", ())
    if "number" in (kinds if isinstance(kinds, list) else [kinds]):
        if not {"minimum", "exclusiveMinimum"} & set(schema):
            kept["minimum"] = -LARGEST_NUMBER
        if not {"maximum", "exclusiveMaximum"} & set(schema):
            kept["maximum"] = LARGEST_NUMBER
    return kept


class FormMask:
    """The engine's `LogitsMask` for one completion of a form."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    def allowed(self) -> Tensor:
        """(V,) bool."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little")[: self._vocab_size]
        allowed = torch.zeros(self._vocab_size, dtype=torch.bool)
        allowed[: len(mask)] = torch.from_numpy(mask.astype(bool))
        return allowed

    def accept(self, token: int) -> bool:
        return bool(self._matcher.consume_token(token)) and not self._matcher.is_error()

    def __deepcopy__(self, memo: dict[int, Any]) -> FormMask:
        return FormMask(self._matcher.deep_copy(), self._vocab_size)


class CallsMask:
    """Leaves alone what is said; from the tool's token on there are calls, and after each another one or the end."""

    def __init__(self, calls: FormMask, tool_id: int | None) -> None:
        self._calls, self._tool_id, self._begun = calls, tool_id, False

    def allowed(self) -> Tensor | None:
        return self._calls.allowed() if self._begun else None

    def accept(self, token: int) -> bool:
        if self._begun:
            return self._calls.accept(token)
        self._begun = token == self._tool_id
        return True


class Forms:
    """Compiles forms for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, ends: frozenset[int]) -> None:
        """`vocab_size`: of the model's logits. `ends`: tokens that end an answer."""
        self._vocab_size, self._tool_id = vocab_size, tokenizer.id_of(TOOL)
        wrapped = llguidance.TokenizerWrapper(_Bytes(tokenizer, vocab_size, ends))
        self._tokenizer = llguidance.LLTokenizer(wrapped, n_vocab=vocab_size, eos_token=sorted(ends))
        self._ready = lru_cache(maxsize=64)(self._compile)

    def mask(self, form: Form) -> FormMask | CallsMask:
        """A mask of its own for each request; a form that cannot be is refused by what is wrong with it."""
        mask = FormMask(self._ready(form).deep_copy(), self._vocab_size)
        return CallsMask(mask, self._tool_id) if form.kind == "calls" else mask

    def _compile(self, form: Form) -> llguidance.LLMatcher:
        if len(form.text) > MAX_FORM_CHARS:
            raise UsageError(
                f"the {form.kind} has {len(form.text):,} characters; at most {MAX_FORM_CHARS:,} are read."
            )
        try:
            matcher = llguidance.LLMatcher(self._tokenizer, compiled(form), log_level=0)
        except RecursionError:
            raise UsageError(_refusal(form, "it is nested too deeply")) from None
        except ValueError as error:
            raise UsageError(_refusal(form, str(error))) from None
        if matcher.is_error():
            raise UsageError(_refusal(form, matcher.get_error()))
        return matcher


def _refusal(form: Form, reason: str) -> str:
    first = reason.strip().splitlines()[0] if reason.strip() else "it cannot be compiled"
    if form.kind in ("tool", "calls"):
        return f"Invalid schema for the parameters of a function: {first}"
    if form.kind == "json_schema":
        return f"Invalid schema for response_format: {first}"
    return f"the {form.kind} cannot be followed: {first}"


class _Bytes:
    """A tokenizer as llguidance wants it: the bytes of every token, and which of them are special."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = min(ends), None
        known = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
        self.tokens = known + [b""] * (vocab_size - len(known))
        self.special_token_ids = sorted(tokenizer.special_ids)

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)
