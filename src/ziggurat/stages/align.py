"""Rounds: sample, rank, learn, again and again, on the policy's own completions.

    method ppo, grpo, raft   sample -> rank -> reward -> method    run folders beside this one: reward-<n>, ppo-<n>
    method dpo, kto          sample -> rank -> method              dpo-<n>, kto-<n>

A reward model is right where it has seen comparisons. PPO moves the policy away from there, so each round samples
the *new* policy, has those completions ranked, and trains the reward model afresh (from the stage-2 model) on all
comparisons so far. KL is always measured to the stage-2 model.

Who ranks is a callable (the town's labellers, a rule, a model) or people: without a callable a round writes
`round-<r>/to_rank.jsonl` and stops; give the ranks as `round-<r>/ranked.jsonl` and resume. A killed round goes on
where it was: rankings are kept as files, and the stages resume themselves. Who ranks may also be a model with written
principles (`judge`, stages/ai_labeller.py).

After each round the new policy is compared with the one before on the same prompts, by whoever ranks, else by the
round's reward model, and the result says whether round n beats round n - 1 (`round_comparison.py`).

What it leaves out: choosing prompts cleverly (uncertain ones first), and stopping when rounds no longer help.
Source: InstructGPT, arXiv:2203.02155, 3.1 ("steps 2 and 3 can be iterated continuously").

    ziggurat align --sft town/sft --data prompts.jsonl --rounds 2
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.corpus.formats.common import ratings_of
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.home import located, portable
from ziggurat.places import model_folder
from ziggurat.records import Comparison, Demonstration, Document, Prompt, read_records, write_records
from ziggurat.runs import Run
from ziggurat.settings import Resolved
from ziggurat.stages import setup
from ziggurat.stages.align_config import AlignConfig, Prepared, align_config, prepare
from ziggurat.stages.dpo import dpo
from ziggurat.stages.grpo import grpo
from ziggurat.stages.kto import kto
from ziggurat.stages.policy_learner import Gold
from ziggurat.stages.ppo import ppo
from ziggurat.stages.raft import raft
from ziggurat.stages.report_card import KindOfPair
from ziggurat.stages.reward import reward
from ziggurat.stages.round_comparison import Rank, compare_rounds, sentence
from ziggurat.stages.sample import sample, write_to_rank
from ziggurat.stages.stage import begin

__all__ = ["AlignConfig", "Prepared", "Rank", "align", "align_config", "prepare"]


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
    on_round: Callable[[int, Path | None, Path], None] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run the rounds and return the last policy's run folder.

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
    rank = rank or _judge(config)
    with begin("align", ready, run_path, resume=resume, overwrite=overwrite) as run:
        known = list(comparisons)
        policy: Path = ready.base
        rounds: list[dict[str, Any]] = []
        for number in range(1, config.rounds + 1):
            err.print(f"align: round {number} of {config.rounds}")
            fresh = _ranked(run, config, number, policy, prompts, rank, more_comparisons)
            mine = [*(comparisons if number == 1 else ()), *fresh]
            known += fresh
            start = policy if config.start == "previous" else ready.base
            reward_path = None
            if config.method in ("ppo", "grpo", "raft"):
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
            path = _path_of(run, number, config.method)
            if not _finished(path):
                _learn(
                    _stage_config(resolved, config.method, number),
                    config.method,
                    Material(start, ready.base, mine if config.start == "previous" else known, held_out),
                    reward_path,
                    ppo_prompts or prompts,
                    path,
                    ptx_documents=ptx_documents,
                    gold=gold,
                )
            one = _summary(number, config.method, len(known), reward_path, path)
            one["against_before"] = compare_rounds(
                policy, model_folder(path), prompts, config, rank=rank, reward_model=reward_path
            )
            rounds.append(one)
            err.print(f"align: {sentence(number, one['against_before'])}")
            if on_round:
                on_round(number, reward_path, path)
            policy = model_folder(path)
        run.finish({"stage": "align", "method": config.method, "rounds": rounds})
    return path


def _judge(config: AlignConfig) -> Rank | None:
    """A model that ranks in place of people, where the settings name one."""
    if not config.judge:
        return None
    from ziggurat.stages.ai_labeller import AILabeller

    return AILabeller.load(config.judge, config.principles).rank


@dataclass(frozen=True)
class Material:
    """What a round's method begins with and learns from."""

    start: Path
    reference: Path
    comparisons: list[Comparison]
    held_out: Sequence[Comparison] | None


def _learn(
    resolved: Resolved[Any],
    name: str,
    material: Material,
    reward_path: Path | None,
    prompts: Sequence[Prompt],
    path: Path,
    *,
    ptx_documents: Sequence[Document],
    gold: Gold | None,
) -> None:
    """One round's run of its method, resumed where it was begun."""
    start, reference, resume = material.start, material.reference, _begun(path)
    if name == "dpo":
        dpo(
            resolved,
            start,
            material.comparisons,
            path,
            reference=reference,
            held_out=material.held_out,
            resume=resume,
        )
        return
    if name == "kto":
        thumbs = [thumb for one in material.comparisons for thumb in ratings_of(one)]
        held = (
            None if material.held_out is None else [t for one in material.held_out for t in ratings_of(one)]
        )
        kto(resolved, start, thumbs, path, reference=reference, held_out=held, resume=resume)
        return
    assert reward_path is not None, "the other methods learn from a reward model"
    if name == "grpo":
        grpo(
            resolved,
            start,
            prompts,
            path,
            reward_model=reward_path,
            reference=reference,
            gold=gold,
            resume=resume,
        )
    elif name == "raft":
        raft(resolved, start, prompts, path, reward_model=reward_path, resume=resume)
    else:
        ppo(
            resolved,
            start,
            reward_path,
            prompts,
            path,
            reference=reference,
            ptx_documents=ptx_documents,
            gold=gold,
            resume=resume,
        )


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


def _stage_config(resolved: Resolved[AlignConfig], name: str, number: int) -> Resolved[Any]:
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


def _summary(
    number: int, method: str, comparisons: int, reward_path: Path | None, path: Path
) -> dict[str, Any]:
    card = (Run.open(reward_path).report or {}).get("card", {}) if reward_path else {}
    numbers = (Run.open(path).report or {}).get("numbers", {})
    return {
        "round": number,
        "comparisons": comparisons,
        "reward": None if reward_path is None else str(reward_path),
        method: str(path),
        "held_out_accuracy": card.get("pairs", {}).get("value"),
        "passed": card.get("passed"),
        "numbers": numbers,
    }
