"""Prompts with checkable constraints, made by rule: some to train on, some held out.

Held out are the questions (their subjects and wordings), the wordings of every constraint, its words and phrases, and
whole kinds (UNSEEN). `python benchmarks/real/constraint_data.py FOLDER` writes the files that `ziggurat grpo` reads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from questions import questions

TRAIN, HELD_SEEN, HELD_UNSEEN = 600, 150, 60
TWO_CONSTRAINTS = 0.4
"""Share of the prompts that have two."""

NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of constraint: its wordings of each side, and how its parameters are drawn.

    `slot`: two kinds of one slot never meet in a prompt; `not_with`: slots that it cannot go with."""

    name: str
    slot: str
    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    draw: Callable[[random.Random, bool], Parameters] = lambda *_: {}
    not_with: tuple[str, ...] = ()

    def constraint(self, chance: random.Random, *, held_out: bool) -> tuple[str, dict[str, Any]]:
        """(a sentence that demands it, what the checker reads)."""
        wording = chance.choice(self.held_out if held_out else self.trained)
        drawn = self.draw(chance, held_out)
        named = {**drawn, "word_for_n": NUMBER_WORDS.get(drawn.get("n", 0), "")}
        if "keys" in drawn:
            named["keys"] = " and ".join(f'"{key}"' for key in drawn["keys"])
        if "code" in drawn:
            named["language"] = LANGUAGES[drawn["code"]]
        return wording.format(**named), {"kind": self.name, **drawn}


def _one_of(name: str, trained: str, held_out: str) -> Callable[[random.Random, bool], Parameters]:
    sides = {False: trained.split("|"), True: held_out.split("|")}
    return lambda chance, side: {name: chance.choice(sides[side])}


def _number(*numbers: int) -> Callable[[random.Random, bool], Parameters]:
    return lambda chance, side: {"n": chance.choice(numbers)}  # noqa: ARG005


def _keys(chance: random.Random, side: bool) -> Parameters:
    trained = (
        ("answer", "reason"),
        ("title", "text"),
        ("summary", "tip"),
        ("name", "use"),
        ("first", "second"),
    )
    held_out = (("topic", "advice"), ("headline", "detail"), ("main", "extra"))
    return {"keys": list(chance.choice(held_out if side else trained))}


LANGUAGES = {"es": "Spanish", "fr": "French", "de": "German"}
COMMON = (
    "water|time|people|simple|day|home|good|small|help|often|always|best|work|start|family|morning|important"
)
COMMON_HELD = "new|easy|life|great|friends|world|way|light|need"

SEEN: tuple[Kind, ...] = (
    Kind(
        "bullets",
        "format",
        (
            "Answer with exactly {n} bullet points that begin with a dash.",
            "Use exactly {n} bullet points (lines that start with -).",
            "Write {word_for_n} bullet points, each on a line that begins with a dash.",
            "Your answer must have {n} bullets, each starting with -.",
        ),
        (
            "Give me {word_for_n} bullets, no more and no fewer, each with a dash in front.",
            "Put your answer into {n} lines that each start with a dash (-).",
        ),
        _number(2, 3, 4),
    ),
    Kind(
        "numbered",
        "format",
        (
            "Answer with a numbered list of exactly {n} items.",
            "Number your points from 1 to {n}.",
            "Give exactly {word_for_n} numbered points (1., 2., ...).",
            "Make a numbered list with {n} entries.",
        ),
        ("List {word_for_n} numbered items, no more.", "I want a list that is numbered 1 to {n}."),
        _number(2, 3, 4),
    ),
    Kind(
        "json",
        "format",
        (
            "Answer only with a JSON object with the keys {keys}.",
            "Write nothing but a JSON object that has the keys {keys}.",
            "Your whole answer must be JSON with exactly the keys {keys}.",
        ),
        (
            "Return JSON only, with {keys} as its keys.",
            "Format the whole reply as a JSON object: keys {keys}.",
        ),
        _keys,
        ("opening", "closing", "case", "marks", "language"),
    ),
    Kind(
        "title",
        "opening",
        (
            "Put a title in square brackets on the first line.",
            "Begin with a line that holds a title in square brackets, such as [My title].",
            "The first line must be a title inside [ and ].",
        ),
        (
            "Start with a heading in square brackets on a line of its own.",
            "Give it a title [like this] on line one.",
        ),
    ),
    Kind(
        "quoted",
        "opening",
        (
            "Put your whole answer in double quotation marks.",
            "Wrap the entire answer in double quotes.",
            "Your answer must begin and end with a double quotation mark.",
        ),
        (
            'The complete reply should stand between " and ".',
            "Enclose everything you write in double quotes.",
        ),
        not_with=("closing", "format"),
    ),
    Kind(
        "starts",
        "opening",
        (
            'Begin your answer with "{text}"',
            'The first words of your answer must be "{text}"',
            'Start with the words "{text}"',
        ),
        ('Your reply has to open with "{text}"', 'Let the answer begin with exactly "{text}"'),
        _one_of(
            "text",
            "In short,|My answer is|Here is a thought:|Most people agree that|Let us see:|First of all,"
            "|The truth is that",
            "To begin with,|It seems to me that|As far as I know,",
        ),
        ("case", "language"),
    ),
    Kind(
        "ends",
        "closing",
        (
            'End your answer with "{text}"',
            'The last words of your answer must be "{text}"',
            'Finish with the sentence "{text}"',
        ),
        ('Close your reply with exactly "{text}"', 'Let "{text}" be the very end of the answer.'),
        _one_of(
            "text",
            "That is all.|I hope this helps.|Good luck!|Have a nice day.|Try it today.|Ask me for more.",
            "Thank you for reading.|Enjoy!|That is my advice.",
        ),
        ("case", "language"),
    ),
    Kind(
        "contains",
        "words",
        (
            'Use the word "{word}" in your answer.',
            'Your answer must contain the word "{word}".',
            'Include the word "{word}".',
        ),
        ('Make sure that "{word}" appears in the reply.', 'Somewhere in it, use "{word}".'),
        _one_of("word", COMMON, COMMON_HELD),
        ("language",),
    ),
    Kind(
        "avoid",
        "words",
        (
            'Do not use the word "{word}".',
            'Your answer must not contain the word "{word}".',
            'Avoid the word "{word}" altogether.',
        ),
        ('Write it without the word "{word}".', 'The word "{word}" is forbidden.'),
        _one_of("word", "the|you|is|and|it|can|your", "of|to|a"),
        ("language",),
    ),
    Kind(
        "lower",
        "case",
        (
            "Write everything in lower case.",
            "Use only lowercase letters, no capitals.",
            "Your whole answer must be in lower case.",
        ),
        ("No capital letters anywhere, please.", "keep every letter of the reply small (lowercase)."),
    ),
    Kind(
        "no_comma",
        "marks",
        ("Do not use any commas.", "Your answer must not contain a comma.", "Write without commas."),
        ("Leave out all commas.", "Commas are not allowed in the reply."),
        not_with=("opening",),
    ),
    Kind(
        "max_words",
        "length",
        (
            "Use at most {n} words.",
            "Answer in {n} words or fewer.",
            "Your answer must not be longer than {n} words.",
        ),
        ("Do not write more than {n} words.", "The limit is {n} words."),
        _number(15, 20, 25, 30, 40),
    ),
    Kind(
        "language",
        "language",
        ("Answer in {language}.", "Write your answer in {language}.", "Reply in {language} only."),
        ("Please respond in {language}.", "The answer should be in {language}."),
        _one_of("code", "es|fr|de", "es|fr|de"),
    ),
)

UNSEEN: tuple[Kind, ...] = (
    Kind("upper", "case", (), ("Write everything in capital letters.", "Use upper case only.")),
    Kind(
        "sentences",
        "length",
        (),
        ("Answer in exactly {word_for_n} sentences.", "Your answer must have exactly {n} sentences."),
        _number(2, 3, 4),
    ),
    Kind(
        "question",
        "closing",
        (),
        ("End your answer with a question.", "The last sentence must be a question."),
    ),
    Kind(
        "twice",
        "words",
        (),
        ('Use the word "{word}" at least twice.', 'The word "{word}" must occur two times or more.'),
        _one_of("word", "", COMMON_HELD),
    ),
    Kind(
        "parts",
        "format",
        (),
        (
            "Write {word_for_n} paragraphs with a line *** between them.",
            "Separate the answer into {n} parts by lines that hold only ***.",
        ),
        _number(2, 3),
    ),
)


def go_together(a: Kind, b: Kind) -> bool:
    return a.slot != b.slot and b.slot not in a.not_with and a.slot not in b.not_with


def make(
    count: int, kinds: Sequence[Kind], *, held_out: bool, name: str, seed: int = 0
) -> list[dict[str, Any]]:
    """`count` rows: prompt, question, subject, constraints. Kinds come in turn, so that each is as frequent as the
    others."""
    chance = random.Random(f"constraints {name} {seed}")
    rounds = (questions(held_out=held_out, seed=seed + i) for i in itertools.count())
    asked = itertools.chain.from_iterable(rounds)
    rows, seen = [], set[str]()
    while len(rows) < count:
        first = kinds[len(rows) % len(kinds)]
        chosen = [first]
        others = [one for one in kinds if go_together(first, one)]
        if others and chance.random() < TWO_CONSTRAINTS:
            chosen.append(chance.choice(others))
        made = [one.constraint(chance, held_out=held_out) for one in chosen]
        question = next(asked)
        demands = " ".join(sentence for sentence, _ in made)
        order = [demands, question.text] if chance.random() < 0.25 else [question.text, demands]
        prompt = " ".join(order)
        if prompt not in seen:
            seen.add(prompt)
            constraints = [one for _, one in made]
            rows.append(
                {
                    "prompt": prompt,
                    "question": question.text,
                    "subject": question.subject,
                    "constraints": constraints,
                }
            )
    return rows


def splits(seed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """train; held-out prompts of the kinds trained on (seen), and of other kinds (unseen)."""
    return {
        "train": make(TRAIN, SEEN, held_out=False, name="train", seed=seed),
        "seen": make(HELD_SEEN, SEEN, held_out=True, name="seen"),
        "unseen": make(HELD_UNSEEN, UNSEEN, held_out=True, name="unseen"),
    }


def write(folder: Path, seed: int = 0) -> Path:
    """The files in `folder`; returns the one to train on. Held-out prompts do not depend on the seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits(seed).items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "train.jsonl"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(write(parser.parse_args().folder))
