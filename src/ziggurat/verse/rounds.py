"""One round of verse: sample completions with the policy, add a mended and a spoiled one, have the labellers rank them.

Most completions are the policy's own: the greedy one and samples at temperature 1. Two more are the policy's as well
but for one character: the last of an even line is replaced, once by one that rhymes with its fellow, and once by one
that does not or (two times in five) by its fellow itself. Both replacements are drawn from endings of real poems, so
that nothing but the rhyme tells them apart and a replaced character is no sign of quality. They are marked in
`sampling.origins`. Without them hardly any pair of an early round differs in its rhyme alone. Where none of a policy's
poems has the form that was asked for, a poem from the books is altered instead.

Titles whose hash falls below HELD_OUT_SHARE are in no comparison that is learned from: the report card asks about them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ziggurat.corpus.split import falls_below
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.ladder.rankings import Rankings, ToRank, label_round
from ziggurat.records import Comparison, Prompt
from ziggurat.stages.sample import sample_from
from ziggurat.verse.demonstrations import Task, Teacher
from ziggurat.verse.labellers import LABELLERS, pair_kind, points, read_round
from ziggurat.verse.prosody import rhyme_groups, split_lines, well_formed, write_lines

HELD_OUT_SHARE = 0.1
MAX_POEM_TOKENS = 72  # 七律: 56 characters, 8 marks, 3 line breaks, the end of the turn
BROKEN = "\ufffd"  # half a character, which cannot be encoded again as it was sampled; the labellers see nothing there
SAME_AGAIN = 0.4  # of spoiled endings, those that repeat their fellow: the easiest way to seem to rhyme
SEARCHED_ENDINGS = 200  # draws in which an ending of a group must turn up


def rank_round(
    teacher: Teacher,
    books: frozenset[str],
    policy: Chat,
    *,
    round_number: int,
    prompts: int,
    completions: int,
    seed: int = 0,
) -> Rankings:
    """`prompts` tasks, each with `completions` poems of the policy (repeated ones once), up to two more altered."""
    tasks = [teacher.task(i, f"rank-{seed}-{round_number}") for i in range(prompts)]
    params = SamplingParams(max_tokens=MAX_POEM_TOKENS, seed=seed * 1000 + round_number)
    sampled = sample_from(policy, [Prompt(prompt=t.messages) for t in tasks], completions, params)
    memory = read_round(books, (text for drawn in sampled for text in drawn.completions))
    usual = teacher.usual_endings()
    waiting: dict[str, ToRank[random.Random]] = {}
    for i, (task, drawn) in enumerate(zip(tasks, sampled, strict=True)):
        chance = random.Random(f"{seed} verse ranking {round_number} {i}")
        own = list(dict.fromkeys(text.replace(BROKEN, "") for text in drawn.completions))
        formed = [text for text in own if well_formed(split_lines(text), task.form)]
        whole = chance.choice(formed) if formed else teacher.poem(task, chance).text
        altered = [text for text in alter(whole, usual, chance) if text not in own]
        waiting[f"verse-{round_number}-{i}"] = ToRank(task.messages, own, altered, chance)
    by_id = dict(zip(waiting, tasks, strict=True))

    def kind(comparison: Comparison, better: int, worse: int) -> str | None:
        a, b = (str(comparison.completions[i]) for i in (better, worse))
        return pair_kind(by_id[comparison.id], a, b, memory)

    return label_round(
        waiting,
        LABELLERS,
        lambda identity, text: points(by_id[identity], text, memory),
        source="verse",
        policy=f"round-{round_number}",
        added_as="altered",
        kind_of_pair=kind,
        held_out=lambda identity: held_out_task(by_id[identity]),
    )


def held_out_task(task: Task) -> bool:
    """Whether a task belongs to the report card."""
    return falls_below(task.title or task.head, HELD_OUT_SHARE)


def alter(text: str, usual: Sequence[str], chance: random.Random) -> list[str]:
    """The well-formed poem with the ending of one even line mended, and spoiled."""
    lines = split_lines(text)
    even = list(range(1, len(lines), 2))
    chance.shuffle(even)
    place, fellow = even[0], even[1]
    wanted = rhyme_groups(lines[fellow][-1])
    taken = {line[-1] for line in lines}
    drawn = [c for c in chance.choices(usual, k=SEARCHED_ENDINGS) if c not in taken]
    mended = next((c for c in drawn if rhyme_groups(c) & wanted), None)
    spoiled = lines[fellow][-1] if chance.random() < SAME_AGAIN else None
    spoiled = spoiled or next((c for c in drawn if not rhyme_groups(c) & wanted), None)

    def ending(character: str) -> str:
        changed = list(lines)
        changed[place] = lines[place][:-1] + character
        return write_lines(changed)

    return [ending(character) for character in (mended, spoiled) if character]
