"""What a rule may say, and what it matches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ziggurat.errors import DataError
from ziggurat.safety.disguises import folded, views
from ziggurat.safety.rules import Group, Rule, RuleSet, loose, strictest
from ziggurat.safety.sources import Builtin, FileRules, Several, builtin_rules


def rule(**fields: Any) -> Rule:
    return Rule.model_validate({"id": "r", "kind": "pattern", "category": "violence", **fields})


def matched(one: Rule, text: str) -> bool:
    return bool(Group([one]).matches(views(text)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pattern": "(a"}, "not an expression of RE2"),
        ({"pattern": "(?=a)b"}, "not an expression of RE2"),
        ({"pattern": r"(a)\1"}, "not an expression of RE2"),
        ({"pattern": "a*"}, "matches every text"),
        ({"pattern": "a", "unless": "b?"}, "matches every text"),
        ({}, "needs pattern"),
        ({"kind": "words"}, "needs words"),
        ({"pattern": "a", "words": ["b"]}, "has no words"),
        ({"pattern": "a", "treatment": "refuse"}, "no other rule has one"),
        ({"kind": "topic", "pattern": "a"}, "needs a treatment"),
        ({"kind": "topic", "pattern": "a", "treatment": "neutral"}, "needs unfit"),
        ({"pattern": "a", "fine": "b"}, "action answer"),
        ({"pattern": "a", "id": "Bad Id"}, "id"),
        ({"pattern": "a", "actoin": "block"}, "actoin"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_in_a_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rule(**fields)
    assert said in str(caught.value)


def test_words_are_whole_in_latin_and_anywhere_in_chinese() -> None:
    one = rule(kind="words", words=["pipe bomb", "C++", "土炸弹"])
    assert matched(one, "a Pipe\n bomb!")
    assert matched(one, "做土炸弹的人")
    assert matched(one, "I like C++ a lot")
    assert not matched(one, "pipe bombers")
    assert not matched(one, "a bomb in a pipe")


def test_a_rule_is_folded_like_the_texts() -> None:
    """Written with accents, in another alphabet, in traditional characters or full width, it matches both ways."""
    for word, text in (
        ("убить", "я хочу УБИТЬ"),
        ("自殺", "他想自杀"),
        ("自杀", "他想自殺"),
        ("naïve", "so naive"),
        ("（坏）", "(坏)"),
    ):
        one = rule(kind="words", words=[word], stage="both")
        assert matched(one, text), word
        assert RuleSet([one], 1).after.passes[0][0].search(folded(text).casefold()), word
    assert matched(rule(pattern="[а-я]{3}!"), "дом!")
    assert not matched(rule(pattern="[а-я]{3}!"), "abc!")


def test_harmless_phrases_are_left_out_and_the_rest_still_counts() -> None:
    one = rule(pattern=r"\bkill\b", unless=r"\bkill (the|a) process\b")
    assert not matched(one, "How do I kill a process?")
    assert matched(one, "kill the process, then kill him")


def test_spaces_and_boundaries_are_optional_where_letters_stand_apart() -> None:
    assert loose(r"\bkill my ?self\b") == "kill ?my ?self"
    assert loose(r"a[ b]\s+c") == r"a[ b]\s*c"
    assert matched(rule(pattern=r"\bkill my ?self\b"), "I will k.i.l.l m.y.s.e.l.f")


def test_the_strictest_of_several_acts_and_priority_comes_first() -> None:
    several = Group(
        [
            rule(id="log", pattern="x", action="log", priority=99),
            rule(id="block", pattern="x", action="block"),
            rule(id="answer", pattern="x", action="answer", priority=1),
            rule(id="hold", pattern="x", action="hold"),
        ]
    ).matches(views("x"))
    assert len(several) == 4
    best = strictest(several)
    assert best is not None
    assert best.rule.id == "answer"
    assert strictest([]) is None


def test_time_is_linear_whatever_the_pattern() -> None:
    one = Group([rule(pattern=r"(a+)+b"), rule(id="s", pattern=r"(x|xx)*y")])
    begin = time.perf_counter()
    assert one.matches(views("a" * 30_000 + "x" * 2_000)) == []
    assert time.perf_counter() - begin < 2.0


# --- sources ---------------------------------------------------------------------------------------------------------


def test_the_built_in_rules_have_wordings_in_both_languages() -> None:
    assert len({one.id for one in builtin_rules()}) == len(builtin_rules())
    for one in builtin_rules():
        if one.action == "answer":
            assert set(one.templates) == {"en", "zh-CN"}, one.id
            assert all(len(set(several)) >= 3 for several in one.templates.values()), one.id
    assert Builtin().version() == Builtin().version()


def test_a_file_replaces_adds_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text("rules:\n  - {id: a, kind: words, category: x, words: [foo]}\n", encoding="utf-8")
    source = FileRules(path)
    first = source.version()
    assert {"a", "selfharm.intent"} <= {one.id for one in source.rules()}
    path.write_text(
        "builtin: false\nmoderation: {violence: block}\n"
        "rules:\n  - {id: b, kind: words, category: x, words: [bar]}\n",
        encoding="utf-8",
    )
    assert source.version() != first
    assert [one.id for one in source.rules()] == ["b"]
    assert source.moderation == {"violence": "block"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [", "not YAML"),
        ("- a", "expected `rules:`"),
        ("rules:\n  - {id: a, kind: pattern, category: x, pattern: '('}", "RE2"),
        (
            "rules:\n  - {id: a, kind: words, category: x, words: [b]}\n"
            "  - {id: a, kind: words, category: x, words: [c]}",
            "twice",
        ),
        ("moderation: {violense: block}", "violence"),
        ("ruels: []", "ruels"),
    ],
)
def test_a_broken_file_is_refused_at_the_start_and_keeps_the_last_good_rules_later(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "guard.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        FileRules(path)
    path.write_text("rules:\n  - {id: good, kind: words, category: x, words: [foo]}\n", encoding="utf-8")
    source = FileRules(path)
    before = source.version()
    path.write_text(text + "\n", encoding="utf-8")
    assert source.version() == before
    assert "good" in {one.id for one in source.rules()}
    assert source.trouble is not None
    path.unlink()
    assert source.version() == before
    path.write_text("rules:\n  - {id: new, kind: words, category: x, words: [foo]}\n", encoding="utf-8")
    assert source.version() != before
    assert source.trouble is None


def test_later_sources_replace_rules_of_the_same_id() -> None:
    class Own:
        number = 1

        def version(self) -> int:
            return self.number

        def rules(self) -> list[Rule]:
            return [rule(id="topic.politics", pattern="x", enabled=False)]

    own = Own()
    both = Several(Builtin(), own)
    first = both.version()
    assert both.version() == first
    assert [one.enabled for one in both.rules() if one.id == "topic.politics"] == [False]
    own.number = 7
    assert both.version() != first
