"""Rules of the guard: what they say, where they come from, and how a text is compared with them.

A rule recognises a request (`stage` before), an answer (after) or both, by an expression of RE2
(https://github.com/google/re2/wiki/Syntax; linear time, upper and lower case are equal) or by words. Its `action`:

    block    a refusal stands in place of the answer
    answer   a template stands in place of the answer; with `fine` or `unfit`, only where the model's own is not fit
    hold     the answer waits for a person
    log      nothing changes; the record says that the rule matched

A rule of kind `topic` is a row of the policy table: its `treatment` says what becomes of the topic.

    answer   the model answers                    neutral    the model answers; `unfit` must not occur in its answer
    refuse   a refusal                            template   the rule's own text

Rules are written for texts without disguise (`disguises.py`): lower or upper case, simplified characters, plain quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import re2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from ziggurat.safety.disguises import View, fold
from ziggurat.safety.words import BEGINNING, WordClassifier

Kind = Literal["pattern", "words", "topic"]
Stage = Literal["before", "after", "both"]
Action = Literal["block", "answer", "hold", "log"]
Treatment = Literal["answer", "neutral", "refuse", "template"]
Layer = Literal["patterns", "policy", "model"]

MAX_PATTERN = 40_000
"""Characters of one expression."""
PASS_LENGTH = 1_500
"""Characters of the expressions that are searched in one pass; RE2 becomes slow when an expression needs more memory
than it may use."""
MEMORY = 32 << 20
"""Bytes that RE2 may use for one expression; it takes what it needs."""
KEPT = 256
"""Compiled expressions that are kept for the next set of rules; the built-in rules have 88."""
DEFAULT_REACH, MAX_REACH = 80, 400
"""Characters of a stream that may wait for a rule whose expression `prefixes.py` cannot read."""

_TREATED: dict[Treatment, Action] = {
    "answer": "log",
    "neutral": "answer",
    "refuse": "block",
    "template": "answer",
}

RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


def _one_expression(given: object) -> object:
    """A list of expressions as one."""
    if isinstance(given, list | tuple) and given and all(isinstance(one, str) for one in given):
        return "|".join(f"(?:{one})" for one in given)
    return given


Expression = Annotated[str, StringConstraints(min_length=1), BeforeValidator(_one_expression)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Wordings = dict[str, list[Annotated[str, StringConstraints(min_length=1)]]]


class Rule(BaseModel):
    """One rule. A ValueError (pydantic's ValidationError) says in a sentence what cannot be used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: RuleId
    kind: Kind
    category: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    pattern: Expression | None = None
    words: Annotated[list[Word], Field(max_length=5_000)] = []
    """Literal; a Latin word matches as a whole word only."""
    classifier: Literal["selfharm"] | None = None
    """A classifier of the package that recognises short requests beside the expression."""
    near: Expression | None = None
    """The classifier is asked only about texts in which this occurs."""
    unless: Expression | None = None
    """Parts of a text that are left out before the rule looks at it: harmless phrases."""
    stage: Stage = "before"
    action: Action = "block"
    treatment: Treatment | None = None
    fine: Expression | None = None
    """With action `answer`: the model's own answer is shown if this occurs near its beginning."""
    unfit: Expression | None = None
    """With action `answer`: the model's own answer is shown as long as this does not occur in it."""
    templates: Wordings = {}
    """Locale (`en`, `zh-CN`) -> wordings; without one the guard's own are used."""
    reach: Annotated[int, Field(ge=1, le=MAX_REACH)] = DEFAULT_REACH
    priority: int = 0
    """Of several rules that match, the one with the highest priority acts, then the strictest action."""
    enabled: bool = True
    version: int = 1

    @model_validator(mode="before")
    @classmethod
    def _treated(cls, given: Any) -> Any:
        """A topic's action follows from its treatment."""
        if isinstance(given, Mapping) and given.get("kind") == "topic" and given.get("treatment") in _TREATED:
            return {**given, "action": _TREATED[given["treatment"]]}
        return given

    @model_validator(mode="after")
    def _can_be_used(self) -> Rule:
        if (self.kind == "topic") != (self.treatment is not None):
            raise ValueError(
                f"rule {self.id}: a rule of kind topic needs a treatment, and no other rule has one"
            )
        if self.kind == "pattern" and (self.pattern is None or self.words):
            raise ValueError(f"rule {self.id}: a rule of kind pattern needs pattern, and has no words")
        if self.kind == "words" and (not self.words or self.pattern is not None):
            raise ValueError(f"rule {self.id}: a rule of kind words needs words, and has no pattern")
        if self.kind == "topic" and self.pattern is None and not self.words:
            raise ValueError(f"rule {self.id}: a topic needs a pattern or words")
        if self.treatment == "neutral" and self.unfit is None:
            raise ValueError(f"rule {self.id}: treatment neutral needs unfit, what its answer must not say")
        if self.classifier is not None and self.stage != "before":
            raise ValueError(f"rule {self.id}: classifier belongs to stage before")
        if (self.fine or self.unfit) and (self.action != "answer" or self.stage != "before"):
            raise ValueError(f"rule {self.id}: fine and unfit belong to stage before and action answer")
        if (self.classifier is None) != (self.near is None):
            raise ValueError(f"rule {self.id}: classifier and near belong together")
        for name in ("pattern", "unless", "fine", "unfit", "near"):
            check_expression(self.id, name, getattr(self, name))
        if self.pattern is None:
            check_expression(self.id, "words", self.expression)
        return self

    @property
    def layer(self) -> Layer:
        return "policy" if self.kind == "topic" else "patterns"

    @property
    def expression(self) -> str:
        """Its pattern and words as one expression."""
        parts = [self.pattern] if self.pattern is not None else []
        return "|".join([*parts, *map(_literal, self.words)])


def check_expression(rule: str, name: str, expression: str | None) -> None:
    """ValueError unless it compiles and does not match every text."""
    if expression is None:
        return
    if len(expression) > MAX_PATTERN and name != "words":
        raise ValueError(
            f"rule {rule}: {name} has {len(expression)} characters; at most {MAX_PATTERN} are read"
        )
    try:
        compiled = compiled_expression(expression)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "it does not compile"
        raise ValueError(f"rule {rule}: {name} is not an expression of RE2 ({reason})") from None
    if compiled.search("") is not None:
        raise ValueError(f"rule {rule}: {name} matches every text; write a longer expression")


@lru_cache(KEPT)
def compiled_expression(expression: str) -> Any:
    """An expression for texts as `disguises.fold` shows them. Kept: each new set of rules has most of the last one's.

    Raises:
        re2.error: it is not an expression of RE2, or needs too much memory.
    """
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = MEMORY
    return re2.compile(_folded(expression), options)


def _folded(expression: str) -> str:
    """An expression whose characters are folded like the texts; the ends of ranges stay what they are."""
    if expression.isascii():
        return expression
    found = []
    for at, sign in enumerate(expression):
        in_range = expression[at + 1 : at + 2] == "-" or expression[max(at - 1, 0) : at] == "-"
        seen = sign if sign.isascii() or in_range else fold(sign)
        found.append(sign if seen == sign else re.escape(seen))
    return "".join(found)


def _literal(word: str) -> str:
    """A word as an expression, with word boundaries where it begins or ends with a Latin letter or a digit."""
    inner = r"\s+".join(re.escape(part) for part in word.split())
    begin = r"\b" if re.match(r"[A-Za-z0-9_]", word) else ""
    end = r"\b" if re.search(r"[A-Za-z0-9_]$", word) else ""
    return f"{begin}{inner}{end}"


@lru_cache(KEPT)
def loose(expression: str) -> str:
    """An expression for texts without spaces and word boundaries: `kill my ?self` -> `kill ?my ?self`."""
    found, in_class, at = [], False, 0
    while at < len(expression):
        sign = expression[at]
        if sign == "\\" and at + 1 < len(expression):
            pair = expression[at : at + 2]
            found.append({r"\b": "", r"\s": r"\s?"}.get(pair, pair))
            at += 2
            continue
        if sign in "[]":
            in_class = sign == "["
        quantified = expression[at + 1 : at + 2] in ("?", "*", "+", "{")
        found.append(" ?" if sign == " " and not in_class and not quantified else sign)
        at += 1
    return "".join(found).replace(r"\s?+", r"\s*").replace(r"\s?*", r"\s*").replace(r"\s??", r"\s?")


class RuleSource(Protocol):
    """Where rules come from. Several threads ask at once.

    `version` is asked at every request and, during a stream, at most every half second; it must answer at once (within
    a millisecond), so a source behind a network keeps it up to date itself. It changes whenever the rules do.
    """

    def version(self) -> int: ...
    def rules(self) -> Sequence[Rule]: ...


class Match(NamedTuple):
    """One rule that matched a text, and how."""

    rule: Rule
    view: str
    """The form of the text in which it matched: `plain`, or a disguise."""
    text: str
    """What matched."""


class Compiled:
    """One rule and its expressions."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.search = compiled_expression(rule.expression)
        self.unless = None if rule.unless is None else compiled_expression(rule.unless)
        self.near = None if rule.near is None else compiled_expression(rule.near)
        self._loose: Any = None

    def classified(self, views: Sequence[View]) -> Match | None:
        """Whether the rule's classifier flags a short text, harmless phrases left out."""
        classifier = WordClassifier.packaged(str(self.rule.classifier))
        for view in views:
            is_guess = "rot13" in view.name or "reversed" in view.name  # of every text
            if view.loose or is_guess or len(view.text) > BEGINNING or self.near is None:
                continue
            text = view.text if self.unless is None else self.unless.sub(" ", view.text)
            if self.near.search(text) is not None and classifier.flags(text):
                return Match(self.rule, f"{view.name}, classifier", view.text)
        return None

    def found(self, text: str, *, is_loose: bool = False) -> tuple[int, int] | None:
        """Where the rule matches outside of its harmless phrases."""
        if is_loose:
            if self._loose is None:
                self._loose = compiled_expression(loose(self.rule.expression))
            hit = self._loose.search(text)
        else:
            if self.unless is not None:
                text = self.unless.sub(lambda match: "\0" * len(match.group()), text)
            hit = self.search.search(text)
        return None if hit is None else hit.span()


class Group:
    """Rules of one stage, in passes over the text."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.compiled = [Compiled(rule) for rule in rules]
        self._classifying = [one for one in self.compiled if one.rule.classifier is not None]
        self.passes = list(_passes(self.compiled, lambda one: one.rule.expression))
        self._loose = list(_passes(self.compiled, lambda one: loose(one.rule.expression)))

    def matches(self, views: Sequence[View]) -> list[Match]:
        """Each rule that matches one of the views, once."""
        found: dict[str, Match] = {}
        for view in views:
            for expression, members in self._loose if view.loose else self.passes:
                if expression.search(view.text) is None:
                    continue
                for one in members:
                    if one.rule.id in found:
                        continue
                    place = one.found(view.text, is_loose=view.loose)
                    if place is not None:
                        found[one.rule.id] = Match(one.rule, view.name, view.text[slice(*place)])
        for one in self._classifying:
            if one.rule.id not in found and (hit := one.classified(views)) is not None:
                found[one.rule.id] = hit
        return list(found.values())


def _passes(
    compiled: Sequence[Compiled], spelled: Callable[[Compiled], str]
) -> Iterator[tuple[Any, Sequence[Compiled]]]:
    """(one expression for several rules, the rules); short ones share a pass."""
    some: list[Compiled] = []
    length = 0
    for one in [*compiled, None]:
        size = 0 if one is None else len(spelled(one))
        if some and (one is None or length + size > PASS_LENGTH):
            yield compiled_expression("|".join(f"(?:{spelled(member)})" for member in some)), some
            some, length = [], 0
        if one is not None:
            some, length = [*some, one], length + size


class RuleSet:
    """The enabled rules of one version, compiled."""

    def __init__(self, rules: Sequence[Rule], version: int) -> None:
        self.version = version
        self.kept: dict[Any, Any] = {}
        """What others compile from these rules."""
        self.rules = tuple(rule for rule in rules if rule.enabled)
        self.before = Group(rule for rule in self.rules if rule.stage in ("before", "both"))
        self.after = Group(rule for rule in self.rules if rule.stage in ("after", "both"))


_STRICT: dict[Action, int] = {"block": 3, "answer": 2, "hold": 1, "log": 0}


def strictest(matches: Sequence[Match]) -> Match | None:
    """The match that acts: by priority, then by action, then by layer and order."""
    return max(
        matches,
        key=lambda m: (
            m.rule.action != "log",
            m.rule.priority,
            _STRICT[m.rule.action],
            m.rule.layer == "patterns",
        ),
        default=None,
    )
