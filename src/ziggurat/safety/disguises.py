"""The forms under which a text is compared with rules: as it is written, and without the usual disguises (A091).

    plain       normal form NFKC without invisible characters; one space for each run of white space
    folded      without accents; look-alike letters of other scripts as Latin ones, traditional Chinese as simplified
    repeats     letters that stand three times or more, once: `dieee` -> `die`
    joined      symbols between Chinese characters removed
    digits      digits and signs inside words as the letters that they stand for: `k1ll` -> `kill`
    reversed    the text from its end to its beginning
    rot13, base64, hex, percent, entities, escapes      what the text decodes to, up to two encodings deep
    spaced      words whose letters stand apart: `k i l l` -> `kill`; word boundaries are lost

A disguise that is not in this list (another cipher, another language, a paraphrase) is not seen.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from ziggurat.safety.layers import plain

MAX_DECODED = 20_000
"""Characters of one decoded view; what lies beyond is not examined."""
MAX_TURNED = 2_000
"""Characters that are read backwards and by rot13: both apply to every text."""
MAX_VIEWS = 24
DEPTH = 2

_LOOK_ALIKES = str.maketrans(
    "аеорсухівнкмтзьԁјѕԛԝһӏ"
    + "АВЕНІЈКМОРСТХУЅЬЗ"
    + "αβεικνορτυχωηγ"
    + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
    + "ıłøđħɡɩʟɪᴋɢʜᴍɴʀ’‘ʼ“”‐‑–—",
    "aeopcyxibhkmt3bdjsqwhl"
    + "ABEHIJKMOPCTXYSB3"
    + "abeikvoptuxwny"
    + "ABEZHIKMNOPTYX"
    + "ilodhgilikghmnr'''\"\"----",
)
"""Cyrillic, Greek, and others that look like Latin letters; typographic quotes and dashes as plain ones. A selection of
the Unicode consortium's confusables (UTS #39)."""

_SIMPLIFIED = str.maketrans(
    "殺傷藥樓燒結輕過還這個沒麼麽讓離開覺嗎們為樣體會應該後繼續無義製彈槍壓劑裡裏說話請問學兒戀愛識國黨選舉總統嚴難實對與幫據隨內從當來時間見頭腦繩臟給點買賣網憶係關殘尋輩墜農遺書終願寧幹麻煩親媽爸錯誤須臺灣權獨經濟種類別戰爭歷史無",
    "杀伤药楼烧结轻过还这个没么么让离开觉吗们为样体会应该后继续无义制弹枪压剂里里说话请问学儿恋爱识国党选举总统严难实对与帮据随内从当来时间见头脑绳脏给点买卖网忆系关残寻辈坠农遗书终愿宁干麻烦亲妈爸错误须台湾权独经济种类别战争历史无",
)
"""Traditional characters that occur in rules. A rule is written in simplified ones."""

_DIGITS = str.maketrans("013457@$!|+", "oleastasiit")
_DIGITS_I = str.maketrans("013457@$!|+", "oieastasiit")
_DRAWN_OUT = re.compile(r"([A-Za-z])\1{2,}")
_MIXED = re.compile(
    r"[A-Za-z][013457@$!|+]+[A-Za-z]|(?:^|\s)[013457@$|+]+[A-Za-z]{2}|[A-Za-z]{2}[013457@$|+]+(?:\s|$)"
)
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_][ \t.\-_*·~|/,]{1,3}){3,200}[^\W\d_](?![^\W_])")
_HAN = r"\u3400-\u9fff"
_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}])[^\w{_HAN}，。！？、；：“”‘’（）《》,!?;:()\n]{{1,4}}(?=[{_HAN}])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,20000}={0,2}")
_HEX = re.compile(r"(?:(?:\\x|0x)?[0-9a-fA-F]{2}[\s:,]?){8,8000}")
_ESCAPES = re.compile(r"\\u\{?([0-9a-fA-F]{4,6})\}?|\\x([0-9a-fA-F]{2})")
_SPACES = re.compile(r"\s+")


class View(NamedTuple):
    name: str
    text: str
    loose: bool = False
    """Word boundaries and spaces are lost, so a rule's are ignored too."""


@lru_cache(maxsize=20_000)
def fold(character: str) -> str:
    """One character as rules see it; "" for an invisible one or a combining mark."""
    if character.isascii():
        return character
    if "\ud800" <= character <= "\udfff":  # half a pair: no character, and RE2 reads UTF-8
        return "\ufffd"
    spelled = unicodedata.normalize("NFKD", plain(character))
    kept = "".join(c for c in spelled if unicodedata.category(c) not in ("Mn", "Me", "Cf"))
    return unicodedata.normalize("NFC", kept).translate(_LOOK_ALIKES).translate(_SIMPLIFIED)


def folded(text: str) -> str:
    return text if text.isascii() else "".join(map(fold, text))


def views(text: str) -> list[View]:
    """All forms of a text that differ from each other; the first is the plain one."""
    found: list[View] = []
    seen: set[tuple[str, bool]] = set()

    def add(view: View) -> bool:
        if (view.text, view.loose) in seen or len(found) >= MAX_VIEWS:
            return False
        seen.add((view.text, view.loose))
        found.append(view)
        return True

    start = _SPACES.sub(" ", plain(text)).encode(errors="replace").decode()
    add(View("plain", start))
    level = [View("", start)]
    for depth in range(DEPTH + 1):
        for view in level:
            for form in _forms(view):
                add(form)
        if depth < DEPTH:
            level = [one for view in level for one in _decoded(view) if add(one)]
    return found


def _forms(view: View) -> Iterator[View]:
    """The spellings of one text that are no encodings."""
    prefix = f"{view.name}+" if view.name else ""
    low = _SPACES.sub(" ", folded(view.text))
    yield View(f"{prefix}folded", low)
    if _DRAWN_OUT.search(low):
        yield View(f"{prefix}repeats", _DRAWN_OUT.sub(r"\1", low))
    if not low.isascii():
        yield View(f"{prefix}joined", _BETWEEN_HAN.sub("", low))
    if _MIXED.search(low):
        for table in (_DIGITS_I, _DIGITS):
            yield View(f"{prefix}digits", " ".join(_letters(word, table) for word in low.split(" ")))
    for run in _SPACED.findall(low)[:4]:
        yield View(f"{prefix}spaced", "".join(c for c in run if c.isalpha()), loose=True)


def _letters(word: str, table: dict[int, int]) -> str:
    """A word that mixes letters with digits or signs, in letters."""
    tail = len(word.rstrip("!|+.,;:?"))  # `die!!` is a word with exclamation marks
    mixed = len(word) <= 40 and any(c.isalpha() for c in word) and not word[:tail].isalpha()
    return word[:tail].translate(table) + word[tail:] if mixed else word


def _decoded(view: View) -> Iterator[View]:
    """What a text hides in an encoding, each in a view of its own."""
    turned = "rot13" in view.name or "reversed" in view.name
    text, prefix = view.text[:MAX_DECODED], f"{view.name}+" if view.name else ""
    for name, decode in _DECODERS.items():
        if turned and name in ("rot13", "reversed"):
            continue
        for shown in decode(text):
            if shown.strip() and shown != text:
                yield View(prefix + name, _SPACES.sub(" ", plain(shown[:MAX_DECODED])))


def _rot13(text: str) -> Iterator[str]:
    if any(c.isascii() and c.isalpha() for c in text):
        yield codecs.encode(text[:MAX_TURNED], "rot13")


def _reversed(text: str) -> Iterator[str]:
    yield text[:MAX_TURNED][::-1]


def _base64(text: str) -> Iterator[str]:
    for run in _BASE64.findall(text)[:4]:
        bare = run.rstrip("=").translate(str.maketrans("-_", "+/"))
        padded = bare[: len(bare) - (len(bare) % 4 == 1)]
        with_padding = padded + "=" * (-len(padded) % 4)
        yield from _as_text(lambda given=with_padding: base64.b64decode(given))  # type: ignore[misc]


def _hex(text: str) -> Iterator[str]:
    for run in _HEX.findall(text)[:4]:
        digits = re.sub(r"\\x|0x|[\s:,]", "", run)
        yield from _as_text(lambda given=digits: bytes.fromhex(given))  # type: ignore[misc]


def _as_text(decode: Callable[[], bytes]) -> Iterator[str]:
    """The decoded bytes, where they are text for the most part."""
    try:
        shown = decode().decode("utf-8")
    except (ValueError, binascii.Error):
        return
    if shown and sum(c.isprintable() or c.isspace() for c in shown) >= 0.9 * len(shown):
        yield shown


def _percent(text: str) -> Iterator[str]:
    if "%" in text:
        yield unquote(text, errors="replace")


def _entities(text: str) -> Iterator[str]:
    if "&" in text:
        yield html.unescape(text)


def _escapes(text: str) -> Iterator[str]:
    if "\\" in text:
        yield _ESCAPES.sub(lambda m: _character(int(m[1] or m[2], 16)), text)


def _character(code: int) -> str:
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else ""


_DECODERS: dict[str, Callable[[str], Iterator[str]]] = {
    "rot13": _rot13,
    "reversed": _reversed,
    "base64": _base64,
    "hex": _hex,
    "percent": _percent,
    "entities": _entities,
    "escapes": _escapes,
}
