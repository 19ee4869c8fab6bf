"""The stages of a climb: the data as files, then pretrain, sft, and rounds of sample, reward and ppo.

These are the same functions that the commands call. A stage whose data the world lacks is left out (`world.left_out`).

    runs/NAME/data/   documents, demonstrations, comparisons of each round (JSON Lines); tokenizer/
    runs/NAME/pretrain-1, sft-1, reward-1, ppo-1, reward-2, ppo-2
    runs/NAME/exam/   report.json, report.html, answers.jsonl
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.dialogue.chat import Chat
from ziggurat.home import portable
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.rankings import Rankings
from ziggurat.ladder.world import stages_of
from ziggurat.records import Comparison, Demonstration, Document, Prompt, write_records
from ziggurat.runs import Run
from ziggurat.stages import ppo as stage4
from ziggurat.stages import pretrain as stage1
from ziggurat.stages import reward as stage3
from ziggurat.stages import sft as stage2
from ziggurat.stages.comparison_batches import render_comparisons
from ziggurat.stages.judge import Judge
from ziggurat.stages.report_card import score_comparisons

SHIFT_DEMONSTRATIONS = 512
"""Demonstrations whose mean reward becomes 0."""


@dataclass(frozen=True)
class Material:
    """The records of stages 1 and 2."""

    documents: list[Document] = field(default_factory=list)
    held_out: list[Document] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    held_out_demonstrations: list[Demonstration] | None = None


def climb_stages(climb: Climb, *, resume: bool = False) -> None:
    """All stages that the world has data for."""
    stages = stages_of(climb.world)
    made = gather(climb)
    if "pretrain" in stages:
        pretrain(climb, made, resume)
    if "sft" in stages:
        sft(climb, made, resume)
    if "reward" not in stages:
        return
    for number in range(1, climb.work.rounds + 1):
        rankings = rank(climb, number)
        reward(climb, number, rankings, made, resume)
        ppo(climb, number, rankings, made, resume)


def gather(climb: Climb) -> Material:
    """The world's data as records; what the world generates is also written as files."""
    world = climb.world
    with climb.clock("files"):
        made = Material(
            world.documents(climb),
            world.held_out_documents(climb),
            world.demonstrations(climb),
            world.held_out_demonstrations(climb),
        )
        data = climb.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        if not world.sources:
            write_records(data / world.documents_file, made.documents)
            write_records(data / "held-out.jsonl", made.held_out)
            write_records(data / "demonstrations.jsonl", made.demonstrations)
    return made


def pretrain(climb: Climb, made: Material, resume: bool = False) -> None:
    """Stage 1: from nothing, or from the base."""
    base, folder = climb.world.options.base, climb.folder / "data" / "tokenizer"
    more: dict[str, Any] = {}
    with climb.clock("pretrain"):
        if base is None:
            more = {
                "shape": climb.recipe["model"],
                "tokenizer": climb.recipe.get("vocabulary", portable(folder)),
            }
            if resume and (folder / "tokenizer_config.json").is_file():  # the file that is written last
                more["tokenizer"] = portable(folder)
            elif (tokenizer := climb.world.tokenizer(climb, made.documents)) is not None:
                tokenizer.save(folder)
                more["tokenizer"] = portable(folder)
        resolved = stage1.pretrain_config(base, climb.settings("pretrain", climb.work.pretrain_steps, **more))
        climb.runs["pretrain"] = stage1.pretrain(
            resolved,
            made.documents,
            climb.folder / "pretrain-1",
            held_out=made.held_out,
            data=_entries(climb, documents="data", held_out_documents="held_out"),
            resume=resume,
        )


def sft(climb: Climb, made: Material, resume: bool = False) -> None:
    """Stage 2, with text of stage 1 mixed in."""
    with climb.clock("sft"):
        start = climb.start
        climb.runs["sft"] = stage2.sft(
            stage2.sft_config(start, climb.settings("sft", climb.work.sft_steps)),
            start,
            made.demonstrations,
            climb.folder / "sft-1",
            text=made.documents[: climb.world.text_limit],
            held_out=made.held_out_demonstrations,
            held_out_text=made.held_out,
            data=_entries(climb, demonstrations="data", held_out_demonstrations="held_out", documents="text"),
            resume=resume,
        )


def rank(climb: Climb, number: int) -> Rankings:
    """The comparisons of a round; those of simulated labellers are also written as a file."""
    world = climb.world
    with climb.clock("sample"):
        policy = Chat.load(climb.policy, as_trained=True) if "labellers" in world.has else None
        rankings = world.rank(climb, number, policy)
        assert rankings is not None, "a world whose `has` names labellers or rankings ranks"
        if not world.sources.get("rankings"):
            write_records(climb.folder / "data" / f"comparisons-{number}.jsonl", rankings.comparisons)
    return rankings


def reward(climb: Climb, number: int, rankings: Rankings, made: Material, resume: bool = False) -> None:
    """Stage 3, on the comparisons of all rounds so far."""
    climb.learned += rankings.take(held_out=False)
    climb.judged = held = rankings.take(held_out=True)
    truth = rankings.truth
    with climb.clock("reward"):
        run = stage3.reward(
            stage3.reward_config(climb.answering, climb.settings("reward")),
            climb.answering,
            climb.learned,
            climb.folder / f"reward-{number}",
            held_out=held,
            demonstrations=made.demonstrations[:SHIFT_DEMONSTRATIONS],
            kind_of_pair=truth.kind_of_pair if truth else None,
            labelling_ceiling=truth.labelling_ceiling(held) if truth else None,
            data=_entries(climb, rankings="data", held_out_rankings="held_out"),
            resume=resume,
        )
        climb.runs[f"reward-{number}"] = run
        climb.card = (Run.open(run).report or {})["card"]
        if truth:
            climb.true_kinds = truth.accuracy(*score_held_out(run, held))


def score_held_out(run: Path, held: Sequence[Comparison]) -> tuple[list[Comparison], list[list[float]]]:
    """The comparisons that a reward model can read, and its scores of their completions."""
    judge = Judge.load(run)
    usable, ranked = render_comparisons(held, judge.template, judge.context, skip=True)
    return usable, score_comparisons(judge.model, ranked, judge.tokenizer.pad_id)


def ppo(climb: Climb, number: int, rankings: Rankings | None, made: Material, resume: bool = False) -> None:
    """Stage 4, from the newest policy; KL is measured to the stage-2 model."""
    prompts = climb.world.prompts(climb, number)
    if not prompts and rankings is not None:
        asked = {str(one.prompt): one.prompt for one in rankings.take(held_out=False)}
        prompts = [Prompt(prompt=prompt) for prompt in asked.values()]
    with climb.clock("ppo"):
        climb.runs[f"ppo-{number}"] = stage4.ppo(
            stage4.ppo_config(climb.policy, climb.ppo_settings()),
            climb.policy,
            climb.runs[f"reward-{number}"],
            prompts,
            climb.folder / f"ppo-{number}",
            reference=climb.answering,
            ptx_documents=made.documents,
            gold=climb.world.gold(climb),
            data=_entries(climb, prompts="data", documents="text"),
            resume=resume,
        )


def _entries(climb: Climb, **roles: str) -> list[dict[str, Any]] | None:
    """The manifest's entries of a person's own files, each with its role in this run; None where there are none."""
    found = [
        {**entry, "role": role} for part, role in roles.items() for entry in climb.world.sources.get(part, [])
    ]
    return found or None
