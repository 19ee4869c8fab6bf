"""What is asked for and what a poet answered: a form and a title, or an acrostic on given characters (藏头诗).

The poets of stage 2 are real, and were chosen: every poem demonstrated is well-formed and rhymes, as people who know
verse would choose their examples. An acrostic begins each line with a given character, in order. It is made of real
lines: half of them are a real quatrain (the characters are those it happens to begin with), the others four lines of
different poems on the four characters of a real title, the even ones chosen to rhyme.

    user        以“江南春色”为头，写一首五言藏头诗。
    assistant   江... ，南... 。春... ，色... 。
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ziggurat.errors import DataError
from ziggurat.records import Demonstration, Message
from ziggurat.verse.poems import Anthology, Poem
from ziggurat.verse.prosody import (
    FORMS,
    QUATRAINS,
    RHYME_GROUPS,
    Form,
    endings,
    is_han,
    repeats_an_ending,
    rhyme_groups,
    rhymes,
    write_lines,
)

TITLE_WORDINGS = (
    "写一首{form}，题为《{title}》。",
    "请以《{title}》为题，写一首{form}。",
    "《{title}》，{form}一首。",
)
ACROSTIC_WORDINGS = (
    "以“{head}”为头，写一首{measure}藏头诗。",
    "写一首{measure}藏头诗：{head}。",
)
MEASURES = {5: "五言", 7: "七言"}
TITLE_ASKED_LIMIT = 10
"""Characters of a title that somebody would ask for."""

DEMONSTRATION_MIXTURE = {"五绝": 30, "七绝": 35, "藏头": 20, "五律": 8, "七律": 7}
PROMPT_MIXTURE = {"五绝": 40, "七绝": 40, "藏头": 15, "五律": 3, "七律": 2}
"""Of what is ranked and used in PPO; eight lines cost twice as much as four, and are few."""

ALSO_WRITTEN = "".join((*TITLE_WORDINGS, *ACROSTIC_WORDINGS, *FORMS, *MEASURES.values())) + "，。\n韵脚"
"""Characters that every tokenizer of verse must have."""


@dataclass(frozen=True)
class Task:
    """One thing asked for, with all that checking the answer needs."""

    form: Form
    text: str
    title: str = ""
    head: str = ""
    """The given first characters of an acrostic; empty for a title."""

    @property
    def messages(self) -> list[Message]:
        return [Message(role="user", content=self.text)]


def title_task(form: Form, title: str, wording: str = TITLE_WORDINGS[0]) -> Task:
    return Task(form, wording.format(form=form.name, title=title), title=title)


def acrostic_task(form: Form, head: str, wording: str = ACROSTIC_WORDINGS[0]) -> Task:
    return Task(form, wording.format(measure=MEASURES[form.characters], head=head), head=head)


def wrong_heads(task: Task, lines: Sequence[str]) -> int:
    """How many given characters do not begin their line."""
    return sum(i >= len(lines) or not lines[i].startswith(character) for i, character in enumerate(task.head))


@dataclass
class Shelf:
    """Lines of one measure by what they begin with, and by that and their rhyme group."""

    by_first: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_first_and_group: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, poem: Poem) -> None:
        for i, line in enumerate(poem.lines):
            if i % 2 == 0:
                self.by_first[line[0]].append(line)
            else:
                for group in rhyme_groups(line[-1]):
                    self.by_first_and_group[line[0], group].append(line)

    def acrostic(self, head: str, chance: random.Random) -> list[str] | None:
        """Four real lines beginning with these characters, the even ones rhyming; None where there are none."""
        even = self.by_first_and_group
        groups = [g for g in RHYME_GROUPS if (head[1], g) in even and (head[3], g) in even]
        if head[0] not in self.by_first or head[2] not in self.by_first:
            return None
        chance.shuffle(groups)
        for group in groups * 4:
            lines = [
                chance.choice(self.by_first[head[0]]),
                chance.choice(even[head[1], group]),
                chance.choice(self.by_first[head[2]]),
                chance.choice(even[head[3], group]),
            ]
            if not repeats_an_ending(lines):
                return lines
        return None


class Teacher:
    """Writes demonstrations and prompts about the poems that are learned from."""

    def __init__(self, anthology: Anthology, seed: int = 0) -> None:
        self.seed = seed
        self.poems = {
            name: [p for p in anthology.of(name) if len(p.title) <= TITLE_ASKED_LIMIT and rhymes(p.lines)]
            for name in FORMS
        }
        self.shelves = {5: Shelf(), 7: Shelf()}
        if not all(self.poems[name] for name in QUATRAINS):
            missing = " and no ".join(name for name in QUATRAINS if not self.poems[name])
            raise DataError(
                f"there is no rhyming {missing} with a title of at most {TITLE_ASKED_LIMIT} characters to show; "
                "give more poems."
            )
        for name in QUATRAINS:
            for poem in self.poems[name]:
                self.shelves[poem.form.characters].add(poem)
        self.heads = list(
            dict.fromkeys(
                p.title for name in FORMS for p in self.poems[name] if len(p.title) == 4 and is_han(p.title)
            )
        )

    def demonstration(self, number: int) -> Demonstration:
        chance = random.Random(f"{self.seed} verse demonstration {number}")
        kind = self._draw(chance, DEMONSTRATION_MIXTURE)
        if kind == "藏头":
            task, lines = self._acrostic(chance)
        else:
            poem = chance.choice(self.poems[kind])
            task, lines = title_task(poem.form, poem.title, chance.choice(TITLE_WORDINGS)), list(poem.lines)
        answer = Message(role="assistant", content=write_lines(lines))
        return Demonstration(messages=[*task.messages, answer], source="verse", labeller="poets")

    def task(self, number: int, stream: str) -> Task:
        """A prompt for sampling or PPO."""
        chance = random.Random(f"{self.seed} verse {stream} {number}")
        kind = self._draw(chance, PROMPT_MIXTURE)
        if kind == "藏头":
            return self._acrostic(chance)[0]
        poem = chance.choice(self.poems[kind])
        return title_task(poem.form, poem.title, chance.choice(TITLE_WORDINGS))

    def poem(self, task: Task, chance: random.Random) -> Poem:
        """A real poem of the form that is asked for, whatever its title."""
        return chance.choice(self.poems[task.form.name])

    def _acrostic(self, chance: random.Random) -> tuple[Task, list[str]]:
        form = FORMS[chance.choice(QUATRAINS)]
        wording = chance.choice(ACROSTIC_WORDINGS)
        if self.heads and chance.random() < 0.5:
            head = chance.choice(self.heads)
            lines = self.shelves[form.characters].acrostic(head, chance)
            if lines:
                return acrostic_task(form, head, wording), lines
        poem = chance.choice(self.poems[form.name])
        return acrostic_task(form, "".join(line[0] for line in poem.lines), wording), list(poem.lines)

    def _draw(self, chance: random.Random, mixture: dict[str, int]) -> str:
        """A kind of the mixture of which there are poems."""
        kinds = [kind for kind in mixture if kind == "藏头" or self.poems[kind]]
        return chance.choices(kinds, weights=[mixture[kind] for kind in kinds])[0]

    def usual_endings(self) -> list[str]:
        """Last characters of even lines, each as often as poets set it: what a line is mended with."""
        poems = (poem for name in QUATRAINS for poem in self.poems[name])
        return [character for poem in poems for character in endings(poem.lines)[1::2]]


def write_demonstrations(teacher: Teacher, count: int) -> Iterator[Demonstration]:
    return (teacher.demonstration(number) for number in range(count))
