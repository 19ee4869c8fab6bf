"""Rounds: stages 3 and 4, again and again, on the policy's own completions.

    round r:  sample -> rank -> reward -> ppo        run folders beside this one: reward-<n>, ppo-<n>

A reward model is right where it has seen comparisons. PPO moves the policy away from there, so each round samples
the *new* policy, has those completions ranked, and trains the reward model afresh (from the stage-2 model) on all
comparisons so far. KL is always measured to the stage-2 model.

Who ranks is a callable (the town's labellers, a rule, a model) or people: without a callable a round writes
`round-<r>/to_rank.jsonl` and stops; give the ranks as `round-<r>/ranked.jsonl` and resume. A killed round goes on
where it was: rankings are kept as files, and reward and ppo resume themselves.

What it leaves out: choosing prompts cleverly (uncertain ones first), and stopping when rounds no longer help.
Source: InstructGPT, arXiv:2203.02155, 3.1 ("steps 2 and 3 can be iterated continuously").

    ziggurat align --sft town/sft --data prompts.jsonl --rounds 2
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ziggurat.console import err
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.model.hub import check_model
from ziggurat.places import model_folder
from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt, read_records, write_records
from ziggurat.runs import Run
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import setup, stage
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.comparison_batches import render_comparisons
from ziggurat.stages.ppo import Gold, ppo
from ziggurat.stages.ppo_config import PPOConfig, ppo_config
from ziggurat.stages.ppo_cost import ppo_cost, shared_microbatch
from ziggurat.stages.report_card import KindOfPair
from ziggurat.stages.reward import RewardConfig, reward, reward_config
from ziggurat.stages.sample import sample, write_to_rank
from ziggurat.stages.setup import Derived
from ziggurat.stages.stage import begin
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

Rank = Callable[[Sequence[Message], list[str]], Comparison | None]
"""(prompt, distinct completions) -> how they rank, or None if they cannot be ranked."""


def _of_both(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {"reward": {name: value}, "ppo": {name: value}}


class AlignConfig(setup.RecordsConfig):
    """Settings of the rounds; `reward` and `ppo` are those of the stages, in every round the same but for the seed."""

    short = {name: _of_both(name) for name in ("trainable", "lora", "recompute")}

    rounds: int = Field(default=2, ge=1)

    k: int = Field(default=4, ge=2, le=9)
    """Completions a prompt: the greedy one and k - 1 sampled; equal ones are ranked once."""

    prompts_per_round: int = Field(default=0, ge=0)
    """Prompts sampled in each round, different ones as long as there are; 0: all."""

    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion that is sampled for ranking. -1: computed from measured answers (stages/answer_length.py)."""

    start: Literal["previous", "sft"] = "previous"
    """PPO of a later round goes on from the round before, or starts anew from the stage-2 model."""

    seed: int = Field(default=0, ge=0)
    """Of sampling and of round 1; round r trains with this + r - 1."""

    reward: RewardConfig = RewardConfig()
    ppo: PPOConfig = PPOConfig()


def align_config(sft: str | Path, *layers: tuple[str, Any]) -> Resolved[AlignConfig]:
    """The configuration from its layers; the stages inherit from the stage-2 run what they would inherit alone."""
    inherited = {"reward": reward_config(sft).config, "ppo": ppo_config(sft).config}
    return resolve(AlignConfig, ("inherited", inherited), *layers)


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[AlignConfig]):
    """The rounds before their first step. The cost is that of PPO, the larger of the two stages."""

    prompts: list[Prompt]
    """Those that can be used."""

    @property
    def seed(self) -> int:
        return self.config.seed


def prepare(
    resolved: Resolved[AlignConfig],
    sft: str | Path,
    prompts: Sequence[Prompt],
    *,
    comparisons: Sequence[Comparison] = (),
    held_out: Sequence[Comparison] | None = None,
    demonstrations: Sequence[Demonstration] = (),
    ptx_documents: Sequence[Document] = (),
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check the model and every record that a round will use; nothing is written."""
    setup.need(prompts, "prompts")
    folder, config = model_folder(sft), resolved.config
    tokenizer = Tokenizer.load(folder)
    template = ChatTemplate(tokenizer)
    shape = check_model(folder, tokenizer.vocab_size)
    context, skip = shape.context, config.skip_bad_rows
    usable = setup.usable(template, prompts, longest=context - 1, skip=skip, what="prompt")
    ids = [one.ids for one in usable.flat]
    for some, what in ((comparisons, "comparison"), (held_out or (), "held-out comparison")):
        if some:
            render_comparisons(some, template, context, skip=skip, what=what)
    per_round = min(config.prompts_per_round or len(ids), len(ids))
    derived = [
        Derived("prompts", len(ids), f"{per_round:,} a round, {config.k} completions each"),
        Derived("comparisons at the start", len(comparisons), "given"),
        Derived("held-out comparisons", len(held_out or ()), "given"),
        Derived("demonstrations", len(demonstrations), "their mean reward becomes 0"),
        Derived("documents", len(ptx_documents), "mixed into PPO"),
    ]
    longest, why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, why = longest_answer([folder], template, ids, context=context, seed=config.seed)
    derived.append(Derived("longest completion", longest, why))
    settled = setup.freeze(
        resolved,
        {
            "max_new_tokens": longest,
            "reward.skip_bad_rows": skip or config.reward.skip_bad_rows,
            "ppo.skip_bad_rows": skip or config.ppo.skip_bad_rows,
        },
    )
    ppo = settled.config.ppo
    sized = ppo.model_copy(
        update={
            "max_new_tokens": ppo.max_new_tokens if ppo.max_new_tokens > 0 else longest,
            "microbatch_tokens": ppo.microbatch_tokens or shared_microbatch([shape]),
        }
    )
    return Prepared(
        resolved=settled,
        parent=folder,
        tokenizer=tokenizer,
        prompts=usable.records,
        derived=derived,
        data=data or [setup.memory_entry("prompts", list(prompts))],
        cost=ppo_cost(sized, [shape, shape, shape], ids),
    )


def align(
    resolved: Resolved[AlignConfig],
    sft: str | Path,
    prompts: Sequence[Prompt],
    run_path: Path,
    *,
    rank: Rank | None = None,
    comparisons: Sequence[Comparison] = (),
    more_comparisons: Callable[[int, Path], Sequence[Comparison]] | None = None,
    held_out: Sequence[Comparison] | None = None,
    demonstrations: Sequence[Demonstration] = (),
    ptx_documents: Sequence[Document] = (),
    ppo_prompts: Sequence[Prompt] | None = None,
    gold: Gold | None = None,
    kind_of_pair: KindOfPair | None = None,
    labelling_ceiling: float | None = None,
    on_round: Callable[[int, Path, Path], None] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run the rounds and return the last PPO run's folder.

    `comparisons` are there from the start; `more_comparisons(round, policy)` may add some to a round, such as
    invented ones; `prompts` are sampled and ranked, `ppo_prompts` (default: the same) are rolled out.
    """
    ready = prepare(
        resolved,
        sft,
        prompts,
        comparisons=comparisons,
        held_out=held_out,
        demonstrations=demonstrations,
        ptx_documents=ptx_documents,
        data=data,
    )
    resolved, config, prompts = ready.resolved, ready.config, ready.prompts
    with begin("align", ready, run_path, resume=resume, overwrite=overwrite) as run:
        known = list(comparisons)
        policy: Path = ready.base
        rounds: list[dict[str, Any]] = []
        for number in range(1, config.rounds + 1):
            err.print(f"align: round {number} of {config.rounds}")
            known += _ranked(run, config, number, policy, prompts, rank, more_comparisons)
            reward_path = _path_of(run, number, "reward")
            if not _finished(reward_path):
                reward(
                    _stage_config(resolved, "reward", number),
                    sft,
                    known,
                    reward_path,
                    held_out=held_out,
                    demonstrations=demonstrations,
                    kind_of_pair=kind_of_pair,
                    labelling_ceiling=labelling_ceiling,
                    resume=_begun(reward_path),
                )
            ppo_path = _path_of(run, number, "ppo")
            if not _finished(ppo_path):
                ppo(
                    _stage_config(resolved, "ppo", number),
                    policy if config.start == "previous" else sft,
                    reward_path,
                    ppo_prompts or prompts,
                    ppo_path,
                    reference=sft,
                    ptx_documents=ptx_documents,
                    gold=gold,
                    resume=_begun(ppo_path),
                )
            rounds.append(_summary(number, len(known), reward_path, ppo_path))
            if on_round:
                on_round(number, reward_path, ppo_path)
            policy = model_folder(ppo_path)
        run.finish({"stage": "align", "rounds": rounds})
    return ppo_path


def _ranked(
    run: Run,
    config: AlignConfig,
    number: int,
    policy: Path,
    prompts: Sequence[Prompt],
    rank: Rank | None,
    more: Callable[[int, Path], Sequence[Comparison]] | None,
) -> list[Comparison]:
    """This round's comparisons, from its file if they were made already."""
    folder = run.path / f"round-{number}"
    done = folder / "ranked.jsonl"
    if done.exists():
        return list(read_records(done, Comparison))
    folder.mkdir(exist_ok=True)
    chosen = _prompts_of_round(prompts, config, number)
    params = SamplingParams(
        temperature=config.temperature, max_tokens=config.max_new_tokens, seed=config.seed + number
    )
    sampled = sample(policy, chosen, config.k, params, skip=config.skip_bad_rows)
    if rank is None:
        waiting = folder / "to_rank.jsonl"
        count = write_to_rank(waiting, sampled, policy=str(policy), params=params)
        raise UsageError(
            f"round {number}: {count:,} prompts with completions wait in {waiting}; have them ranked, "
            f"write the comparisons to {done} and resume."
        )
    ranked = [rank(one.prompt.prompt, one.distinct()) for one in sampled if len(one.distinct()) > 1]
    found = [one for one in ranked if one is not None] + list(more(number, policy) if more else ())
    err.print(f"align: {len(found):,} comparisons from {len(sampled):,} prompts")
    setup.need(found, "comparisons")
    write_records(done, found)
    return found


def _prompts_of_round(prompts: Sequence[Prompt], config: AlignConfig, number: int) -> list[Prompt]:
    """The round's share of a shuffled list, beginning anew at its end."""
    count = config.prompts_per_round
    if not count or count >= len(prompts):
        return list(prompts)
    order = list(range(len(prompts)))
    random.Random(f"{config.seed} align").shuffle(order)
    first = (number - 1) * count
    return [prompts[order[i % len(order)]] for i in range(first, first + count)]


def _stage_config(
    resolved: Resolved[AlignConfig], name: Literal["reward", "ppo"], number: int
) -> Resolved[Any]:
    """One stage's part of the configuration with the sources of its values; each round has its own seed."""
    part = getattr(resolved.config, name)
    sources = {k.removeprefix(f"{name}."): v for k, v in resolved.sources.items() if k.startswith(f"{name}.")}
    return setup.freeze(
        Resolved(part, sources), {"train.seed": resolved.config.seed + number - 1}, source=f"round {number}"
    )


def _path_of(run: Run, number: int, stage: str) -> Path:
    """The folder of a round's stage: beside this run, the next free number, written down before it is used."""
    places = dict(run.manifest.get("places", {}))
    key = f"{stage} of round {number}"
    if key not in places:
        taken = [p.name.rpartition("-")[2] for p in run.path.parent.glob(f"{stage}-*")]
        taken += [
            Path(p).name.rpartition("-")[2] for p in places.values() if Path(p).name.startswith(f"{stage}-")
        ]
        free = 1 + max((int(n) for n in taken if n.isdecimal()), default=0)
        places[key] = str(run.path.parent / f"{stage}-{free}")
        run.update_manifest(places=places)
    return Path(places[key])


def _begun(path: Path) -> bool:
    return (path / "manifest.json").exists()


def _finished(path: Path) -> bool:
    return _begun(path) and Run.open(path).finished


def _summary(number: int, comparisons: int, reward_path: Path, ppo_path: Path) -> dict[str, Any]:
    card = (Run.open(reward_path).report or {}).get("card", {})
    numbers = (Run.open(ppo_path).report or {}).get("numbers", {})
    return {
        "round": number,
        "comparisons": comparisons,
        "reward": str(reward_path),
        "ppo": str(ppo_path),
        "held_out_accuracy": card.get("pairs", {}).get("value"),
        "passed": card.get("passed"),
        "numbers": numbers,
    }
