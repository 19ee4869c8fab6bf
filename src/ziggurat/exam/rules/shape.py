"""Rules of form: JSON, quotes, titles, capitals, how a text begins and ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from ziggurat.exam.rules import parts

_FENCE = re.compile(r"^```[\w+-]*\n(.*?)\n?```$", re.DOTALL)
_QUOTES = {'"': '"', "“": "”", "「": "」", "『": "』", "'": "'", "‘": "’"}
_TABLE_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)+\|?\s*$", re.MULTILINE)
_CLOSING = re.compile(
    r"^\W*(?:in (?:summary|short|conclusion|brief|closing|sum|a word)|to (?:sum(?: it)? up|summari[sz]e|conclude)|"
    r"overall|all in all|summary|conclusion|finally|therefore|"
    r"总之|总的来说|总而言之|综上|综上所述|总结|小结|最后|一句话)",
    re.IGNORECASE,
)
_NAMES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "number": (int, float),
    "list": list,
    "object": dict,
    "boolean": bool,
}


def unfenced(text: str) -> str:
    """The inside of a text that is one Markdown code block, else the text."""
    found = _FENCE.match(text.strip())
    return found[1].strip() if found else text.strip()


def is_json(
    text: str,
    keys: Sequence[str] = (),
    only: bool = False,
    types: dict[str, str] | None = None,
    items: int | None = None,
) -> bool:
    """The whole text is JSON, bare or in a code block.

    Args:
        keys: an object that has these; `only`: and no others.
        types: of the values by key: text, number, list, object, boolean.
        items: a list of so many.
    """
    try:
        value: Any = json.loads(unfenced(text))
    except ValueError:
        return False
    if items is not None and not (isinstance(value, list) and len(value) == items):
        return False
    if not (keys or types):
        return isinstance(value, dict | list)
    if not isinstance(value, dict):
        return False
    right = all(
        isinstance(value.get(key), _NAMES[name])
        and (name == "boolean" or not isinstance(value.get(key), bool))
        for key, name in (types or {}).items()
    )
    return right and set(keys) <= value.keys() and (not only or set(keys) == value.keys())


def lower(text: str) -> bool:
    return any(c.islower() for c in text) and not any(c.isupper() for c in text)


def upper(text: str) -> bool:
    return any(c.isupper() for c in text) and not any(c.islower() for c in text)


def starts(text: str, phrase: str) -> bool:
    return text.casefold().startswith(phrase.casefold())


def ends(text: str, phrase: str) -> bool:
    return text.rstrip().casefold().endswith(phrase.casefold())


def quoted(text: str) -> bool:
    """In quotation marks from the first character to the last."""
    return len(text) > 2 and _QUOTES.get(text[0]) == text[-1]


def title(text: str) -> bool:
    """A title in double angular brackets, or 《》 in Chinese, in the first line that is not blank."""
    first = next(iter(parts.lines(text)), "")
    return re.search(r"<<[^<>\n]+>>|《[^《》\n]+》", first) is not None


def no_commas(text: str) -> bool:
    return not re.search("[,，、]", text)


def postscript(text: str, mark: str = "P.S.") -> bool:
    """The last paragraph or line begins with `P.S.` (or another mark)."""
    last = parts.lines(text)[-1] if parts.lines(text) else ""
    last_block = parts.paragraphs(text)[-1] if parts.paragraphs(text) else ""
    return any(one.lstrip("* ").casefold().startswith(mark.casefold()) for one in (last, last_block))


def code_block(text: str, language: str | None = None) -> bool:
    return (
        re.search(rf"```{re.escape(language) if language else ''}[\w+-]*\n.+?```", text, re.DOTALL)
        is not None
    )


def table(text: str, rows: int | None = None) -> bool:
    """A Markdown table; `rows`: of so many lines below its heading."""
    rule = _TABLE_RULE.search(text)
    if rule is None:
        return False
    below = text[rule.end() :].strip("\n").split("\n")
    count = next((i for i, line in enumerate(below) if "|" not in line), len(below))
    return count > 0 if rows is None else count == rows


def parted(text: str, by: str, count: int) -> bool:
    """So many parts that are not empty, and different from each other, with a line `by` between them."""
    found = [one.strip() for one in re.split(rf"^\s*{re.escape(by)}\s*$", text, flags=re.MULTILINE)]
    return len(found) == count and all(found) and len(set(found)) == count


def separated(text: str, by: str, count: int) -> bool:
    """So many items on one line, with `by` between them."""
    found = [one.strip() for one in text.strip().rstrip(".。").split(by)]
    return "\n" not in text.strip() and len(found) == count and all(found)


def repeats(text: str, prompt: str) -> bool:
    """Begins with the request, word for word, and goes on after it."""
    return text.startswith(prompt) and len(text) > len(prompt) + 1


def points_explained(text: str, at_least: int = 3, words: int = 5) -> bool:
    """At least so many numbered points of at least so many words each, lines below a point included."""
    blocks: list[str] = []
    for line in text.splitlines():
        if parts.numbered(line):
            blocks.append(line)
        elif blocks and line.strip() and not _CLOSING.match(line):
            blocks[-1] += "\n" + line
    long = [one for one in blocks if len(parts.words(one)) - 1 >= words]
    return len(long) >= at_least and len(long) == len(blocks)


def closing(text: str) -> bool:
    """The last paragraph or line sums up ("In short, ...", 总之)."""
    last = (parts.paragraphs(text) or [""])[-1]
    return any(_CLOSING.match(one) for one in (last, parts.lines(text)[-1] if parts.lines(text) else ""))


def rhymes(text: str, letters: int = 2) -> bool:
    """English: at least two neighbouring or alternate lines end alike, by their last letters (rough: sound is not
    spelling, so that some rhymes are missed)."""
    ends_ = [
        re.sub(r"[^a-z]", "", parts.words(line)[-1].casefold())
        for line in parts.lines(text)
        if parts.words(line)
    ]
    tails = [(one, one[-letters:]) for one in ends_]
    return any(
        a[1] == b[1] and a[0] != b[0]
        for gap in (1, 2)
        for a, b in zip(tails, tails[gap:], strict=False)
        if len(a[1]) == letters
    )


def even_lines(text: str, count: int, characters: Sequence[int]) -> bool:
    """A Chinese poem: so many lines or half-lines, each of one of these numbers of characters, all alike."""
    halves = [one for one in re.split(r"[，。！？；,.!?;\n]+", text) if one.strip()]
    sizes = [len(parts.words(one)) for one in halves]
    for start in (0, 1):  # a title may come first
        rest = sizes[start:]
        if len(rest) == count and len(set(rest)) == 1 and rest[0] in characters:
            return True
    return False


RULES: dict[str, Callable[..., bool]] = {
    "json": is_json,
    "lower": lower,
    "upper": upper,
    "starts": starts,
    "ends": ends,
    "quoted": quoted,
    "title": title,
    "no_commas": no_commas,
    "postscript": postscript,
    "code_block": code_block,
    "table": table,
    "parted": parted,
    "separated": separated,
    "repeats": repeats,
    "points_explained": points_explained,
    "closing": closing,
    "rhymes": rhymes,
    "even_lines": even_lines,
}
