r"""From a regular expression to one that matches every beginning of its matches.

    you (should|must) die      ->      y(?:o(?:u(?: (?:s(?:h ...

A stream of text asks: can the end of what has arrived still become a match? Then that end waits; all before it may be
shown. RE2 does not answer this, so the question is written as a second expression: with A, B parts of the first one
and p(A) its beginnings, p(AB) = p(A)|A p(B), p(A|B) = p(A)|p(B), p(A*) = A* p(A).

Read here: literals, escapes, classes, groups, alternatives and quantifiers. `beginnings` returns None for anything else
(flags inside an expression, `^`, `$`), and for an expression that becomes too long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LENGTH = 60_000
"""Characters of the result."""
_COUNT = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_ESCAPE = re.compile(r"\\(?:x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[pP]\{[^}]*\}|[pP].|.)", re.DOTALL)
_NAMED_CLASS = re.compile(r"\[:\^?\w+:\]")


class _UnknownError(Exception):
    """A construct that is not read here."""


@dataclass(frozen=True)
class _Node:
    whole: str  # matches the part
    begun: str | None  # matches its beginnings, the empty one included; None: only the empty one
    bare: bool = False  # no alternatives at its top: needs no group


def beginnings(pattern: str) -> str | None:
    """An expression for all beginnings (the empty one too) of what `pattern` matches; None if it is not known."""
    try:
        reader = _Reader(pattern)
        node = reader.alternatives()
        if reader.at < len(pattern):
            return None
    except (_UnknownError, RecursionError):
        return None
    begun = node.begun or "(?:)"
    return begun if len(begun) <= MAX_LENGTH else None


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def alternatives(self) -> _Node:
        options = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            options.append(self.sequence())
        if len(options) == 1:
            return options[0]
        begun = "|".join(option.begun for option in options if option.begun)
        whole = "|".join(option.whole for option in options)
        return _Node(f"(?:{whole})", f"(?:{begun})" if begun else None)

    def sequence(self) -> _Node:
        parts = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.quantified())
        begun: str | None = None
        for part in reversed(parts):
            begun = _joined(part, begun)
            if begun is not None and len(begun) > MAX_LENGTH:
                raise _UnknownError
        return _Node("".join(part.whole for part in parts), begun)

    def quantified(self) -> _Node:
        node = self.atom()
        while True:
            sign = self.peek()
            if sign in ("?", "*", "+") and sign:
                self.at += 1
                node = _repeated(node, sign, 1 if sign == "?" else None)
            elif sign == "{" and (found := _COUNT.match(self.pattern, self.at)):
                self.at = found.end()
                most = int(found[1]) if not found[2] else int(found[3]) if found[3] else None
                node = _repeated(node, found[0], most)
            else:
                return node
            if self.peek() == "?":  # lazy: the same texts match
                self.at += 1

    def atom(self) -> _Node:
        sign = self.peek()
        if sign == "(":
            return self.group()
        if sign == "[":
            return _one(self.character_class())
        if sign == "\\":
            found = _ESCAPE.match(self.pattern, self.at)
            if found is None or found[0] in (r"\Q", r"\A", r"\z", r"\C"):
                raise _UnknownError
            self.at = found.end()
            return _Node(found[0], None) if found[0] in (r"\b", r"\B") else _one(found[0])
        if sign in ("^", "$", "*", "+", "?"):
            raise _UnknownError
        self.at += 1
        return _one(sign)

    def group(self) -> _Node:
        self.at += 1
        if self.pattern.startswith("?:", self.at):
            self.at += 2
        elif self.peek() == "?":
            raise _UnknownError
        node = self.alternatives()
        if self.peek() != ")":
            raise _UnknownError
        self.at += 1
        return _Node(f"(?:{node.whole})", f"(?:{node.begun})" if node.begun else None)

    def character_class(self) -> str:
        begin = self.at
        self.at += 1
        self.at += self.peek() == "^"
        self.at += self.peek() == "]"  # a first ] is a member
        while (sign := self.peek()) != "]":
            if not sign:
                raise _UnknownError
            if named := _NAMED_CLASS.match(self.pattern, self.at):
                self.at = named.end()
            elif sign == "\\" and (escaped := _ESCAPE.match(self.pattern, self.at)):
                self.at = escaped.end()
            else:
                self.at += 1
        self.at += 1
        return self.pattern[begin : self.at]


def _one(matcher: str) -> _Node:
    """One character: its beginnings are itself and nothing."""
    return _Node(matcher, f"(?:{matcher})?")


def _joined(first: _Node, rest: str | None) -> str | None:
    """p(AB) = p(A) | A p(B); p(B) includes the empty text, so A alone is included."""
    if rest is None and first.begun is None:
        return None
    if first.begun is None:  # a word boundary
        return f"(?:{first.whole}{rest})?"
    if rest is None:
        return first.begun
    if first.begun == f"(?:{first.whole})?":  # one character: the empty text, or it and what follows
        return f"(?:{first.whole}{rest})?"
    return f"(?:{first.begun}|{first.whole}{rest})"


def _repeated(node: _Node, sign: str, most: int | None) -> _Node:
    whole = f"(?:{node.whole}){sign}"
    if node.begun is None or most == 0:
        return _Node(whole, None)
    if most == 1:
        return _Node(whole, node.begun)
    before = f"(?:{node.whole})*" if most is None else f"(?:{node.whole}){{0,{most - 1}}}"
    return _Node(whole, f"(?:{before}{node.begun})")
