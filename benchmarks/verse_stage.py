"""One stage of the poet's ladder (or some in a row) tried again with other settings, from the runs of a kept climb.

    ziggurat poet --data poems_zh.jsonl.gz --no-serve
    python benchmarks/verse_stage.py reward ppo --data poems_zh.jsonl.gz --set reward.score_head=confidence

Judged on development titles, never on those of the exam: the reward model on held-out comparisons by kind of pair,
the policies by the gold check (well-formed, rhyming, not copied, not worn out). The trial's runs are kept in the runs
folder `--name`; one line of JSON with every figure comes last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trial

from ziggurat.dialogue.chat import Chat
from ziggurat.ladder import stages as ladder
from ziggurat.ladder.climb import Climb
from ziggurat.runs import Run
from ziggurat.verse.world import VerseWorld


def main() -> None:
    parser = trial.arguments(str(__doc__), "poet")
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    climb = trial.begin(VerseWorld(options.data), options)
    print(json.dumps(run_stages(climb, options.stages) | {"seconds": climb.seconds, "set": options.set}))


def run_stages(climb: Climb, stages: list[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    made = ladder.gather(climb)
    trial.learn(climb, stages, made)
    if "reward" in stages:
        pairs, ceiling = climb.card["pairs"]["value"], climb.card["labelling_ceiling"]
        kinds = {kind: round(x.value, 3) for kind, x in climb.true_kinds.items()}
        figures["reward"] = {"pairs": round(pairs, 3), "labelling_ceiling": round(ceiling, 3), **kinds}
        print(figures["reward"], flush=True)
    if "ppo" in stages:
        ladder.ppo(climb, 1, None, made)
        rows = Run.open(climb.runs["ppo-1"]).read_metrics()
        figures["gold"] = {row["step"]: round(row["gold"], 3) for row in rows if "gold" in row}
    elif "sft" in stages and (gold := climb.world.gold(climb)):
        figures["gold"] = gold(Chat.load(climb.runs["sft"]))
    return figures


if __name__ == "__main__":
    main()
