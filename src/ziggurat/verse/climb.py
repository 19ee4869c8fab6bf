"""Climbs the four stages on verse: the files, the plan, the stages in rounds. The exam and report are report.py's.

    runs/poet/data/   documents, held-out poems, demonstrations, comparisons of each round; tokenizer/
    runs/poet/pretrain-1, sft-1, reward-1, ppo-1, reward-2, ppo-2

The stages are the same functions that the commands call. The gold check chooses PPO's checkpoints and rewards nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.errors import RunError
from ziggurat.files import atomic_write_text, sha256_file
from ziggurat.ladder import climb as climbing
from ziggurat.ladder.climb import load_policy, score_held_out
from ziggurat.ladder.plan import Work, measure_speeds
from ziggurat.model.config import ModelConfig
from ziggurat.places import ladder_folder, make_room
from ziggurat.records import Demonstration, Document, Prompt, write_records
from ziggurat.runs import Run
from ziggurat.settings import parse_yaml
from ziggurat.stages import ppo as stage4
from ziggurat.stages import pretrain as stage1
from ziggurat.stages import reward as stage3
from ziggurat.stages import sft as stage2
from ziggurat.stages.rollouts import PolicySampler
from ziggurat.verse import rounds
from ziggurat.verse.demonstrations import ALSO_WRITTEN, Teacher, write_demonstrations
from ziggurat.verse.exam import gold_check
from ziggurat.verse.plan import plan, stage_costs
from ziggurat.verse.poems import (
    Library,
    character_tokenizer,
    documents,
    held_out_documents,
    known_lines,
    read_poems,
)
from ziggurat.verse.prosody import need_pypinyin

ALTERED = 2  # of the completions of a comparison
PPO_PROMPTS = 12_000
SHIFT_DEMONSTRATIONS = 512
TEXT_DOCUMENTS = 20_000  # mixed into stage 2: more than it reads


def load_recipe() -> dict[str, Any]:
    """The settings of verse (`recipe.yaml`)."""
    recipe: dict[str, Any] = parse_yaml(
        files("ziggurat.verse").joinpath("recipe.yaml").read_text(encoding="utf-8")
    )
    return recipe


def reference_work(recipe: Mapping[str, Any]) -> Work:
    return Work(**recipe["work"], step_tokens=recipe["pretrain"]["batch_tokens"])


@dataclass(kw_only=True)
class Climb(climbing.Climb):
    """A climb on one file of poems."""

    library: Library

    @cached_property
    def teacher(self) -> Teacher:
        return Teacher(self.library, self.seed)

    @property
    def temperature(self) -> float:
        """At which poems are drawn in PPO, in the gold check and in the exam."""
        return float(self.recipe["temperature"])

    def gold_check(self) -> Callable[[PolicySampler], float]:
        return gold_check(self.library, self.books, self.temperature, self.seed)

    def ppo_settings(self) -> tuple[str, dict[str, Any]]:
        source, settings = super().ppo_settings()
        return source, {"temperature": self.temperature, **settings}

    @cached_property
    def books(self) -> frozenset[str]:
        """Every line that was there to be learned, read by stage 1 or not."""
        return known_lines(self.library.learned)


@dataclass(frozen=True)
class Files:
    """The records that stages 1 and 2 read."""

    documents: list[Document]
    held_out: list[Document]
    demonstrations: list[Demonstration]
    tokenizer: Path


def begin(
    data: Path,
    budget_s: float,
    *,
    seed: int = 0,
    name: str = "poet",
    recipe: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep: bool = True,
) -> Climb:
    """The poems and the plan, frozen in the ladder's folder (`keep`); nothing is trained.

    A resumed climb reads its plan back, so that what it does never depends on how fast the machine is today.
    """
    need_pypinyin()
    folder = ladder_folder(name)
    if resume:
        return _continue(data, folder)
    if keep:
        make_room(folder, overwrite=overwrite)
    t0 = time.perf_counter()
    library = read_poems(data)
    for reason, count in library.left_out.items():
        err.print(f"{count:,} poems left out: {reason}.")
    recipe = recipe or load_recipe()
    config = ModelConfig(**recipe["model"], vocab_size=recipe["characters"] + 300)
    speeds = measure_speeds(config, step_tokens=recipe["pretrain"]["batch_tokens"])
    work = plan(reference_work(recipe), speeds, budget_s)
    climb = Climb(library=library, folder=folder, work=work, seed=seed, recipe=recipe, speeds=speeds)
    climb.seconds["files"] = time.perf_counter() - t0
    if keep:
        folder.mkdir(parents=True, exist_ok=True)
        frozen = {"data_sha256": sha256_file(data), "seed": seed, "work": asdict(work), "recipe": recipe}
        atomic_write_text(folder / "plan.json", json.dumps({**frozen, "speeds": asdict(speeds)}, indent=1))
    return climb


def _continue(data: Path, folder: Path) -> Climb:
    frozen = climbing.frozen_plan(folder)
    if sha256_file(data) != frozen["data_sha256"]:
        raise RunError(f"{folder} was begun with another file than {data}; resume with the same one.")
    return Climb(
        library=read_poems(data),
        folder=folder,
        work=Work(**frozen["work"]),
        seed=frozen["seed"],
        recipe=frozen["recipe"],
    )


def describe_plan(climb: Climb) -> list[tuple[str, str, str]]:
    """(stage, what it does, about how long) of the plan, for people."""
    return climbing.describe_plan(climb, stage_costs, "tasks x {} poems")


def climb_stages(climb: Climb, *, resume: bool = False) -> None:
    """Stages 1 and 2, then rounds of 3 and 4."""
    made = write_files(climb)
    pretrain(climb, made, resume)
    sft(climb, made, resume)
    for number in range(1, climb.work.rounds + 1):
        ranked = rank(climb, number)
        reward(climb, number, ranked, made, resume)
        ppo(climb, number, made, resume)


def write_files(climb: Climb) -> Files:
    """Documents, demonstrations and the tokenizer, as files and as records."""
    recipe, data = climb.recipe, climb.folder / "data"
    with climb.clock("files"):
        made = Files(
            documents(
                climb.library,
                eight_line_poems=recipe["eight_line_poems"],
                feet=recipe["rhyme_feet"],
                seed=climb.seed,
            ),
            held_out_documents(climb.library, recipe["held_out_documents"]),
            list(write_demonstrations(climb.teacher, recipe["demonstrations"])),
            data / "tokenizer",
        )
        data.mkdir(parents=True, exist_ok=True)
        write_records(data / "documents.jsonl.gz", made.documents)
        write_records(data / "held-out.jsonl", made.held_out)
        write_records(data / "demonstrations.jsonl", made.demonstrations)
        tokenizer = character_tokenizer(climb.library.learned, recipe["characters"], also=ALSO_WRITTEN)
        tokenizer.save(made.tokenizer)
    return made


def pretrain(climb: Climb, made: Files, resume: bool) -> None:
    more = {"tokenizer": str(made.tokenizer), "shape": climb.recipe["model"]}
    with climb.clock("pretrain"):
        resolved = stage1.pretrain_config(None, climb.settings("pretrain", climb.work.pretrain_steps, **more))
        climb.runs["pretrain"] = stage1.pretrain(
            resolved, made.documents, climb.folder / "pretrain-1", held_out=made.held_out, resume=resume
        )


def sft(climb: Climb, made: Files, resume: bool) -> None:
    with climb.clock("sft"):
        base = climb.runs["pretrain"]
        climb.runs["sft"] = stage2.sft(
            stage2.sft_config(base, climb.settings("sft", climb.work.sft_steps)),
            base,
            made.demonstrations,
            climb.folder / "sft-1",
            text=made.documents[:TEXT_DOCUMENTS],
            held_out_text=made.held_out,
            resume=resume,
        )


def rank(climb: Climb, number: int) -> rounds.Ranked:
    """Poems of the newest policy, ranked by the labellers; written as comparisons."""
    with climb.clock("sample"):
        policy = load_policy(climb.policy)
        ranked = rounds.rank_round(
            climb.teacher,
            climb.books,
            policy.model,
            policy.template,
            round_number=number,
            prompts=climb.work.prompts_to_rank,
            own=climb.work.completions - ALTERED,
            seed=climb.seed,
        )
        write_records(climb.folder / "data" / f"comparisons-{number}.jsonl", ranked.comparisons)
    return ranked


def reward(climb: Climb, number: int, ranked: rounds.Ranked, made: Files, resume: bool) -> None:
    climb.learned += ranked.take(held_out=False)
    held = ranked.take(held_out=True)
    with climb.clock("reward"):
        run = stage3.reward(
            stage3.reward_config(climb.runs["sft"], climb.settings("reward")),
            climb.runs["sft"],
            climb.learned,
            climb.folder / f"reward-{number}",
            held_out=held,
            demonstrations=made.demonstrations[:SHIFT_DEMONSTRATIONS],
            kind_of_pair=rounds.kind_of_pair(ranked),
            labelling_ceiling=rounds.labelling_ceiling(ranked, held),
            resume=resume,
        )
        climb.runs[f"reward-{number}"] = run
        climb.card = (Run.open(run).report or {})["card"]
        climb.true_kinds = rounds.true_accuracy(ranked, held, score_held_out(run, held))


def ppo(climb: Climb, number: int, made: Files, resume: bool) -> None:
    tasks = [climb.teacher.task(i, f"ppo-{climb.seed}-{number}") for i in range(PPO_PROMPTS)]
    with climb.clock("ppo"):
        resolved = stage4.ppo_config(climb.policy, climb.ppo_settings())
        climb.runs[f"ppo-{number}"] = stage4.ppo(
            resolved,
            climb.policy,
            climb.runs[f"reward-{number}"],
            [Prompt(prompt=task.messages) for task in tasks],
            climb.folder / f"ppo-{number}",
            reference=climb.runs["sft"],
            ptx_documents=made.documents,
            gold=climb.gold_check(),
            resume=resume,
        )
