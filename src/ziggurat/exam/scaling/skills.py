"""Skills made by rule, to be mixed into text and asked of the model afterwards.

    sums           37 + 48 = 85
    copies         copy k f m w q: k f m w q
    translations   the red house sings = ralo kemuta sive

A document is a few lines of one skill. A question is the front of a line that is in no document: a tenth of all lines,
chosen by their hash, is kept for questions. Answers have several tokens (digits are single tokens), so that a wrong one
can be nearly right. The language of the translations is invented: every word has one translation, and the adjective
follows its noun.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ziggurat.corpus.split import falls_below
from ziggurat.errors import UsageError, did_you_mean

ASKED_SHARE = 0.1
"""Of all lines, those that are only asked."""
LINES = (6, 12)
"""Of a document."""
COPIED_LETTERS = "bcdfghjklmnpqrstvwxz"
COPIED = 5
_NOUNS = (
    "house", "river", "lamp", "garden", "baker", "horse", "bridge", "letter", "song", "child", "winter", "stone",
    "market", "friend", "door", "apple",
)  # fmt: skip
_ADJECTIVES = (
    "red", "old", "quiet", "small", "bright", "cold", "round", "broken", "happy", "green", "heavy", "narrow",
)  # fmt: skip
_VERBS = ("sings", "waits", "falls", "shines", "sleeps", "returns", "opens", "moves", "burns", "grows")
_SYLLABLES = [c + v for c in "klmnrstv" for v in "aeiou"]


@dataclass(frozen=True)
class Question:
    """A prompt, and what a model that has the skill writes after it, up to the end of the line."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Skill:
    """A kind of line: `draw` makes one, as its prompt and its answer."""

    name: str
    about: str
    draw: Callable[[random.Random], Question]
    teaches: tuple[str, ...] = ()
    """Kinds of the town's documents that teach it too; a series leaves them out."""

    def documents(self, characters: int, seed: int = 0) -> Iterator[str]:
        """Documents of at least so many characters together; none for 0."""
        chance, written = random.Random(f"{self.name} {seed}"), 0
        while written < characters:
            lines = [self._line(chance, asked=False) for _ in range(chance.randint(*LINES))]
            text = "\n".join(q.prompt + q.answer for q in lines) + "\n"
            written += len(text)
            yield text

    def questions(self, count: int, seed: int = 0) -> list[Question]:
        """Different lines that are in no document; fewer where the rule has no more."""
        chance, found = random.Random(f"{self.name} questions {seed}"), {}
        for _ in range(count * 20):
            question = self._line(chance, asked=True)
            found[question.prompt] = question
            if len(found) == count:
                break
        return list(found.values())

    def _line(self, chance: random.Random, *, asked: bool) -> Question:
        while True:
            question = self.draw(chance)
            if falls_below(question.prompt, ASKED_SHARE) == asked:
                return question


def _sum(chance: random.Random) -> Question:
    a, b = chance.randint(10, 99), chance.randint(10, 99)
    return Question(f"{a} + {b} =", f" {a + b}")


def _copy(chance: random.Random) -> Question:
    word = " ".join(chance.choice(COPIED_LETTERS) for _ in range(COPIED))
    return Question(f"copy {word}:", f" {word}")


def _dictionary() -> dict[str, str]:
    """Every English word with its own invented one, of two or three syllables."""
    chance, made = random.Random("an invented language"), dict[str, str]()
    for word in (*_NOUNS, *_ADJECTIVES, *_VERBS):
        while word not in made or list(made.values()).count(made[word]) > 1:
            made[word] = "".join(chance.choice(_SYLLABLES) for _ in range(chance.choice((2, 3))))
    return made


DICTIONARY = _dictionary()


def _translation(chance: random.Random) -> Question:
    noun, adjective, verb = (chance.choice(words) for words in (_NOUNS, _ADJECTIVES, _VERBS))
    other = " ".join(DICTIONARY[word] for word in (noun, adjective, verb))
    return Question(f"the {adjective} {noun} {verb} =", f" {other}")


SKILLS = {
    skill.name: skill
    for skill in (
        Skill("sums", "the sum of two two-digit numbers", _sum, ("town:sums",)),
        Skill("copies", f"a copy of {COPIED} random letters", _copy, ("town:copy", "town:echo")),
        Skill(
            "translations", "three words in an invented language, the adjective after its noun", _translation
        ),
    )
}


def skill_named(name: str) -> Skill:
    """Raises UsageError, with the names that there are."""
    if name not in SKILLS:
        hint = did_you_mean(name, SKILLS)
        raise UsageError(f'There is no skill "{name}"; choose one of {", ".join(SKILLS)}.{hint}')
    return SKILLS[name]
