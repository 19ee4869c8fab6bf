"""The rule of regular verse: form by counting, rhyme by modern finals. This is the gold check.

A poem rhymes if the last characters of its even lines (2 and 4; 2, 4, 6, 8) belong to one rhyme group and no two lines
of it, odd ones included, end with the same character: a character never rhymes with itself.

    白日依山尽，黄河入海流。欲穷千里目，更上一层楼。      流 liu, 楼 lou: both group 尤    rhymes
    远上寒山石径斜，白云生处有人家。...霜叶红于二月花。   家 jia, 花 hua: both group 麻    rhymes

The fourteen groups are those of 中华新韵 (the Chinese Poetry Society, 2005), without its division by tone. Real poems
were rhymed by the sounds of their time, so about a fifth of the real quatrains do not rhyme by this rule; their rate
by the same rule is given beside every figure.

Left out: tones (平仄), rhyme of the first line, parallelism, and meaning. Finals are pypinyin's first reading of a
character; `VERSE_READINGS` names the few characters that line ends read otherwise (found where all other even lines of
a real eight-line poem agree on another modern reading).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ziggurat.errors import UsageError

#: group -> its finals, as pypinyin writes them (v is ü; -i is the vowel of zhi, chi, shi, ri, zi, ci, si)
RHYME_GROUPS: dict[str, str] = {
    "麻": "a ia ua",
    "波": "o e uo",
    "皆": "ie ve",
    "开": "ai uai",
    "微": "ei uei",
    "豪": "ao iao",
    "尤": "ou iou",
    "寒": "an ian uan van",
    "文": "en in uen vn",
    "唐": "ang iang uang",
    "庚": "eng ing ueng ong iong",
    "齐": "i er v",
    "支": "-i",
    "姑": "u",
}
_GROUP_OF_FINAL = {final: group for group, finals in RHYME_GROUPS.items() for final in finals.split()}
_APICAL = frozenset(("zh", "ch", "sh", "r", "z", "c", "s"))
_MARKS = re.compile(r"[\s，。、；：？！,.;:?!]+")
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U000323af]+")

VERSE_READINGS: dict[str, str] = {
    "还": "寒",  # huán, to return
    "了": "豪",  # liǎo
    "都": "姑",  # dū, the capital
    "说": "波",
    "行": "唐庚",  # háng and xíng
    "觉": "皆豪",  # jué and jiào
    "参": "寒文",  # cān and shēn
    "乐": "波皆",  # lè and yuè
    "没": "微波",  # méi and mò
    "着": "波豪",  # zhuó and zháo
    "得": "波",  # dé
    "地": "齐",  # dì
    "的": "齐",  # dì
}
"""Groups of characters whose first modern reading is not (or not alone) how verse reads them."""


@dataclass(frozen=True)
class Form:
    """A regular form: so many lines of so many characters."""

    name: str
    full_name: str
    lines: int
    characters: int

    @property
    def quatrain(self) -> bool:
        return self.lines == 4


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("五绝", "五言绝句", 4, 5),
        Form("七绝", "七言绝句", 4, 7),
        Form("五律", "五言律诗", 8, 5),
        Form("七律", "七言律诗", 8, 7),
    )
}
QUATRAINS = ("五绝", "七绝")


def split_lines(text: str) -> list[str]:
    """The lines of a poem, however they are pointed.

    >>> split_lines("白日依山尽，黄河入海流。\\n欲穷千里目，更上一层楼。")
    ['白日依山尽', '黄河入海流', '欲穷千里目', '更上一层楼']
    """
    return [line for line in _MARKS.split(text) if line]


def write_lines(lines: Sequence[str]) -> str:
    """The way poems are written here: a couplet a line, a comma within, a full stop after."""
    marked = [line + ("，" if i % 2 == 0 else "。") for i, line in enumerate(lines)]
    return "\n".join("".join(marked[i : i + 2]) for i in range(0, len(marked), 2))


def well_formed(lines: Sequence[str], form: Form) -> bool:
    """As many lines of as many characters as the form has, and nothing but Chinese characters in them."""
    return len(lines) == form.lines and all(len(line) == form.characters and is_han(line) for line in lines)


def is_han(text: str) -> bool:
    """Chinese characters and nothing else."""
    return _HAN.fullmatch(text) is not None


def endings(lines: Sequence[str]) -> list[str]:
    return [line[-1] for line in lines if line]


@cache
def rhyme_groups(character: str) -> frozenset[str]:
    """The groups in which a character may rhyme; none for what has no reading."""
    if character in VERSE_READINGS:
        return frozenset(VERSE_READINGS[character])
    pypinyin = _pypinyin()
    initial, final = (
        pypinyin.pinyin(character, style=style, strict=True, errors="ignore")
        for style in (pypinyin.Style.INITIALS, pypinyin.Style.FINALS)
    )
    if not final or not final[0][0]:
        return frozenset()
    sound = "-i" if final[0][0] == "i" and initial[0][0] in _APICAL else final[0][0]
    group = _GROUP_OF_FINAL.get(sound)
    return frozenset((group,)) if group else frozenset()


def rhyme_of(lines: Sequence[str]) -> str | None:
    """The group in which all even lines rhyme, or None; repeated characters are not looked at here."""
    feet = endings(lines)[1::2]
    if len(feet) < 2:
        return None
    shared = frozenset.intersection(*(rhyme_groups(character) for character in feet))
    return min(shared) if shared else None


def repeats_an_ending(lines: Sequence[str]) -> bool:
    """Whether two lines end with the same character."""
    last = endings(lines)
    return len(set(last)) < len(last)


def rhymes(lines: Sequence[str]) -> bool:
    """The rule, whole: one group, and no character rhymes with itself."""
    return rhyme_of(lines) is not None and not repeats_an_ending(lines)


@dataclass(frozen=True)
class Ending:
    """The character that ends most lines, and its share of them."""

    character: str
    share: float


def commonest_ending(poems: Sequence[Sequence[str]]) -> Ending:
    counted = Counter(character for lines in poems for character in endings(lines))
    if not counted:
        return Ending("", 0.0)
    character, count = counted.most_common(1)[0]
    return Ending(character, count / counted.total())


def group_shares(poems: Sequence[Sequence[str]]) -> dict[str, float]:
    """Of the poems that rhyme, the share of each group, commonest first."""
    counted = Counter(group for lines in poems if rhymes(lines) and (group := rhyme_of(lines)))
    return {group: count / counted.total() for group, count in counted.most_common()}


def need_pypinyin() -> None:
    """Raise now, before anything is trained, what the first rhyme would raise."""
    _pypinyin()


@cache
def _pypinyin() -> Any:
    try:
        import pypinyin
    except ModuleNotFoundError:
        raise UsageError(
            'rhyme is judged by the Python package pypinyin, which is not installed: pip install "ziggurat[verse]".'
        ) from None
    return pypinyin
