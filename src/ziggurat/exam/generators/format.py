"""Prompts with rules that code can check, as IFEval asks them (arXiv:2311.07911): our own wordings, topics and rules.

A prompt asks for a short text on a topic and gives one to three rules that can be kept together. Every kind of rule
comes equally often. A row: `prompt`, `rules` (exam/rules), `language`, `kinds` (how many rules), `kind` of the first.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ziggurat.exam.generators.format_words import BEGINNINGS, COMMON, ENDINGS, OTHERS, PIECES, TOPICS, WORDS

Rule = dict[str, Any]
Drawn = tuple[Rule, dict[str, str]]


class Draw(random.Random):
    """What is drawn for the prompts of one language."""

    language = "en"


def _words(draw: Draw) -> Drawn:
    limit = draw.choice([30, 40, 50, 60, 80])
    if draw.random() < 0.5:
        return {"kind": "words", "at_most": limit}, {
            "en": f"Use at most {limit} words.",
            "zh": f"全文不超过{limit}个字。",
        }
    return {"kind": "words", "at_least": limit}, {
        "en": f"Use at least {limit} words.",
        "zh": f"全文至少{limit}个字。",
    }


def _sentences(draw: Draw) -> Drawn:
    n = draw.choice([2, 3, 4, 5])
    return {"kind": "sentences", "exactly": n}, {
        "en": f"Write exactly {n} sentences.",
        "zh": f"正好写{n}句话。",
    }


def _paragraphs(draw: Draw) -> Drawn:
    n = draw.choice([2, 3, 4])
    return {"kind": "paragraphs", "exactly": n}, {
        "en": f"Write exactly {n} paragraphs, with a blank line between them.",
        "zh": f"正好写{n}段，段与段之间空一行。",
    }


def _bullets(draw: Draw) -> Drawn:
    n = draw.choice([2, 3, 4, 5])
    return {"kind": "bullets", "exactly": n}, {
        "en": f"Include exactly {n} bullet points that begin with a hyphen.",
        "zh": f"正好包含{n}个以“- ”开头的要点。",
    }


def _numbered(draw: Draw) -> Drawn:
    n = draw.choice([3, 4, 5, 6])
    return {"kind": "numbered", "exactly": n}, {
        "en": f"Write it as a numbered list of exactly {n} points (1., 2., ...).",
        "zh": f"写成正好{n}点的编号列表（1. 2. ……）。",
    }


def _json(draw: Draw) -> Drawn:
    keys = draw.sample(["title", "text", "author", "place", "year", "mood"], draw.choice([2, 3]))
    said = ", ".join(f'"{key}"' for key in keys)
    return {"kind": "json", "keys": keys, "only": True}, {
        "en": f"Answer with nothing but a JSON object that has exactly the keys {said}.",
        "zh": f"只回答一个JSON对象，它的键正好是{said}。",
    }


def _json_list(draw: Draw) -> Drawn:
    n = draw.choice([2, 3, 4])
    return {"kind": "json", "items": n}, {
        "en": f"Answer with nothing but a JSON array of exactly {n} strings.",
        "zh": f"只回答一个正好有{n}个字符串的JSON数组。",
    }


def _lacks(draw: Draw) -> Drawn:
    words = draw.sample(COMMON[draw.language], 2)
    return {"kind": "lacks", "words": words}, {
        "en": f'Do not use the words "{words[0]}" and "{words[1]}".',
        "zh": f"不要使用“{words[0]}”和“{words[1]}”这两个词。",
    }


def _contains(draw: Draw) -> Drawn:
    words = draw.sample(WORDS[draw.language], 2)
    return {"kind": "contains", "all": words}, {
        "en": f'Use the words "{words[0]}" and "{words[1]}".',
        "zh": f"要用到“{words[0]}”和“{words[1]}”。",
    }


def _word_times(draw: Draw) -> Drawn:
    word, n = draw.choice(WORDS[draw.language]), draw.choice([2, 3])
    return {"kind": "word_times", "word": word, "exactly": n}, {
        "en": f'Use the word "{word}" exactly {n} times.',
        "zh": f"“{word}”正好出现{n}次。",
    }


def _lower(_draw: Draw) -> Drawn:
    return {"kind": "lower"}, {"en": "Use lower-case letters only, no capital letters."}


def _upper(_draw: Draw) -> Drawn:
    return {"kind": "upper"}, {"en": "Write everything in capital letters."}


def _starts(draw: Draw) -> Drawn:
    phrase = draw.choice(BEGINNINGS[draw.language])
    return {"kind": "starts", "phrase": phrase}, {
        "en": f'Begin with the words "{phrase}".',
        "zh": f"以“{phrase}”开头。",
    }


def _ends(draw: Draw) -> Drawn:
    phrase = draw.choice(ENDINGS[draw.language])
    return {"kind": "ends", "phrase": phrase}, {
        "en": f'End with exactly this sentence: "{phrase}" Nothing may follow it.',
        "zh": f"最后一句必须是“{phrase}”，后面不要再写任何内容。",
    }


def _language(draw: Draw) -> Drawn:
    code, name = draw.choice(OTHERS[draw.language])
    return {"kind": "language", "code": code}, {
        "en": f"Write the whole answer in {name}.",
        "zh": f"全部用{name}回答。",
    }


def _title(_draw: Draw) -> Drawn:
    return {"kind": "title"}, {
        "en": "Put a title in double angular brackets, as in <<My title>>, on the first line.",
        "zh": "第一行写标题，标题放在《》里。",
    }


def _no_commas(_draw: Draw) -> Drawn:
    return {"kind": "no_commas"}, {"en": "Do not use any commas.", "zh": "不要使用逗号和顿号。"}


def _quoted(_draw: Draw) -> Drawn:
    return {"kind": "quoted"}, {
        "en": "Put the whole answer in double quotation marks.",
        "zh": "把整个回答放在双引号里。",
    }


def _postscript(draw: Draw) -> Drawn:
    mark = draw.choice({"en": ["P.S.", "P.P.S."], "zh": ["附言：", "P.S."]}[draw.language])
    return {"kind": "postscript", "mark": mark}, {
        "en": f"Add a postscript at the end that begins with {mark}",
        "zh": f"最后加一条以“{mark}”开头的附言。",
    }


def _placeholders(draw: Draw) -> Drawn:
    n = draw.choice([2, 3])
    return {"kind": "placeholders", "at_least": n}, {
        "en": f"Include at least {n} placeholders in square brackets, such as [address].",
        "zh": f"至少包含{n}个方括号占位符，例如[地址]。",
    }


def _highlights(draw: Draw) -> Drawn:
    n = draw.choice([1, 2, 3])
    return {"kind": "highlights", "at_least": n}, {
        "en": f"Highlight at least {n} phrases with asterisks, as in *this phrase*.",
        "zh": f"至少用星号标出{n}处，例如*这里*。",
    }


def _capital_words(draw: Draw) -> Drawn:
    n = draw.choice([1, 2, 3])
    return {"kind": "capital_words", "at_least": n}, {
        "en": f"Write at least {n} words in all capital letters."
    }


def _letter_times(draw: Draw) -> Drawn:
    letter, n = draw.choice("bgkpvw"), draw.choice([3, 4, 5])
    return {"kind": "letter_times", "letter": letter, "at_least": n}, {
        "en": f'The letter "{letter}" must occur at least {n} times.'
    }


def _headings(draw: Draw) -> Drawn:
    n = draw.choice([2, 3])
    return {"kind": "headings", "exactly": n}, {
        "en": f"Divide it into exactly {n} sections, each with a Markdown heading (## ...).",
        "zh": f"分成正好{n}节，每节有一个Markdown标题（## ……）。",
    }


def _questions(draw: Draw) -> Drawn:
    n = draw.choice([1, 2])
    return {"kind": "questions", "exactly": n}, {
        "en": f"Ask exactly {n} question{'s' if n > 1 else ''} in it; all other sentences are statements.",
        "zh": f"其中正好有{n}个问句，其余都是陈述句。",
    }


def _parted(_draw: Draw) -> Drawn:
    return {"kind": "parted", "by": "******", "count": 2}, {
        "en": "Give two different versions, with a line of six asterisks (******) between them.",
        "zh": "给出两个不同的版本，中间用一行六个星号（******）隔开。",
    }


def _code_block(_draw: Draw) -> Drawn:
    return {"kind": "code_block"}, {
        "en": "Put the text in a Markdown code block (three backticks).",
        "zh": "把正文放在Markdown代码块里（三个反引号）。",
    }


def _table(draw: Draw) -> Drawn:
    n = draw.choice([2, 3])
    return {"kind": "table", "rows": n}, {
        "en": f"Include a Markdown table with a heading row and exactly {n} further rows.",
        "zh": f"包含一个Markdown表格，表头之外正好{n}行。",
    }


def _lines(draw: Draw) -> Drawn:
    n = draw.choice([3, 4, 5])
    return {"kind": "lines", "exactly": n}, {
        "en": f"Write exactly {n} lines, without blank lines.",
        "zh": f"正好写{n}行，不要空行。",
    }


def _separated(draw: Draw) -> Drawn:
    n = draw.choice([3, 4, 5])
    return {"kind": "separated", "by": ";", "count": n}, {
        "en": f"Answer with exactly {n} key words on one line, separated by semicolons (;), and nothing else.",
        "zh": f"只用一行写正好{n}个关键词，用英文分号（;）隔开，不写别的。",
    }


def _first_word(draw: Draw) -> Drawn:
    word = draw.choice(["Yes", "Today", "Perhaps", "Nobody"])
    return {"kind": "word_at", "place": 1, "word": word}, {"en": f'The first word must be "{word}".'}


KINDS: dict[str, tuple[Callable[[Draw], Drawn], str]] = {
    "words": (_words, "length"),
    "sentences": (_sentences, "length structure"),
    "paragraphs": (_paragraphs, "structure"),
    "bullets": (_bullets, "structure"),
    "numbered": (_numbered, "structure"),
    "json": (_json, "whole"),
    "json_list": (_json_list, "whole"),
    "lacks": (_lacks, "lacks"),
    "contains": (_contains, "contains"),
    "word_times": (_word_times, "contains"),
    "lower": (_lower, "case"),
    "upper": (_upper, "case"),
    "starts": (_starts, "start case"),
    "ends": (_ends, "end case"),
    "language": (_language, "language start end contains lacks case letters"),
    "title": (_title, "start structure length"),
    "no_commas": (_no_commas, "commas start"),
    "quoted": (_quoted, "start end structure"),
    "postscript": (_postscript, "end case structure length"),
    "placeholders": (_placeholders, "marks"),
    "highlights": (_highlights, "marks"),
    "capital_words": (_capital_words, "case"),
    "letter_times": (_letter_times, "letters case"),
    "headings": (_headings, "structure start"),
    "questions": (_questions, "questions end structure"),
    "parted": (_parted, "start end structure length"),
    "code_block": (_code_block, "start end structure marks"),
    "table": (_table, "structure"),
    "lines": (_lines, "structure"),
    "separated": (_separated, "whole"),
    "first_word": (_first_word, "start case"),
}
"""Kind -> how it is drawn, and what it decides; rules that decide the same thing do not come together."""
ENGLISH_ONLY = {"lower", "upper", "capital_words", "letter_times", "first_word"}


def rows(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Prompts of one language, each with one to three rules; every kind leads equally often, in a drawn order."""
    draw = Draw(f"format:{seed}:{language}")
    draw.language = language
    kinds = [kind for kind in KINDS if language == "en" or kind not in ENGLISH_ONLY]
    leads: list[str] = []
    while len(leads) < count:
        leads += draw.sample(kinds, len(kinds))
    return [_row(draw, language, kinds, lead, number) for number, lead in enumerate(leads[:count])]


def _row(draw: Draw, language: str, kinds: list[str], lead: str, number: int) -> dict[str, Any]:
    wanted = 1 if "whole" in KINDS[lead][1] else draw.choice([1, 2, 3])
    chosen = [lead]
    for kind in draw.sample(kinds, len(kinds)):
        decided = {one for had in chosen for one in KINDS[had][1].split()}
        if (
            len(chosen) < wanted
            and not decided & {*KINDS[kind][1].split(), "whole"}
            and KINDS[kind][1] != "whole"
        ):
            chosen.append(kind)
    drawn = [KINDS[kind][0](draw) for kind in chosen]
    piece = draw.choice(PIECES[draw.language]).format(draw.choice(TOPICS[language]))
    said = [wording[language] for _, wording in drawn]
    opening = f"Write {piece}." if language == "en" else f"写{piece}。"
    return {
        "id": f"{language}-{number + 1}",
        "prompt": (" " if language == "en" else "").join([opening, *said]),
        "rules": [rule for rule, _ in drawn],
        "language": language,
        "kind": lead,
        "kinds": str(len(chosen)),
    }
