"""The town as a world of the ladder: its data, its labellers, its gold check and its exam (`finals.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.dialogue.chat import Chat
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.plan import Speeds, costs, measure_speeds, reference_work
from ziggurat.ladder.rankings import Rankings
from ziggurat.ladder.report import Exam
from ziggurat.ladder.world import Options, World, recipe_of
from ziggurat.model.config import ModelConfig
from ziggurat.records import Demonstration, Document, Prompt
from ziggurat.stages.ppo import Gold
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.town import finals
from ziggurat.town.demonstrations import Teacher, write_demonstrations
from ziggurat.town.documents import held_out_documents, write_documents
from ziggurat.town.exam import write_development
from ziggurat.town.examiner import Answers, gold_score
from ziggurat.town.grading import Grader
from ziggurat.town.people import Town, build_town
from ziggurat.town.questions import Question
from ziggurat.town.rounds import rank_round
from ziggurat.town.tokens import town_tokenizer

HELD_OUT_DOCUMENTS = 300
PPO_PROMPTS = 12_000


def load_recipe() -> dict[str, Any]:
    """The town's settings (`recipe.yaml`)."""
    return recipe_of("ziggurat.town")


def open_world(options: Options) -> TownWorld:
    """`--world town`, with the seed of `--town`."""
    options.without("data", "base", "scaling")
    return TownWorld(options.town)


class TownWorld(World):
    """The town of one seed."""

    name = "town"
    has_controls = True

    def __init__(self, seed: int = 1) -> None:
        self.options = Options("town", town=seed)
        self.town = build_town(seed)
        self.fingerprint = f"town {seed}"

    def recipe(self, budget_s: float) -> dict[str, Any]:
        return load_recipe()

    def model_config(self, recipe: Mapping[str, Any]) -> ModelConfig:
        return ModelConfig(**recipe["model"], vocab_size=recipe["vocabulary"])

    def tokenizer(self, climb: Climb, documents: Sequence[Document]) -> Tokenizer:
        return town_tokenizer(self.town, documents, climb.recipe["vocabulary"])

    def documents(self, climb: Climb) -> list[Document]:
        count = climb.work.pretrain_steps * climb.recipe["documents_per_step"]
        return list(write_documents(self.town, count))

    def held_out_documents(self, climb: Climb) -> list[Document]:
        return list(held_out_documents(self.town, HELD_OUT_DOCUMENTS))

    def demonstrations(self, climb: Climb) -> list[Demonstration]:
        return list(write_demonstrations(self.town, climb.recipe["demonstrations"]))

    def rank(self, climb: Climb, number: int, policy: Chat | None) -> Rankings:
        assert policy is not None, "the town's labellers rank completions of the policy"
        return rank_round(
            self.town,
            policy,
            round_number=number,
            prompts=climb.work.prompts_to_rank,
            completions=climb.work.completions,
            unknown_percent=climb.recipe["unknown_percent"]["ranked"],
            seed=climb.seed,
        )

    def ppo_questions(self, climb: Climb, number: int) -> list[Question]:
        """What PPO's prompts of a round ask."""
        teacher = Teacher(self.town)
        share, stream = climb.recipe["unknown_percent"]["ppo"], f"ppo-{climb.seed}-{number}"
        return [teacher.prompt(i, unknown_percent=share, stream=stream) for i in range(PPO_PROMPTS)]

    def prompts(self, climb: Climb, number: int) -> list[Prompt]:
        return [Prompt(prompt=list(question.messages)) for question in self.ppo_questions(climb, number)]

    def gold(self, climb: Climb) -> Gold:
        return gold_check(self.town)

    def exam(self, climb: Climb) -> Exam:
        return finals.sit_exam(climb, self.town)

    def controls(self, climb: Climb, exam: Exam) -> Exam:
        assert isinstance(exam, finals.TownExam), "the controls sit the town's exam"
        return finals.sit_controls(climb, self.town, exam)


def gold_check(town: Town) -> Gold:
    """The mean points of greedy answers to development questions about residents D."""
    items, grader = write_development(town), Grader(town)

    def gold(policy: Chat) -> float:
        texts = policy.complete_many([i.question.messages for i in items])
        grades = [grader.grade(i.question, t) for i, t in zip(items, texts, strict=True)]
        return gold_score(Answers("gold", items, texts, grades))

    return gold


def reference_cost() -> tuple[float, float]:
    """(seconds that the recipe's plan would take here, tokens trained per second in stage 1), measured now."""
    recipe = load_recipe()
    pretrain, work = recipe["pretrain"], reference_work(recipe, recipe["model"]["layers"])
    config = ModelConfig(**recipe["model"], vocab_size=recipe["vocabulary"])
    speeds: Speeds = measure_speeds(config, step_tokens=pretrain["batch_tokens"])
    return sum(costs(work, speeds).values()), work.step_tokens / speeds.train_step_s
