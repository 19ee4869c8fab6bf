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
from pathlib import Path
from typing import Any, Literal

from ziggurat.console import err
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.home import located, portable
from ziggurat.places import model_folder
from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt, read_records, write_records
from ziggurat.runs import Run
from ziggurat.settings import Resolved
from ziggurat.stages import setup
from ziggurat.stages.align_config import AlignConfig, align_config, prepare
from ziggurat.stages.ppo import Gold, ppo
from ziggurat.stages.report_card import KindOfPair
from ziggurat.stages.reward import reward
from ziggurat.stages.sample import sample, write_to_rank
from ziggurat.stages.stage import begin

__all__ = ["AlignConfig", "align", "align_config", "prepare"]

Rank = Callable[[Sequence[Message], list[str]], Comparison | None]
"""(prompt, distinct completions) -> how they rank, or None if they cannot be ranked."""


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
        places[key] = portable(run.path.parent / f"{stage}-{free}")
        run.update_manifest(places=places)
    return located(places[key])


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
