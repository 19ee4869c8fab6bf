"""Answers of a given form: a JSON schema, a regular expression, one of several texts, a Lark grammar, tool calls.

llguidance compiles a form (it also reads the schema) into a matcher over this tokenizer's bytes. Before each token the
matcher computes which tokens may come next; the engine, which knows no text, gets only that mask. Where the form is
complete, only a token that ends the answer is allowed. So an answer is valid, or a limit cut it off.

JSON is written as `{"a": 1, "b": [2, 3]}`: one space after commas and colons and no other, because a small model may
otherwise write spaces until its limit; numbers have default bounds for the same reason (`schemas.bounded`). Of JSON
Schema these are understood: types, enum, const, properties, required, additionalProperties, patternProperties, items,
prefixItems, min/max of lengths, items and numbers, multipleOf, pattern, format (of the common ones), anyOf, oneOf (as
anyOf where the branches exclude each other), allOf, $ref, $defs. Other keywords are refused by name. A form that no
answer can satisfy is refused as well.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import llguidance
import numpy as np
import torch
from torch import Tensor

from ziggurat.dialogue.calls import CallMarks
from ziggurat.dialogue.forms import CALLS, Form
from ziggurat.dialogue.lark import can_end
from ziggurat.dialogue.schemas import bounded, has_finite_value
from ziggurat.errors import UsageError
from ziggurat.tokenizer.bpe import Tokenizer

JSON_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
MAX_FORM_CHARS = 100_000
IMPOSSIBLE = "no answer can satisfy it"


def compiled(form: Form, marks: CallMarks) -> str:
    """The form as llguidance takes it."""
    matcher = llguidance.LLMatcher
    if form.kind == "regex":
        return matcher.grammar_from_regex(form.text)
    if form.kind == "grammar":
        return matcher.grammar_from_lark(form.text)
    if form.kind == "choice":
        texts = " | ".join(json.dumps(text, ensure_ascii=False) for text in json.loads(form.text))
        return matcher.grammar_from_lark(f"start: {texts}")
    schema = json.loads(form.text)
    if not has_finite_value(schema):
        raise ValueError(f"{IMPOSSIBLE}: every value would have to contain itself")
    written = json.dumps({**bounded(schema), "x-guidance": JSON_OPTIONS}, ensure_ascii=False)
    if form.kind in CALLS:
        return matcher.grammar_from_lark(_calls(form, marks) + f"\ncall: %json {written}")
    return matcher.grammar_from_json_schema(written)


def _calls(form: Form, marks: CallMarks) -> str:
    """The Lark rules of an answer with calls; `call` is the JSON object."""
    opened, closed = json.dumps(marks.open), json.dumps(marks.close)
    if marks.close:
        opened = f'{marks.open} "\\n"' if marks.open_id is not None else json.dumps(marks.open + "\n")
        closed = f'"\\n" {marks.close}' if marks.close_id is not None else json.dumps("\n" + marks.close)
        between = '"\\n"'
    else:
        opened, closed, between = marks.open, "", ""
    more = f"({between} {opened} call {closed})*" if form.kind == "calls" else ""
    if form.kind == "call":
        return f"start: {opened} call {closed}"
    if marks.open_id is not None:  # what comes before the mark is free: see CallsMask
        first = '"\\n"' if marks.close else ""
        return f"start: {first} call {closed} {more}"
    lead = json.dumps(marks.open)
    return f'start: text | lead "\\n" call {closed} {more}\nlead[lazy]: /(.|\\n)*/ {lead}\ntext: /(.|\\n)*/'


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
    """Allows every token up to the special token that begins a call; from there on only calls and the end."""

    def __init__(self, calls: FormMask, open_id: int) -> None:
        self._calls, self._open_id, self._begun = calls, open_id, False

    def allowed(self) -> Tensor | None:
        return self._calls.allowed() if self._begun else None

    def accept(self, token: int) -> bool:
        if self._begun:
            return self._calls.accept(token)
        self._begun = token == self._open_id
        return True


class Forms:
    """Compiles forms for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, ends: frozenset[int], marks: CallMarks) -> None:
        """`vocab_size`: of the model's logits. `ends`: tokens that end an answer. `marks`: of tool calls."""
        self._vocab_size, self._marks = vocab_size, marks
        wrapped = llguidance.TokenizerWrapper(_Bytes(tokenizer, vocab_size, ends))
        self._tokenizer = llguidance.LLTokenizer(wrapped, n_vocab=vocab_size, eos_token=sorted(ends))
        self._ready = lru_cache(maxsize=64)(self._compile)

    def mask(self, form: Form) -> FormMask | CallsMask:
        """A mask of its own for each request; UsageError names what is wrong with a form that cannot be followed."""
        mask = FormMask(self._ready(form).deep_copy(), self._vocab_size)
        open_id = self._marks.open_id
        return (
            CallsMask(mask, open_id) if form.kind in ("calls", "one_call") and open_id is not None else mask
        )

    def _compile(self, form: Form) -> llguidance.LLMatcher:
        if len(form.text) > MAX_FORM_CHARS:
            raise UsageError(
                f"the {form.kind} has {len(form.text):,} characters; at most {MAX_FORM_CHARS:,} are read."
            )
        try:
            if form.kind == "grammar" and not can_end(form.text, self._matches):
                raise ValueError(f"{IMPOSSIBLE}: its rule start needs itself again and again, so none ends")
            matcher = llguidance.LLMatcher(self._tokenizer, compiled(form, self._marks), log_level=0)
        except RecursionError:
            raise UsageError(_refusal(form, "it is nested too deeply")) from None
        except ValueError as error:
            raise UsageError(_refusal(form, str(error))) from None
        if matcher.is_error():
            raise UsageError(_refusal(form, matcher.get_error()))
        first = matcher.deep_copy()
        if not _begins(first):
            reason = first.get_error()
            raise UsageError(
                _refusal(form, IMPOSSIBLE if not reason or reason.startswith("NoExtension") else reason)
            )
        return matcher

    def _matches(self, grammar: str) -> bool:
        """Whether an answer of a Lark grammar can begin; an invalid one counts as if it could."""
        lark = llguidance.LLMatcher.grammar_from_lark(grammar)
        matcher = llguidance.LLMatcher(self._tokenizer, lark, log_level=0)
        return bool(matcher.is_error()) or _begins(matcher)


def _begins(matcher: llguidance.LLMatcher) -> bool:
    """Whether any token may come first."""
    return any(matcher.compute_bitmask()) and not matcher.is_error()


def _refusal(form: Form, reason: str) -> str:
    reason = _first_reason(reason)
    if form.kind in CALLS:
        return f"Invalid schema for the parameters of a function: {reason}."
    if form.kind == "json_schema":
        return f"Invalid schema for response_format: {reason}."
    shown = form.kind == "regex" and not reason.startswith("the pattern") and len(form.text) <= 200
    pattern = f" {json.dumps(form.text, ensure_ascii=False)}" if shown else ""
    return f"the {form.kind}{pattern} cannot be followed: {reason}."


def _first_reason(said: str) -> str:
    """llguidance's message in one line: of a pattern that cannot be parsed, the pattern and why."""
    lines = [line.strip() for line in said.strip().splitlines() if line.strip()] or ["it cannot be compiled"]
    for number, line in enumerate(lines):
        if line.endswith("regex parse error:"):
            why = next(
                (each for each in lines[number:] if each.startswith("error: ")), "error: it cannot be parsed"
            )
            return (
                f"the pattern {json.dumps(lines[number + 1], ensure_ascii=False)} cannot be used ({why[7:]})"
            )
    return lines[0].rstrip(".")


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
