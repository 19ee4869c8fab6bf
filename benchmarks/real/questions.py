"""Everyday questions for the proofs on a real model: lists of subjects, and wordings that ask about them.

A subject and a wording are each either trained on or held out, never both: `questions(held_out=...)`. The lists are
written for these benchmarks; nothing is taken from a data set. `python benchmarks/real/questions.py` prints the counts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

HELD_OUT_SHARE = 0.3
"""Of the subjects of each list."""

HOW_TO = """
boil an egg|clean a wooden floor|plant tomatoes|change a bicycle tyre|wrap a present|fold a fitted sheet
make pancakes|iron a shirt|sharpen a kitchen knife|remove a coffee stain|hang a picture|brew green tea
pack a suitcase|clean a window|grow basil indoors|cook rice|polish leather shoes|unblock a sink
write a thank-you card|save money on groceries|learn ten new words a day|stop a dripping tap|make lemonade
train a puppy to sit|bake bread|store potatoes|sew on a button|read a map|build a campfire|wash a wool jumper
paint a wall|keep cut flowers fresh|cut an onion|defrost a freezer|take a good photo of a sunset
start a small garden|make a paper plane|tie a tie|prepare a picnic|plan a weekly menu|clean a keyboard
care for a cactus|organise a bookshelf|make vegetable soup|descale a kettle|choose a ripe melon|set a table
introduce two friends|write a short poem|repot a plant|light a stove|fry fish|mend a torn page
"""
EXPLAIN = """
a rainbow|a thermometer|the water cycle|a savings account|a lighthouse|gravity|a compass|yeast|a magnet
an eclipse|photosynthesis|a bicycle gear|the tides|a library|an election|a volcano|a battery|a glacier|soap
a mirror|thunder|a vaccine|a budget|a calendar|a greenhouse|recycling|a microscope|a dam|fog|an island|a muscle
a bridge|a seed|a telescope|a clock|interest on a loan|a desert|electricity|a kite|a museum|a parachute|an echo
rust|a sundial|a market|a satellite|frost|a poem|a recipe|a windmill|an orchestra|a mosaic|a lock and key
a harbour
"""
ADVICE = """
sleeping better|preparing for a job interview|making new friends|learning to swim|saving for a holiday
reading more books|giving a short speech|waking up early|eating more vegetables|studying for an exam
working from home|starting to run|calming down when angry|keeping a diary|learning the guitar
getting over a cold|moving to a new town|choosing a school|staying focused|buying a used car|looking after a cat
cooking for one person|spending less time on the phone|speaking a new language|helping a shy child
caring for old parents|drinking more water|walking in the rain|a first date|travelling alone|resolving a quarrel
remembering names|keeping a room tidy|adopting a dog|hosting a dinner|growing a beard|managing stress
writing a letter of complaint|finding a hobby|a long train ride
"""
DESCRIBE = """
a quiet beach|a busy market|a winter morning|an old library|a mountain lake|a family dinner|a thunderstorm
a small bakery|a train station at night|a forest in autumn|a happy dog|a crowded bus|a village square
a clean kitchen|a garden after rain|a fishing boat|a school playground|a full moon|a warm fire|a ripe peach
a street musician|an empty theatre|a snowy street|a spring meadow|a cup of hot chocolate|a sleeping cat
a hot air balloon|a castle ruin|a flower shop|a football match|a farm at dawn|a desert night
"""
REASONS = """
learn to cook|eat breakfast|plant trees|read to children|ride a bicycle to work|keep a pet|learn history
visit a museum|go camping|drink water|sleep eight hours|play chess|learn to swim|keep promises|travel by train
write by hand|listen to music|take a walk every day|help a neighbour|save electricity|wear a seat belt
learn a second language|grow vegetables|say thank you|take regular breaks|make a shopping list|buy local food
wash hands often|keep a budget|visit grandparents|join a sports club|repair old things
"""
IDEAS = """
a rainy Sunday|a gift for a teacher|a child's birthday party|a healthy snack|a school project|a small balcony
a picnic by a river|a family evening without television|a cheap dinner|a welcome card|a walk with a dog
a summer holiday|a quiet evening|a class trip|a costume party|leftover bread|a morning routine|a short story
a photo album|an empty jam jar|a farewell party|a team meeting|a long car ride|a first aid kit|a garden bench
old newspapers|a science fair|a wedding speech
"""


@dataclass(frozen=True)
class Subjects:
    """A list of subjects, with wordings to train on and wordings held out."""

    name: str
    items: str
    trained: tuple[str, ...]
    held_out: tuple[str, ...]

    def split(self, *, held_out: bool) -> list[str]:
        """The subjects of one side: which is fixed for good by the name of the list."""
        every = [one.strip() for line in self.items.strip().splitlines() for one in line.split("|")]
        random.Random(f"subjects {self.name}").shuffle(every)
        cut = round(len(every) * HELD_OUT_SHARE)
        return every[:cut] if held_out else every[cut:]


LISTS = (
    Subjects(
        "how to",
        HOW_TO,
        ("How do I {}?", "Tell me how to {}.", "What is a good way to {}?"),
        ("I want to {}. What should I do?", "Could you explain how to {}?"),
    ),
    Subjects(
        "explain",
        EXPLAIN,
        ("What is {}?", "Explain {} to a child.", "Tell me about {}."),
        ("In simple terms, what is {}?", "Give me a short explanation of {}."),
    ),
    Subjects(
        "advice",
        ADVICE,
        ("Give me advice on {}.", "What helps with {}?", "What would you say about {}?"),
        ("Do you have any tips about {}?", "I need some advice about {}."),
    ),
    Subjects(
        "describe",
        DESCRIBE,
        ("Describe {}.", "What does {} look like?", "Write about {}."),
        ("Paint a picture of {} in words.", "What comes to mind when you think of {}?"),
    ),
    Subjects(
        "reasons",
        REASONS,
        ("Why should people {}?", "Why is it good to {}?", "What are the benefits when you {}?"),
        ("Give me reasons to {}.", "Is it worth it to {}, and why?"),
    ),
    Subjects(
        "ideas",
        IDEAS,
        ("Give me ideas for {}.", "What do you suggest for {}?", "What could I do with {}?"),
        ("I am looking for ideas for {}.", "Can you suggest something for {}?"),
    ),
)


class Question(NamedTuple):
    text: str
    subject: str
    """Questions about one subject stand or fall together: a cluster of the bootstrap."""


def questions(*, held_out: bool, seed: int = 0, every_wording: bool = False) -> list[Question]:
    """Every subject of one side, in one of its side's wordings or in each of them, shuffled."""
    chance = random.Random(f"questions {held_out} {seed}")
    found = []
    for one in LISTS:
        wordings = one.held_out if held_out else one.trained
        for subject in one.split(held_out=held_out):
            chosen = wordings if every_wording else (chance.choice(wordings),)
            found += [Question(wording.format(subject), subject) for wording in chosen]
    chance.shuffle(found)
    return found


if __name__ == "__main__":
    print({side: len(questions(held_out=side == "held out")) for side in ("trained", "held out")})
