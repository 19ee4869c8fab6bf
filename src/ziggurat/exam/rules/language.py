"""In which language a text is, of eleven: by script, else by its commonest words.

Chinese, Japanese, Korean, Russian, Arabic are known by their scripts. English, French, German, Spanish, Italian and
Portuguese by their small words, each of which counts for the languages that use it; letters that only some of them use
count too. The figure of `tests/exam/test_probes_a_language.py` on sentences written for it: 66 of 66 (11 languages, 6
each). It answers "unknown" for a text without a word it recognises. It does not parse: a list of names has no language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
}
_SMALL = {
    "en": "the of and to in is that it was for on are with as at be this have from by not but they you we which "
    "were an there their has will can would when who what your my his her she he i do does if or so about "
    "more how its a me us him them our all no one some very just than then now here where because into "
    "over after before only other did had been could should",
    "fr": "le la les de des du et est un une que qui dans pour pas sur au aux avec ce cette il elle nous vous "
    "ils elles je ne se sont mais ou où par plus comme être avoir fait on son sa ses leur mon ma mes très "
    "aussi tout c'est à y vos leurs ces cet quand si bien sans sous chez peu notre votre peut faire était "
    "avait ont suis as avons deux après avant rien moi lui eux dont car donc",
    "de": "der die das und ist ein eine einen einem einer nicht mit von zu den dem des auf für im sich es sie "
    "er wir ihr ich auch als an bei nach aus wie aber oder wenn noch nur war sind wird werden haben hat "
    "sehr dass kann mein dein um ab hier dort uns euch ihm ihn ihnen dieser diese dieses kein keine "
    "keinen will muss mich dich mir dir man zum zur vom durch gegen ohne bis unter über alle alles schon "
    "jetzt immer wo was wer welche waren hatte wurde mehr so da denn doch",
    "es": "el la los las de del y es un una que en para no por con se su sus al lo como más pero está están son "
    "muy yo tú él ella nosotros me te le les este esta ese eso hay ser tiene fue cuando también sobre "
    "todo mi tu dónde qué cómo has he hemos vamos quién nos han era fueron tienen puede hacer porque "
    "desde hasta entre sin ya ni sí bien aquí allí cada otro otra nuestro nuestra",
    "it": "il lo la i gli le di del della dei e è un una uno che in per non con si su al alla dal nel nella "
    "come più ma sono sei siamo ho hai ha abbiamo questo questa anche molto io tu lui lei noi mi ti ci da "
    "quando c'è tutto era erano vi nei sul sulla sui hanno fatto fare essere stato perché dove chi cosa "
    "quale senza tra fra fino poi già ancora sempre bene qui mio mia suo sua loro nostro andiamo può "
    "alle allo ai agli dello degli delle nelle nello dalla dalle alla",
    "pt": "o a os as de do da dos das e é um uma que em para não por com se no na nos nas ao como mais mas são "
    "está muito eu você ele ela nós me seu sua este esta isso também foi tem ser quando sobre pelo pela "
    "meu minha era eram foram têm pode fazer porque desde até entre sem já nem sim bem aqui ali cada "
    "outro outra nosso nossa vamos lhe onde quem qual depois antes ainda sempre à às num numa",
}
_USES: dict[str, list[str]] = {}
for _language, _words in _SMALL.items():
    for _word in set(_words.split()):
        _USES.setdefault(_word, []).append(_language)
_LETTERS = {"de": "ßä", "es": "ñ¿¡", "pt": "ãõ", "fr": "êœ", "it": "ò"}
"""Letters and marks that one of the six alone uses much."""
_LATIN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def language_of(text: str) -> str:
    """The code of a text's language, or "unknown".

    >>> [language_of(t) for t in ("Where is the boat?", "船在哪里？", "Où est le bateau ?", "123")]
    ['en', 'zh', 'fr', 'unknown']
    """
    shares = shares_of(text)
    return max(shares, key=lambda one: shares[one]) if shares else "unknown"


def shares_of(text: str) -> dict[str, float]:
    """Which part of a text's letters each script has; the Latin part goes to the one language of its small words."""
    counts: Counter[str] = Counter()
    for name, pattern in _SCRIPTS.items():
        if found := len(pattern.findall(text)):
            counts[name] = found * (
                2 if name in ("zh", "ja", "ko") else 1
            )  # a character says more than a letter
    if counts["ja"] and counts["ja"] >= counts["zh"] / 4:  # Japanese uses Chinese characters too
        counts["ja"] += counts.pop("zh", 0)
    latin = _LATIN.findall(text.replace("’", "'"))
    letters = sum(len(word) for word in latin if word.isascii() or word[0] < "\u0250")
    if letters and (spoken := _latin_language(text.casefold(), latin)):
        counts[spoken] += letters
    total = counts.total()
    return {name: count / total for name, count in counts.items() if count}


def _latin_language(text: str, words: Sequence[str]) -> str | None:
    votes = Counter({name: 3 * sum(text.count(c) for c in own) for name, own in _LETTERS.items()})
    for word in words:
        lowered = word.casefold()
        uses = _USES.get(lowered) or _USES.get(lowered.partition("'")[0], [])
        for name in uses:
            votes[name] += 6 // len(uses) + 1
    best, count = votes.most_common(1)[0]
    return best if count else None


def language(text: str, code: str | None = None, among: Sequence[str] = (), share: float = 0.7) -> bool:
    """Is in a language: at least that share of it. `among`: holds each of these languages (mixed text)."""
    found = shares_of(text)
    if among:
        return all(found.get(one, 0.0) >= 0.1 for one in among)
    return found.get(str(code), 0.0) >= share
