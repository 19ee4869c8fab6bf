"""Poems on titles never met, put through the gold check (prosody.py): form, rhyme, copying, variety.

Drawn at the recipe's temperature, as a reader would want more than one poem on a title. Quatrains decide; acrostics and
eight-line poems are reported beside them. Titles of the exam and of development (the gold check that chooses PPO's
checkpoint) are titles of held-out poems, on different sides, and no title of a poem that was learned from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import DataError
from ziggurat.evaluation.diversity import distinct_n
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap, wilson
from ziggurat.stages.ppo import Gold
from ziggurat.verse.demonstrations import (
    TITLE_ASKED_LIMIT,
    TITLE_WORDINGS,
    Task,
    acrostic_task,
    title_task,
    wrong_heads,
)
from ziggurat.verse.poems import Anthology, heading
from ziggurat.verse.prosody import (
    FORMS,
    QUATRAINS,
    Ending,
    commonest_ending,
    endings,
    group_shares,
    repeats_an_ending,
    rhymes,
    split_lines,
    well_formed,
)
from ziggurat.verse.rounds import MAX_POEM_TOKENS

EXAM_QUATRAINS, EXAM_ACROSTICS, EXAM_EIGHT_LINES, DEVELOPMENT = 400, 100, 60, 200
VARIETY_POEMS = 200  # rhyme groups are counted among so many
OVERUSED_ENDING = 0.05  # of lines: what no character may pass


@dataclass(frozen=True)
class Sheaf:
    """Tasks with one model's poems."""

    tasks: list[Task]
    texts: list[str]

    def where(self, wanted: Callable[[Task], bool]) -> Sheaf:
        chosen = [(t, x) for t, x in zip(self.tasks, self.texts, strict=True) if wanted(t)]
        return Sheaf([t for t, _ in chosen], [x for _, x in chosen])

    @property
    def poems(self) -> list[list[str]]:
        return [split_lines(text) for text in self.texts]


@dataclass(frozen=True)
class Figures:
    """What the gold check says of a sheaf."""

    formed: Interval
    rhymed: Interval
    """Of all poems asked for: well-formed, rhyming, no character rhyming with itself."""
    same_again: Interval
    """Two lines end with the same character."""
    verbatim: Interval
    """Of lines: those that stand in a poem that was learned from."""
    kept_heads: Interval
    """Acrostics whose every line begins as given."""
    groups: int
    """Different rhyme groups among the first VARIETY_POEMS."""
    group_shares: dict[str, float]
    commonest: Ending
    distinct_2: float


def figures(sheaf: Sheaf, books: frozenset[str]) -> Figures:
    poems = sheaf.poems
    formed = [well_formed(lines, task.form) for lines, task in zip(poems, sheaf.tasks, strict=True)]
    rhymed = [ok and rhymes(lines) for ok, lines in zip(formed, poems, strict=True)]
    heads = [
        not wrong_heads(task, lines) for task, lines in zip(sheaf.tasks, poems, strict=True) if task.head
    ]
    copied = [(float(line in books), i) for i, lines in enumerate(poems) for line in lines]
    return Figures(
        formed=wilson(sum(formed), len(formed)),
        rhymed=wilson(sum(rhymed), len(rhymed)),
        same_again=wilson(sum(map(repeats_an_ending, poems)), len(poems)),
        verbatim=cluster_bootstrap([c for c, _ in copied], [i for _, i in copied]),
        kept_heads=wilson(sum(heads), len(heads)),
        groups=len(group_shares(poems[:VARIETY_POEMS])),
        group_shares=group_shares(poems),
        commonest=commonest_ending(poems),
        distinct_2=distinct_n(sheaf.texts, 2),
    )


def real_sheaf(anthology: Anthology) -> Sheaf:
    """Held-out quatrains as if they were answers, for the column beside the models'."""
    by_form = [anthology.of(name, held_out=True)[: EXAM_QUATRAINS // 2] for name in QUATRAINS]
    poems = [poem for pair in zip(*by_form, strict=False) for poem in pair]
    return Sheaf([title_task(p.form, p.title) for p in poems], [p.text for p in poems])


def real_rhyme_rate(anthology: Anthology) -> Interval:
    """How often the real quatrains of the file rhyme by the same rule, both forms weighing the same, as in the exam."""
    values, weights = [], []
    for name in QUATRAINS:
        poems = [p for held_out in (False, True) for p in anthology.of(name, held_out=held_out)]
        values += [float(rhymes(p.lines)) for p in poems]
        weights += [1.0 / len(poems)] * len(poems)
    return cluster_bootstrap(values, weights=weights, resamples=200)


# ---- what is asked ---------------------------------------------------------------------------------------------


def write_exam(anthology: Anthology) -> list[Task]:
    """The exam's tasks: always the same for the same file."""
    titles = _unmet_titles(anthology)[::2]
    quatrains = [title_task(FORMS[QUATRAINS[i % 2]], titles[i % len(titles)]) for i in range(EXAM_QUATRAINS)]
    last = titles[: -EXAM_EIGHT_LINES - 1 : -1]
    eight = [title_task(FORMS[("五律", "七律")[i % 2]], title) for i, title in enumerate(last)]
    return [*quatrains, *_acrostics(anthology), *eight]


def write_development(anthology: Anthology) -> list[Task]:
    """What PPO's checkpoints are chosen by: other titles, other wordings."""
    titles = _unmet_titles(anthology)[1::2]
    return [
        title_task(FORMS[QUATRAINS[i % 2]], titles[i % len(titles)], TITLE_WORDINGS[i % len(TITLE_WORDINGS)])
        for i in range(DEVELOPMENT)
    ]


def _unmet_titles(anthology: Anthology) -> list[str]:
    met = {poem.title for poem in anthology.learned}
    found = dict.fromkeys(
        p.title for p in anthology.held_out if len(p.title) <= TITLE_ASKED_LIMIT and p.title not in met
    )
    if len(found) < 4:
        raise DataError(
            "fewer than four held-out poems have a title of their own to ask for; give more poems."
        )
    titles = list(found)
    random.Random("verse exam titles").shuffle(titles)
    return titles


def _acrostics(anthology: Anthology) -> list[Task]:
    """The first characters of held-out quatrains, as given heads."""
    poems = anthology.of(*QUATRAINS, held_out=True)[:EXAM_ACROSTICS]
    return [acrostic_task(poem.form, "".join(line[0] for line in poem.lines)) for poem in poems]


# ---- who answers -----------------------------------------------------------------------------------------------


def write_poems(chat: Chat, tasks: Sequence[Task], temperature: float, seed: int = 0) -> Sheaf:
    """One poem for each task, in the chat form."""
    params = SamplingParams(temperature=temperature, max_tokens=MAX_POEM_TOKENS, seed=seed)
    made = chat.complete_many([task.messages for task in tasks], params)
    return Sheaf(list(tasks), [text.strip() for text in made])


def continue_headings(chat: Chat, tasks: Sequence[Task], temperature: float, seed: int = 0) -> Sheaf:
    """What a base model makes of the headings of the same poems; acrostics cannot be asked for so."""
    asked = [task for task in tasks if not task.head]
    params = SamplingParams(temperature=temperature, max_tokens=MAX_POEM_TOKENS, seed=seed)
    made = chat.continue_many([heading(task.form, task.title) for task in asked], params)
    return Sheaf(asked, [one.text.strip() for one in made])


def gold_check(anthology: Anthology, books: frozenset[str], temperature: float, seed: int = 0) -> Gold:
    """The share of good poems among development titles: `good_share`."""
    tasks = write_development(anthology)

    def gold(policy: Chat) -> float:
        return good_share(write_poems(policy, tasks, temperature, seed), books)

    return gold


def good_share(sheaf: Sheaf, books: frozenset[str]) -> float:
    """Poems that are well-formed, rhyme, copy no line, and end no line as more than OVERUSED_ENDING of all lines end.

    So a policy that found one safe ending is worth nothing, however often it rhymes.
    """
    poems = sheaf.poems
    last = [character for lines in poems for character in endings(lines)]
    overused = {c for c in set(last) if last.count(c) > OVERUSED_ENDING * len(last)}
    good = [
        well_formed(lines, task.form)
        and rhymes(lines)
        and not any(line in books for line in lines)
        and overused.isdisjoint(endings(lines))
        for task, lines in zip(sheaf.tasks, poems, strict=True)
    ]
    return sum(good) / max(1, len(good))
