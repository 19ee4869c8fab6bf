"""The command line of the proof, and where it writes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

PARTS = ("town", "real", "hostile", "gate", "kills")


def arguments(description: str, given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="town", help=f"some of {','.join(PARTS)}, or all; default: town")
    parser.add_argument("--seed", type=int, default=0, help="of the people, their prompts and the trainings")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds from --seed on")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--voters", type=int, default=20)
    parser.add_argument("--votes", type=int, default=200, help="of all voters together, in a turn")
    parser.add_argument(
        "--reviews", type=float, default=0.1, help="share of the votes that are an expert's decisions"
    )
    parser.add_argument("--small", action="store_true", help="few prompts and votes: does it run?")
    parser.add_argument("--town", type=int, default=1, help="seed of the town")
    parser.add_argument("--first", default="1500,700", help="steps of stages 1 and 2 of the first release")
    parser.add_argument(
        "--held-out", type=int, default=None, help="prompts of the win rate; default: 960 (town), 410 (real)"
    )
    parser.add_argument(
        "--trainable", default=None, help="what learns in a turn; default: all (town), lora (real)"
    )
    parser.add_argument("--budget", default="8m", help="of a turn's training")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="a setting of a turn's stages"
    )
    parser.add_argument(
        "--method", default=None, help="of the turns: dpo, kto, rlhf, sft; default: by the data"
    )
    options = parser.parse_args(given)
    options.parts = list(PARTS) if options.parts == "all" else options.parts.split(",")
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.small:
        options.votes, options.voters = min(options.votes, 40), min(options.voters, 5)
        options.held_out, options.turns = min(options.held_out or 96, 96), min(options.turns, 1)
    return options
