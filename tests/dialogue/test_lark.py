"""Lark grammars of which no answer ends, and grammars that look like them."""

from __future__ import annotations

import llguidance
import pytest

from ziggurat.dialogue.lark import can_end

ENDLESS = {
    "right recursion": 'start: "a" start',
    "through another rule": 'start: "a" b\nb: "c" start',
    "every alternative": 'start: a | b\na: "x" a\nb: "y" b',
    "on several lines": 'start: "a" start\n     | "b" start\n',
    "grouped": 'start: ("a" | "b")+ (start | "c" start)',
    "at least once": 'start: "a" b~2..3\nb: "x" start',
    "in braces": 'start: "a" b{1,3}\nb: "x" start',
    "with a regex and a token": "start: /[a-z]+/ <|end|> start",
    "after a comment": '// start: "a"\n%ignore / +/\nstart: "a" s // "b"\ns: "b" s',
    "with attributes": 'start: "a" b\nb[capture]: "x" b',
    "of a schema": 'start: "a" %json {"$ref": "#"}',
    "needed by one part": 'start: "a" b? c\nb: "x" b\nc: "y" c | "z" c',
    "beside terminals": 'start: "a" A start\nA: /a/ & /[a-c]/\n | "b"\n',
}
ENDING = {
    "an alternative": 'start: "a" start | "b"',
    "an empty alternative": 'start: "a" start |',
    "optional": 'start: "a" start?',
    "optional in brackets": 'start: "a" [start]',
    "any number": 'start: "a" start*',
    "none or more": 'start: "a" start~0..2 "b"',
    "braces from none": 'start: "a" start{,2}',
    "on another line": 'start: "a" start\n  | "b"\n',
    "nested brackets": 'start: "(" start ")" | /[0-9]+/',
    "mutual": 'start: "a" b\nb: "c" start | "d"',
    "a string that looks like a rule": 'start: "start: start" "|" /b:start/',
    "a schema": 'start: "a" %json {"type": "integer"}',
    "a range": 'start: "a".."z" | "b" start',
    "terminals": "start: WORD\nWORD: /a+/",
    "an import": "%import common.INT\nstart: INT",
    "parameters": "start: p::0\np::_: p::_",
    "no start": "begin: begin",
    "not a grammar": "start: (",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_grammar_without_an_end_is_seen(name: str) -> None:
    assert not can_end(ENDLESS[name])


@pytest.mark.parametrize("name", ENDING)
def test_a_grammar_with_an_end_is_not_refused(name: str) -> None:
    assert can_end(ENDING[name])


TOKENS = llguidance.LLTokenizer("byte")
LETTERS = "abcdxyz(1)|"


def matcher(grammar: str) -> llguidance.LLMatcher:
    return llguidance.LLMatcher(TOKENS, llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0)


NOT_SEARCHED = ("<|", "%json", "start: start", "::", "begin", "start: (\n")
"""Answers of other letters, grammars that llguidance refuses, and one that is not read."""
SEARCHED = [
    name
    for name, grammar in (ENDLESS | ENDING).items()
    if not any(odd in f"{grammar}\n" for odd in NOT_SEARCHED)
]


@pytest.mark.parametrize("name", SEARCHED)
def test_a_search_over_texts_finds_an_end_or_none_likewise(name: str) -> None:
    """llguidance is the judge: all texts of these letters, up to six long."""
    begun = matcher((ENDLESS | ENDING)[name])
    assert not begun.is_error(), begun.get_error()
    texts, found = [""], False
    for _ in range(7):
        at = [(text, begun.deep_copy()) for text in texts]
        alive = [(text, one) for text, one in at if not text or one.consume_tokens(TOKENS.tokenize_str(text))]
        found = found or any(one.is_accepting() for _, one in alive)
        following = [text + letter for text, _ in alive for letter in LETTERS]
        texts = [t for t in following if begun.validate_tokens(ids := TOKENS.tokenize_str(t)) == len(ids)][
            :200
        ]
    assert found == (name in ENDING)


def test_a_terminal_that_matches_nothing_ends_no_answer() -> None:
    def matches(one: str) -> bool:
        begun = matcher(one)
        assert not begun.is_error(), begun.get_error()
        return any(begun.compute_bitmask()) and not begun.is_error()

    assert not can_end('start: "x" A\nA: /a/ & /b/', matches)
    assert not can_end('start: "x" a\na: B\nB: A "c"\nA: /a/ & /b/', matches)
    assert can_end('start: "x" (A | "y")\nA: /a/ & /b/', matches)
    assert can_end("start: A\nA: /[a-c]+/ & /c+/", matches)
