"""Verse as a world of the ladder: one file of poems, its labellers, the gold check and the exam (`finals.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.dialogue.chat import Chat
from ziggurat.errors import DataError, UsageError
from ziggurat.files import sha256_file
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.plan import Lengths
from ziggurat.ladder.rankings import Rankings
from ziggurat.ladder.report import Exam
from ziggurat.ladder.world import Options, World, recipe_of
from ziggurat.model.config import ModelConfig
from ziggurat.records import Demonstration, Document, Prompt
from ziggurat.stages.ppo import Gold
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.verse import finals
from ziggurat.verse.demonstrations import ALSO_WRITTEN, Teacher, write_demonstrations
from ziggurat.verse.exam import gold_check
from ziggurat.verse.poems import (
    Anthology,
    character_tokenizer,
    documents,
    held_out_documents,
    known_lines,
    read_poems,
)
from ziggurat.verse.prosody import need_pypinyin
from ziggurat.verse.rounds import rank_round

ALTERED = 2
"""Completions of a comparison that are altered, not the policy's own."""
PPO_PROMPTS = 12_000


def load_recipe() -> dict[str, Any]:
    """The settings of verse (`recipe.yaml`)."""
    return recipe_of("ziggurat.verse")


def open_world(options: Options) -> VerseWorld:
    """`--world verse --data POEMS`."""
    options.without("base", "scaling")
    if options.data is None:
        raise UsageError('The world "verse" needs --data FILE, a file of poems; docs/verse.md names one.')
    return VerseWorld(Path(options.data).expanduser())


class VerseWorld(World):
    """One file of poems."""

    name = "poet"
    title = "The poet"
    subtitle = "four stages on Chinese verse"
    lengths = Lengths(conversation=52, completion=33)  # of the prompts' mixture
    reserved_s = 90.0
    documents_file = "documents.jsonl.gz"
    text_limit = 20_000

    def __init__(self, data: Path) -> None:
        need_pypinyin()
        if not data.is_file():
            raise DataError("no such file of poems; check the path.", path=data)
        self.data = data
        self.options = Options("verse", data=str(data.resolve()))
        self.fingerprint = sha256_file(data)
        self._teacher: Teacher | None = None

    @cached_property
    def anthology(self) -> Anthology:
        return read_poems(self.data)

    @cached_property
    def books(self) -> frozenset[str]:
        """Every line of the poems that are learned from, whether stage 1 reads it or not."""
        return known_lines(self.anthology.learned)

    def teacher(self, climb: Climb) -> Teacher:
        if self._teacher is None or self._teacher.seed != climb.seed:
            self._teacher = Teacher(self.anthology, climb.seed)
        return self._teacher

    def check(self) -> None:
        for reason, count in self.anthology.left_out.items():
            err.print(f"{count:,} poems left out: {reason}.")

    def recipe(self, budget_s: float) -> dict[str, Any]:
        return load_recipe()

    def model_config(self, recipe: Mapping[str, Any]) -> ModelConfig:
        return ModelConfig(**recipe["model"], vocab_size=recipe["characters"] + 300)

    def tokenizer(self, climb: Climb, documents: Sequence[Document]) -> Tokenizer:
        return character_tokenizer(self.anthology.learned, climb.recipe["characters"], also=ALSO_WRITTEN)

    def documents(self, climb: Climb) -> list[Document]:
        return documents(
            self.anthology,
            eight_line_poems=climb.recipe["eight_line_poems"],
            feet=climb.recipe["rhyme_feet"],
            seed=climb.seed,
        )

    def held_out_documents(self, climb: Climb) -> list[Document]:
        return held_out_documents(self.anthology, climb.recipe["held_out_documents"])

    def demonstrations(self, climb: Climb) -> list[Demonstration]:
        return list(write_demonstrations(self.teacher(climb), climb.recipe["demonstrations"]))

    def rank(self, climb: Climb, number: int, policy: Chat | None) -> Rankings:
        assert policy is not None, "the labellers of verse rank completions of the policy"
        return rank_round(
            self.teacher(climb),
            self.books,
            policy,
            round_number=number,
            prompts=climb.work.prompts_to_rank,
            completions=climb.work.completions - ALTERED,
            seed=climb.seed,
        )

    def prompts(self, climb: Climb, number: int) -> list[Prompt]:
        teacher, stream = self.teacher(climb), f"ppo-{climb.seed}-{number}"
        return [Prompt(prompt=teacher.task(i, stream).messages) for i in range(PPO_PROMPTS)]

    def gold(self, climb: Climb) -> Gold:
        return gold_check(self.anthology, self.books, climb.recipe["temperature"], climb.seed)

    def exam(self, climb: Climb) -> Exam:
        return finals.sit_exam(climb, self.anthology, self.books)
