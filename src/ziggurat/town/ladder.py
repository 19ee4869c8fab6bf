"""Climbs the four stages on the town: the files, the plan, the stages in rounds, the exam, the report.

The stages are the same functions that the commands call, on files that this writes into the ladder's folder first:

    runs/town/data/   documents, demonstrations, prompts, comparisons of each round (JSON Lines)
    runs/town/pretrain-1, sft-1, reward-1, ppo-1, reward-2, ppo-2
    runs/town/exam/   every question with each model's answer; report.json and report.html of the whole ladder
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ziggurat.console import human_time
from ziggurat.errors import RunError
from ziggurat.evaluation.statistics import Interval
from ziggurat.files import atomic_write_text
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model, load_scalar
from ziggurat.places import ladder_folder, make_room, model_folder
from ziggurat.records import Comparison, Demonstration, Document, Prompt, write_records
from ziggurat.runs import Run
from ziggurat.stages import ppo as stage4
from ziggurat.stages import pretrain as stage1
from ziggurat.stages import reward as stage3
from ziggurat.stages import sft as stage2
from ziggurat.stages.comparison_batches import render_comparisons
from ziggurat.stages.plan import Speeds, Work, costs, fit, measure_speeds
from ziggurat.stages.report_card import score_comparisons
from ziggurat.stages.rollouts import PolicySampler
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.town import rounds
from ziggurat.town.demonstrations import Teacher, write_demonstrations
from ziggurat.town.documents import held_out_documents, write_documents
from ziggurat.town.exam import write_development
from ziggurat.town.examiner import Answers, gold_score
from ziggurat.town.grading import Grader
from ziggurat.town.people import Town, build_town
from ziggurat.town.questions import Question
from ziggurat.training.precision import choose_dtype

HELD_OUT_DOCUMENTS = 300
PPO_PROMPTS = 12_000


def load_recipe() -> dict[str, Any]:
    """The town's settings (`recipe.yaml`)."""
    recipe: dict[str, Any] = yaml.safe_load(
        files("ziggurat.town").joinpath("recipe.yaml").read_text(encoding="utf-8")
    )
    return recipe


def reference_work(recipe: Mapping[str, Any]) -> Work:
    return Work(
        **recipe["work"],
        step_tokens=recipe["pretrain"]["batch_tokens"],
        reward_body_learns=recipe["reward"]["body_learns"],
        critic_body_learns=recipe["ppo"]["critic"]["body_learns"],
    )


def reference_cost() -> tuple[float, float]:
    """(seconds that the recipe's plan would take here, tokens trained per second in stage 1), measured now."""
    recipe = load_recipe()
    speeds = measure_speeds(model_config(recipe), step_tokens=recipe["pretrain"]["batch_tokens"])
    work = reference_work(recipe)
    return sum(costs(work, speeds).values()), work.step_tokens / speeds.train_step_s


def model_config(recipe: Mapping[str, Any]) -> ModelConfig:
    return ModelConfig(**recipe["model"], vocab_size=recipe["vocabulary"])


@dataclass
class Climb:
    """What a climb has made so far."""

    town: Town
    folder: Path
    work: Work
    seed: int
    recipe: dict[str, Any]
    speeds: Speeds | None = None
    runs: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    """Bytes of memory: the most that was held up to the end of the stage, where it ran in this process."""
    learned: list[Comparison] = field(
        default_factory=list
    )  # of all rounds so far, facts of the report card left out
    card: dict[str, Any] = field(default_factory=dict)
    true_kinds: dict[str, Interval] = field(default_factory=dict)

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the seconds inside to the stage's, and notes the memory."""
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        self.peaks[stage] = self.peak_memory_bytes

    @property
    def policy(self) -> Path:
        """The newest model that answers."""
        return next(self.runs[name] for name in reversed(list(self.runs)) if name.startswith(("ppo", "sft")))

    @property
    def peak_memory_bytes(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def begin(
    town_seed: int,
    budget_s: float,
    *,
    seed: int = 0,
    name: str = "town",
    fixed_plan: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    keep: bool = True,
) -> Climb:
    """The town and the plan, frozen in the ladder's folder (`keep`); nothing is trained.

    A resumed climb reads its plan back, so that what it does never depends on how fast the machine is today.
    """
    recipe = load_recipe()
    folder = ladder_folder(name)
    plan_file = folder / "plan.json"
    if resume:
        if not plan_file.is_file():
            raise RunError(f"{folder} has no climb to resume; start one without --resume.")
        plan = json.loads(plan_file.read_text(encoding="utf-8"))
        return Climb(build_town(plan["town"]), folder, Work(**plan["work"]), plan["seed"], plan["recipe"])
    if keep:
        make_room(folder, overwrite=overwrite)
    speeds = measure_speeds(model_config(recipe), step_tokens=recipe["pretrain"]["batch_tokens"])
    reference = reference_work(recipe)
    climb = Climb(
        build_town(town_seed),
        folder,
        reference if fixed_plan else fit(reference, speeds, budget_s),
        seed,
        recipe,
        speeds,
    )
    if keep:
        folder.mkdir(parents=True, exist_ok=True)
        plan = {
            "town": town_seed,
            "seed": seed,
            "work": asdict(climb.work),
            "speeds": asdict(speeds),
            "recipe": recipe,
        }
        atomic_write_text(plan_file, json.dumps(plan, indent=1))
    return climb


def describe_plan(climb: Climb) -> list[tuple[str, str, str]]:
    """(stage, what it does, seconds) of the plan, for people."""
    work = climb.work
    cost = costs(work, climb.speeds) if climb.speeds else {}
    amounts = {
        "pretrain": f"{work.pretrain_steps:,} steps of {work.step_tokens:,} tokens",
        "sft": f"{work.sft_steps:,} steps of {work.step_tokens:,} tokens",
        "sample": f"{work.rounds} x {work.prompts_to_rank:,} prompts x {work.completions} completions",
        "reward": f"{work.rounds} x one pass over the comparisons",
        "ppo": f"{work.rounds} x {work.ppo_steps} steps of {work.rollouts_per_step} rollouts",
    }
    return [
        (stage, what, human_time(cost[stage]) if stage in cost else "") for stage, what in amounts.items()
    ]


def climb_stages(climb: Climb, *, resume: bool = False) -> None:
    """Stages 1 and 2, then rounds of 3 and 4."""
    demonstrations, documents, held_out = write_files(climb)
    pretrain(climb, documents, held_out, resume)
    sft(climb, demonstrations, documents, held_out, resume)
    for number in range(1, climb.work.rounds + 1):
        ranked = rank(climb, number)
        reward(climb, number, ranked, demonstrations, resume)
        ppo(climb, number, documents, resume)


def write_files(climb: Climb) -> tuple[list[Demonstration], list[Document], list[Document]]:
    """The town's data as files, and as records."""
    with climb.clock("files"):
        documents = list(
            write_documents(climb.town, climb.work.pretrain_steps * climb.recipe["documents_per_step"])
        )
        held_out = list(held_out_documents(climb.town, HELD_OUT_DOCUMENTS))
        demonstrations = list(write_demonstrations(climb.town, climb.recipe["demonstrations"]))
        data = climb.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        write_records(data / "documents.jsonl", documents)
        write_records(data / "held-out.jsonl", held_out)
        write_records(data / "demonstrations.jsonl", demonstrations)
    return demonstrations, documents, held_out


def _settings(climb: Climb, stage: str, steps: int | None = None, **more: Any) -> tuple[str, dict[str, Any]]:
    """The recipe's layer of a stage, with the planned number of steps and the seed."""
    layer = {**climb.recipe[stage], **more}
    if "train" in layer:
        train = {**layer["train"], "seed": climb.seed, "checkpoint_every_steps": max(200, (steps or 0) // 3)}
        if steps is not None:
            train["steps"] = steps
            train["warmup_steps"] = min(train.get("warmup_steps", 0), steps // 4)
        layer["train"] = train
    return "recipe", layer


def pretrain(climb: Climb, documents: Sequence[Document], held_out: Sequence[Document], resume: bool) -> None:
    more = {"tokenizer": climb.recipe["vocabulary"], "shape": climb.recipe["model"]}
    layer = _settings(climb, "pretrain", climb.work.pretrain_steps, **more)
    with climb.clock("pretrain"):
        resolved = stage1.pretrain_config(None, layer)
        climb.runs["pretrain"] = stage1.pretrain(
            resolved, documents, climb.folder / "pretrain-1", held_out=held_out, resume=resume
        )


def sft(
    climb: Climb,
    demonstrations: Sequence[Demonstration],
    documents: Sequence[Document],
    held_out: Sequence[Document],
    resume: bool,
) -> None:
    with climb.clock("sft"):
        base = climb.runs["pretrain"]
        resolved = stage2.sft_config(base, _settings(climb, "sft", climb.work.sft_steps))
        climb.runs["sft"] = stage2.sft(
            resolved,
            base,
            demonstrations,
            climb.folder / "sft-1",
            text=documents,
            held_out_text=held_out,
            resume=resume,
        )


def rank(climb: Climb, number: int) -> rounds.Ranked:
    """Completions of the newest policy, ranked by the labellers; written as comparisons."""
    with climb.clock("sample"):
        policy = load_policy(climb.policy)
        ranked = rounds.rank_round(
            climb.town,
            policy.model,
            policy.template,
            round_number=number,
            prompts=climb.work.prompts_to_rank,
            own=climb.work.completions,
            unknown_percent=climb.recipe["unknown_percent"]["ranked"],
            seed=climb.seed,
        )
        write_records(climb.folder / "data" / f"comparisons-{number}.jsonl", ranked.comparisons)
    return ranked


def reward(
    climb: Climb, number: int, ranked: rounds.Ranked, demonstrations: Sequence[Demonstration], resume: bool
) -> None:
    grader = Grader(climb.town)
    climb.learned += ranked.take(held_out=False)
    held = ranked.take(held_out=True)
    with climb.clock("reward"):
        resolved = stage3.reward_config(climb.runs["sft"], _settings(climb, "reward"))
        run = stage3.reward(
            resolved,
            climb.runs["sft"],
            climb.learned,
            climb.folder / f"reward-{number}",
            held_out=held,
            demonstrations=demonstrations[:512],
            kind_of_pair=rounds.kind_of_pair(ranked, grader),
            labelling_ceiling=rounds.labelling_ceiling(ranked, held, grader),
            resume=resume,
        )
        climb.runs[f"reward-{number}"] = run
        climb.card = (Run.open(run).report or {})["card"]
        climb.true_kinds = true_kinds(run, ranked, held, grader)


def true_kinds(
    run: Path, ranked: rounds.Ranked, held: Sequence[Comparison], grader: Grader
) -> dict[str, Interval]:
    folder = model_folder(run)
    model, tokenizer = load_scalar(folder, dtype=choose_dtype("auto")[0]), Tokenizer.load(folder)
    assert isinstance(model, RewardModel)
    template = ChatTemplate(tokenizer)
    scored = render_comparisons(held, template, model.body.config.context)
    return rounds.true_accuracy(ranked, held, score_comparisons(model, scored, tokenizer.pad_id), grader)


def ppo_questions(climb: Climb, number: int) -> list[Question]:
    """What PPO's prompts of a round ask."""
    teacher = Teacher(climb.town)
    share, stream = climb.recipe["unknown_percent"]["ppo"], f"ppo-{climb.seed}-{number}"
    return [teacher.prompt(i, unknown_percent=share, stream=stream) for i in range(PPO_PROMPTS)]


def ppo(climb: Climb, number: int, documents: Sequence[Document], resume: bool) -> None:
    questions = ppo_questions(climb, number)
    with climb.clock("ppo"):
        amounts = {"steps": climb.work.ppo_steps, "rollouts_per_step": climb.work.rollouts_per_step}
        layer = ("recipe", {**climb.recipe["ppo"], **amounts, "seed": climb.seed})
        resolved = stage4.ppo_config(climb.policy, layer)
        climb.runs[f"ppo-{number}"] = stage4.ppo(
            resolved,
            climb.policy,
            climb.runs[f"reward-{number}"],
            [Prompt(prompt=list(q.messages)) for q in questions],
            climb.folder / f"ppo-{number}",
            reference=climb.runs["sft"],
            ptx_documents=documents,
            gold=gold_check(climb.town),
            resume=resume,
        )


def gold_check(town: Town) -> Callable[[PolicySampler], float]:
    """The mean points of greedy answers to development questions about residents D."""
    items, grader = write_development(town), Grader(town)

    def gold(sampler: PolicySampler) -> float:
        texts = sampler.complete_many([list(i.question.messages) for i in items])
        grades = [grader.grade(i.question, t) for i, t in zip(items, texts, strict=True)]
        return gold_score(Answers("gold", items, list(texts), grades))

    return gold


@dataclass(frozen=True)
class Policy:
    model: Any
    tokenizer: Tokenizer
    template: ChatTemplate


def load_policy(run: Path) -> Policy:
    folder = model_folder(run)
    tokenizer = Tokenizer.load(folder)
    return Policy(load_model(folder, dtype=choose_dtype("auto")[0]), tokenizer, ChatTemplate(tokenizer))
