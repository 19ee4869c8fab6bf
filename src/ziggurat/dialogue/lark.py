"""Whether a Lark grammar has an answer that ends. `start: "a" start` has none: a model would write to its limit.

llguidance follows such a grammar token by token and never notices. A rule is known to end once one of its alternatives
has only parts that are known to end (a least fixed point, as `schemas.has_finite_value`). This file reads just as much
of a grammar as that takes; where it meets something that it does not know (parameters of rules, nested grammars), it
assumes that an answer can end, and llguidance has the last word on what is valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ziggurat.dialogue.schemas import has_finite_value

TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+|//[^\n]*|\#[^\n]*)
    |(?P<line>\n)
    |(?P<text>"(?:\\.|[^"\\])*"i?)
    |(?P<regex>/(?:\\.|[^/\\])+/[imslux]*)
    |(?P<special><[^<>\s]+>)
    |(?P<name>[!?]?[A-Za-z_][A-Za-z0-9_-]*)
    |(?P<number>[0-9]+)
    |(?P<word>%[a-z]+)
    |(?P<sign>\.\.|->|[:|&()\[\]{}?*+~,.=])""",
    re.VERBOSE,
)
WITH_JSON = frozenset(("%json", "%regex", "%llguidance"))
"""Directives that a JSON value follows."""


class Token(NamedTuple):
    kind: str
    text: str


@dataclass
class Needs:
    """What an expression needs in order to end: all parts of one of its alternatives. A string is a rule's name."""

    alternatives: list[list[Needs | str]] = field(default_factory=lambda: [[]])

    def met(self, ends: set[str], rules: dict[str, Needs]) -> bool:
        def ends_here(part: Needs | str) -> bool:
            return part.met(ends, rules) if isinstance(part, Needs) else part in ends or part not in rules

        return any(all(map(ends_here, parts)) for parts in self.alternatives)


NOTHING, NEVER = Needs(), Needs([])


class Unknown(Exception):
    """The grammar holds something that is not read here."""


def can_end(grammar: str, matches: Callable[[str], bool] = lambda _: True) -> bool:
    """False if no answer of the grammar ever ends.

    `matches`: whether a grammar whose start is one terminal allows any text; terminals with `&` or `~` may not.
    """
    try:
        reader = _Reader(_tokens(grammar))
        rules = reader.rules()
    except (Unknown, RecursionError):
        return True
    terminals = "\n".join(reader.terminals.values())
    if "&" in terminals or "~" in terminals:
        for name in reader.terminals:
            if not matches(f"start: {name}\n{terminals}\n"):
                rules[name] = NEVER
    ends: set[str] = set()
    while more := {name for name, needs in rules.items() if name not in ends and needs.met(ends, rules)}:
        ends |= more
    return "start" in ends or "start" not in rules


def _tokens(grammar: str) -> list[Token]:
    found, at = list[Token](), 0
    while at < len(grammar):
        match = TOKEN.match(grammar, at)
        if match is None or match.lastgroup is None:
            raise Unknown
        at = match.end()
        if match[0] in WITH_JSON:
            at, kind = _after_json(grammar, at, match[0])
            found.append(Token(kind, match[0]))
        elif match.lastgroup != "blank":
            found.append(
                Token(match.lastgroup, match[0].lstrip("!?") if match.lastgroup == "name" else match[0])
            )
    return [*found, Token("line", "\n")]


def _after_json(grammar: str, at: int, directive: str) -> tuple[int, str]:
    """Where the JSON after a directive ends, and what its value is to the grammar."""
    try:
        value, end = json.JSONDecoder().raw_decode(
            grammar, at + len(grammar[at:]) - len(grammar[at:].lstrip())
        )
    except ValueError:
        raise Unknown from None
    endless = directive == "%json" and isinstance(value, dict) and not has_finite_value(value)
    return end, "option" if directive == "%llguidance" else "endless" if endless else "text"


class _Reader:
    """Reads the definitions of a grammar, one after another."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at = tokens, 0
        self.terminals: dict[str, str] = {}
        """The definition of each: what it matches is not read here, and none needs itself."""

    def rules(self) -> dict[str, Needs]:
        found: dict[str, Needs] = {}
        while self._at < len(self._tokens):
            token = self._take()
            if token.kind == "word":  # %ignore, %import, ...
                self._skip_line()
            elif token.kind == "name" and token.text.strip("_").isupper():
                self.terminals[token.text] = f"{token.text} {self._skip_definition()}"
            elif token.kind == "name":
                bounded = self._skip_head()
                body = self._expression(inside=False)
                found[token.text] = NOTHING if bounded else body
                if self._take().kind != "line":
                    raise Unknown
            elif token.kind not in ("line", "option"):
                raise Unknown
        return found

    def _expression(self, *, inside: bool) -> Needs:
        """Alternatives up to a closing bracket (`inside`) or the end of the definition."""
        needs = Needs()
        while not self._closes(inside):
            token = self._take()
            if token.text == "|" and token.kind == "sign":
                needs.alternatives.append([])
            elif token.text == "->":
                self._take()
            elif token.kind != "line":
                needs.alternatives[-1].append(self._repeated(self._part(token)))
        return needs

    def _closes(self, inside: bool) -> bool:
        token = self._peek()
        if inside:
            return token.text in (")", "]") and token.kind == "sign"
        if token.kind != "line":
            return False
        following = next((t for t in self._tokens[self._at :] if t.kind != "line"), token)
        return following != Token("sign", "|")  # a line that begins with | goes on with the definition

    def _part(self, token: Token) -> Needs | str:
        if token.kind == "name":
            return token.text
        if token.kind == "endless":
            return NEVER
        if token.text in ("(", "[") and token.kind == "sign":
            body = self._expression(inside=True)
            self._take()
            return NOTHING if token.text == "[" else body
        if token.kind in ("text", "regex", "special"):
            if self._peek().text == "..":  # "a".."z"
                self._take()
                self._take()
            return NOTHING
        raise Unknown

    def _repeated(self, part: Needs | str) -> Needs | str:
        """The part with what stands behind it: ? * + ~n ~n..m {n} {n,} {,m} {n,m}."""
        sign = self._peek().text if self._peek().kind == "sign" else ""
        if sign not in ("?", "*", "+", "~", "{"):
            return part
        self._take()
        least = 1 if sign == "+" else 0
        if sign in ("~", "{"):
            least = int(self._take().text) if self._peek().kind == "number" else 0
            while self._peek().text in ("..", ",", "}") or self._peek().kind == "number":
                if self._take().text == "}":
                    break
        return part if least else NOTHING

    def _skip_head(self) -> bool:
        """The attributes and the priority of a definition, up to its colon; True if they bound its length."""
        head = list[str]()
        while (text := self._take().text) != ":":
            if text == "\n":
                raise Unknown
            head.append(text)
        if self._peek().text == ":":  # parameters
            raise Unknown
        return "max_tokens" in head

    def _skip_line(self) -> None:
        while self._take().kind != "line":
            pass

    def _skip_definition(self) -> str:
        """The text of a definition up to its end; the lines after the first begin with |."""
        passed = list[str]()
        while not self._closes(inside=False):
            passed.append(self._take().text)
        return " ".join(passed)

    def _peek(self) -> Token:
        if self._at >= len(self._tokens):
            raise Unknown
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._peek()
        self._at += 1
        return token
