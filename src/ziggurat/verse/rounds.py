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
from collections.abc import Mapping, Sequence

from ziggurat.corpus.split import falls_below
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.ladder.rankings import Rankings, Truth
from ziggurat.records import Comparison, Prompt
from ziggurat.stages.sample import sample_from
from ziggurat.verse.demonstrations import Task, Teacher
from ziggurat.verse.labellers import (
    LABELLERS,
    Memory,
    chance_of_right_order,
    compare,
    pair_kind,
    points,
    read_round,
)
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
    own: int,
    seed: int = 0,
) -> Rankings:
    """`prompts` tasks, each with `own` poems of the policy (fewer where they repeat) and up to two altered ones."""
    tasks = [teacher.task(i, f"rank-{seed}-{round_number}") for i in range(prompts)]
    params = SamplingParams(max_tokens=MAX_POEM_TOKENS, seed=seed * 1000 + round_number)
    sampled = sample_from(policy, [Prompt(prompt=t.messages) for t in tasks], own, params)
    memory = read_round(books, (text for drawn in sampled for text in drawn.completions))
    usual = teacher.usual_endings()
    comparisons, by_id = [], {}
    for i, (task, drawn) in enumerate(zip(tasks, sampled, strict=True)):
        chance = random.Random(f"{seed} verse ranking {round_number} {i}")
        texts = list(dict.fromkeys(text.replace(BROKEN, "") for text in drawn.completions))
        formed = [text for text in texts if well_formed(split_lines(text), task.form)]
        whole = chance.choice(formed) if formed else teacher.poem(task, chance).text
        altered = [text for text in alter(whole, usual, chance) if text not in texts]
        origins = ["policy"] * len(texts) + ["altered"] * len(altered)
        if len(origins) < 2:
            continue
        identity = f"verse-{round_number}-{i}"
        comparisons.append(
            compare(
                identity,
                task,
                texts + altered,
                LABELLERS[i % len(LABELLERS)],
                memory,
                chance,
                policy=f"round-{round_number}",
                origins=origins,
            )
        )
        by_id[identity] = task
    held_out = [held_out_task(by_id[one.id]) for one in comparisons]
    return Rankings(comparisons, held_out, truth(by_id, memory))


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


def truth(tasks: Mapping[str, Task], memory: Memory) -> Truth:
    """What is known of the labellers' comparisons; `tasks` by comparison id."""
    noise = {labeller.name: labeller.noise for labeller in LABELLERS}

    def taste(comparison: Comparison) -> list[float]:
        return [points(tasks[comparison.id], str(text), memory) for text in comparison.completions]

    def kind(comparison: Comparison, better: int, worse: int) -> str | None:
        a, b = (str(comparison.completions[i]) for i in (better, worse))
        return pair_kind(tasks[comparison.id], a, b, memory)

    return Truth(taste, kind, lambda gap, labeller: chance_of_right_order(gap, noise[labeller]))
