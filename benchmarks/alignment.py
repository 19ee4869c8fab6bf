"""The alignment methods side by side, from one stage-2 model of the town's corner (tests/stages/small_town.py).

    python benchmarks/alignment.py                       a start of its own, made in seconds; three seeds
    python benchmarks/alignment.py --seeds 1 --methods dpo,grpo

All learn from the same 150 rankings by a noisy labeller, or from a reward model trained on them; `grpo, rules` is given
the labellers' taste as a function. Judged on 200 questions that nothing learned from: points (a right answer 1, an
honest pass 0, a wrong answer -1) with an interval over the questions, KL from the start, and processor seconds (one
thread). Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "stages"))

import small_town

from ziggurat.console import out, table
from ziggurat.corpus.formats.common import ratings_of
from ziggurat.dialogue.chat import Chat
from ziggurat.evaluation.statistics import cluster_bootstrap
from ziggurat.runs import Run
from ziggurat.stages.dpo import dpo, dpo_config
from ziggurat.stages.grpo import grpo, grpo_config
from ziggurat.stages.kto import kto, kto_config
from ziggurat.stages.ppo import ppo, ppo_config
from ziggurat.stages.raft import raft, raft_config
from ziggurat.stages.reward import reward, reward_config

TRAIN: dict[str, Any] = {"optimizer": "adamw", "lr_adam": 1e-3, "dtype": "fp32", "threads": 1}
LOOP: dict[str, Any] = {"steps": 12, "dtype": "fp32", "threads": 1}
TOKENS = small_town.ANSWER_TOKENS
RULES = f"{small_town.__file__}:score"
GROUPS = {
    "prompts_per_step": 16,
    "max_new_tokens": TOKENS,
    "policy": {"lr_adam": 1e-3},
    "stop_when_fatal": False,
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo": ("dpo", {"epochs": 2.0}),
    "ipo": ("dpo", {"epochs": 2.0, "loss": "ipo"}),
    "simpo": (
        "dpo",
        {"epochs": 2.0, "reference_free": True, "length_normalised": True, "beta": 2.0, "margin": 0.5},
    ),
    "kto": ("kto", {"epochs": 3.0, "batch_ratings": 16}),
    "ppo": (
        "ppo",
        {"rollouts_per_step": 128, "max_new_tokens": TOKENS, "stop_when_fatal": False, "kl_target": 0.0},
    ),
    "grpo": ("grpo", GROUPS),
    "rloo": ("grpo", {**GROUPS, "variant": "rloo"}),
    "raft": ("raft", {"epochs": 3.0, "max_new_tokens": TOKENS}),
    "grpo, rules": ("grpo", {**GROUPS, "reward_function": RULES}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS).replace("grpo, rules", "grpo+rules"))
    options = parser.parse_args()
    wanted = [name.replace("+", ", ") for name in options.methods.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), wanted, options.seeds)
    rows = []
    for name, runs in found.items():
        gold = [run["gold"] for run in runs]
        spread = f"{min(gold):.2f} ... {max(gold):.2f}" if len(gold) > 1 else ""
        shares = [f"{statistics.fmean(run[key] for run in runs):.0%}" for key in ("right", "passed", "wrong")]
        low, high = runs[0]["low"], runs[0]["high"]
        numbers = (f"{statistics.fmean(run[key] for run in runs):.1f}" for key in ("kl", "seconds"))
        rows.append(
            (name, f"{statistics.fmean(gold):.2f}", spread, f"[{low:.2f}, {high:.2f}]", *shares, *numbers)
        )
    titles = (
        "method",
        "points",
        "over seeds",
        "interval, 1st seed",
        "right",
        "pass",
        "wrong",
        "KL, nats",
        "s",
    )
    out.print(table("the town's corner", titles, rows))
    print(json.dumps(found))


def measure(folder: Path, wanted: list[str], seeds: int) -> dict[str, list[dict[str, float]]]:
    """The figures of every method and seed, the start's first."""
    start = small_town.make_start(folder)
    policy = Chat.load(start, as_trained=True)
    comparisons = small_town.comparisons(policy)
    found: dict[str, list[dict[str, float]]] = {"start": [{**judged(policy), "kl": 0.0, "seconds": 0.0}]}
    for seed in range(seeds):
        settings = {
            "train": {**TRAIN, "seed": seed},
            "held_out_share": 0.0,
            "batch_comparisons": 8,
            "epochs": 2.0,
        }
        scorer = reward(
            reward_config(start, ("benchmark", settings)), start, comparisons, folder / f"reward-{seed}"
        )
        for name in wanted:
            begun = time.process_time()
            run = learn(name, seed, start, scorer, comparisons, folder / f"{name}-{seed}")
            seconds = time.process_time() - begun
            numbers = (Run.open(run).report or {})["numbers"]
            kl = numbers["drift_nats"] if "drift_nats" in numbers else numbers["kl_chosen"]
            figures = {**judged(Chat.load(run, as_trained=True)), "kl": kl, "seconds": seconds}
            found.setdefault(name, []).append(figures)
    return found


def learn(name: str, seed: int, start: Path, scorer: Path, comparisons: Any, path: Path) -> Path:
    """One run of a method."""
    stage, settings = METHODS[name]
    supervised = ("benchmark", {**settings, "train": {**TRAIN, "seed": seed}})
    rolled_out = ("benchmark", {**settings, "train": {**LOOP, "seed": seed}, "allow_weak_reward_model": True})
    prompts = small_town.prompts()
    if stage == "dpo":
        return dpo(dpo_config(start, supervised), start, comparisons, path)
    if stage == "kto":
        thumbs = [thumb for one in comparisons for thumb in ratings_of(one)]
        return kto(kto_config(start, supervised), start, thumbs, path)
    if stage == "raft":
        settings = {**settings, "allow_weak_reward_model": True, "train": {**TRAIN, "seed": seed}}
        return raft(raft_config(start, ("benchmark", settings)), start, prompts, path, reward_model=scorer)
    if stage == "ppo":
        both = {"policy": {"lr_adam": 1e-3}, "critic": {"lr_adam": 1e-3}}
        return ppo(ppo_config(start, ("benchmark", both), rolled_out), start, scorer, prompts, path)
    given = None if "reward_function" in settings else scorer
    return grpo(grpo_config(start, rolled_out), start, prompts, path, reward_model=given)


def judged(policy: Chat) -> dict[str, float]:
    """Mean points of greedy answers to fresh questions, with the interval, and the shares of each verdict."""
    asked = small_town.questions(200, "benchmark")
    texts = policy.complete_many([one.messages for one in asked], small_town.GREEDY)
    points = [small_town.worth(one, text) for one, text in zip(asked, texts, strict=True)]
    interval = cluster_bootstrap(points)

    def share(of: Callable[[float], bool]) -> float:
        return sum(map(of, points)) / len(points)

    return {
        "gold": interval.value,
        "low": interval.low,
        "high": interval.high,
        "right": share(lambda p: p == 1),
        "passed": share(lambda p: p == 0),
        "wrong": share(lambda p: p == -1),
    }


if __name__ == "__main__":
    main()
