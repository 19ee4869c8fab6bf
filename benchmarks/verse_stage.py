"""One stage of the poet's ladder (or some in a row) tried again with other settings, from the runs of a kept climb.

    ziggurat poet --data poems_zh.jsonl.gz --no-serve
    python benchmarks/verse_stage.py reward ppo --data poems_zh.jsonl.gz --set reward.score_head=confidence

Judged on development titles, never on those of the exam: the reward model on held-out comparisons by kind of pair,
the policies by the gold check (well-formed, rhyming, not copied, not worn out). The trial's runs are kept in the runs
folder `--name`; one line of JSON with every figure comes last.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from town_stage import change

from ziggurat.ladder.climb import load_policy
from ziggurat.places import ladder_folder, make_room
from ziggurat.runs import Run
from ziggurat.settings import flatten, parse_sets
from ziggurat.stages.rollouts import PolicySampler
from ziggurat.verse import climb as ladder
from ziggurat.verse.poems import read_poems

STAGES = ("pretrain", "sft", "reward", "ppo")


def main() -> None:
    options = arguments()
    recipe = ladder.load_recipe()
    for key, value in flatten(parse_sets(options.set)).items():
        change(recipe, key, value)
    kept, folder = ladder_folder(options.climb), ladder_folder(options.name)
    if "pretrain" not in options.stages and not kept.is_dir():
        raise SystemExit(
            f"{kept} holds no climb to take earlier stages from; climb one or name it with --climb."
        )
    make_room(folder, overwrite=options.overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"stages": options.stages, "set": options.set}))
    climb = ladder.Climb(
        library=read_poems(options.data),
        folder=folder,
        work=ladder.reference_work(recipe),
        seed=options.seed,
        recipe=recipe,
    )
    for stage in STAGES[: max(map(STAGES.index, options.stages))]:
        if stage not in options.stages and (run := kept / f"{stage}-1").exists():
            climb.runs["reward-1" if stage == "reward" else stage] = run
    print(json.dumps(run_stages(climb, options.stages) | {"seconds": climb.seconds, "set": options.set}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--climb", default="poet", help="the kept climb that earlier stages are taken from")
    parser.add_argument("--name", default="trial", help="where this trial's runs go")
    parser.add_argument("--overwrite", action="store_true", help="remove an earlier trial of that name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="dotted, of recipe.yaml"
    )
    return parser.parse_args()


def run_stages(climb: ladder.Climb, stages: list[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    made = ladder.write_files(climb)
    if "pretrain" in stages:
        ladder.pretrain(climb, made, False)
    if "sft" in stages:
        ladder.sft(climb, made, False)
    gold = climb.gold_check()
    if "reward" in stages:
        ladder.reward(climb, 1, ladder.rank(climb, 1), made, False)
        pairs, ceiling = climb.card["pairs"]["value"], climb.card["labelling_ceiling"]
        kinds = {kind: round(x.value, 3) for kind, x in climb.true_kinds.items()}
        figures["reward"] = {"pairs": round(pairs, 3), "labelling_ceiling": round(ceiling, 3), **kinds}
        print(figures["reward"], flush=True)
    if "ppo" in stages:
        ladder.ppo(climb, 1, made, False)
        rows = Run.open(climb.runs["ppo-1"]).read_metrics()
        figures["gold"] = {row["step"]: round(row["gold"], 3) for row in rows if "gold" in row}
    elif "sft" in stages:
        policy = load_policy(climb.runs["sft"])
        tokenizer, room = policy.template.tokenizer, climb.recipe["ppo"]["max_new_tokens"]
        figures["gold"] = gold(PolicySampler(policy.model, tokenizer, policy.template, room))
    return figures


if __name__ == "__main__":
    main()
