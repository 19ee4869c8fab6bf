"""Form and rhyme, on poems that were scanned by hand."""

from __future__ import annotations

import sys

import pytest

from ziggurat.errors import UsageError
from ziggurat.verse import prosody
from ziggurat.verse.prosody import (
    FORMS,
    commonest_ending,
    group_shares,
    repeats_an_ending,
    rhyme_groups,
    rhyme_of,
    rhymes,
    split_lines,
    well_formed,
    write_lines,
)

STORK_TOWER = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"

RHYMING = [
    (STORK_TOWER, "五绝", "尤"),
    ("床前明月光，疑是地上霜。举头望明月，低头思故乡。", "五绝", "唐"),
    ("春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。", "五绝", "豪"),
    ("千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。", "五绝", "皆"),
    ("远上寒山石径斜，白云生处有人家。停车坐爱枫林晚，霜叶红于二月花。", "七绝", "麻"),
    ("朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。", "七绝", "寒"),
    (
        "空山新雨后，天气晚来秋。明月松间照，清泉石上流。竹喧归浣女，莲动下渔舟。随意春芳歇，王孙自可留。",
        "五律",
        "尤",
    ),
]
# Both rhymed when they were written; by today's finals they do not: qu and chu, yuan and hun.
NO_LONGER_RHYMING = [
    "松下问童子，言师采药去。只在此山中，云深不知处。",
    "向晚意不适，驱车登古原。夕阳无限好，只是近黄昏。",
]


@pytest.mark.parametrize(("text", "form", "group"), RHYMING)
def test_famous_poems_have_their_form_and_rhyme_as_everybody_hears(text: str, form: str, group: str) -> None:
    lines = split_lines(text)
    assert well_formed(lines, FORMS[form])
    assert rhyme_of(lines) == group
    assert rhymes(lines)


@pytest.mark.parametrize("text", NO_LONGER_RHYMING)
def test_what_rhymed_a_thousand_years_ago_may_not_by_modern_finals(text: str) -> None:
    assert rhyme_of(split_lines(text)) is None


def test_a_character_does_not_rhyme_with_itself() -> None:
    """The trap that was measured: rhyme of 93 % by ending every verse with one character."""
    lines = split_lines("白日依山流，黄河入海流。欲穷千里目，更上一层流。")
    assert rhyme_of(lines) == "尤"
    assert repeats_an_ending(lines)
    assert not rhymes(lines)
    odd_repeats_even = split_lines("白日依山流，黄河入海流。欲穷千里目，更上一层楼。")
    assert not rhymes(odd_repeats_even)


def test_the_vowel_of_shi_is_not_that_of_li() -> None:
    assert rhyme_groups("诗") == rhyme_groups("思") == {"支"}
    assert rhyme_groups("里") == rhyme_groups("鱼") == rhyme_groups("儿") == {"齐"}
    assert rhyme_groups("书") == {"姑"}


def test_verse_readings_and_strange_characters() -> None:
    assert rhyme_groups("还") == {"寒"}
    assert rhyme_groups("行") == {"唐", "庚"}
    assert rhyme_groups("x") == frozenset()
    assert rhyme_of(["甲乙x", "甲乙x"]) is None


@pytest.mark.parametrize(
    "text",
    [
        "白日依山尽，黄河入海流。欲穷千里目。",
        "白日依山尽，黄河入海流。欲穷千里目，更上一层。",
        "白日依山尽，黄河入海流。欲穷千里目，更上1层楼。",
        "",
    ],
)
def test_a_missing_line_or_character_or_a_digit_breaks_the_form(text: str) -> None:
    assert not well_formed(split_lines(text), FORMS["五绝"])


def test_poems_are_written_as_they_are_read() -> None:
    assert write_lines(split_lines(STORK_TOWER)) == STORK_TOWER
    assert split_lines("白日依山尽\n黄河入海流\n") == ["白日依山尽", "黄河入海流"]


def test_variety_is_counted_over_lines_and_over_rhyming_poems() -> None:
    tower, night = split_lines(STORK_TOWER), split_lines(RHYMING[1][0])
    hermit = split_lines(NO_LONGER_RHYMING[0])
    shares = group_shares([tower, tower, night, hermit])
    assert shares == pytest.approx({"尤": 2 / 3, "唐": 1 / 3})
    worst = commonest_ending([tower, tower, night])
    assert worst.share == pytest.approx(2 / 12)
    assert commonest_ending([]).share == 0


def test_without_pypinyin_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    prosody._pypinyin.cache_clear()
    monkeypatch.setitem(sys.modules, "pypinyin", None)
    with pytest.raises(UsageError, match=r"ziggurat\[verse\]"):
        prosody.need_pypinyin()
    monkeypatch.undo()
    prosody._pypinyin.cache_clear()
