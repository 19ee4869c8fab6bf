"""DPO with its relatives, and KTO, on a real model and people's comparisons: what is preferred before and after.

    ziggurat models get smollm2
    python benchmarks/real/preferences.py                                 every method, then KTO on thumbs of its own
    python benchmarks/real/preferences.py --methods dpo,kto --longest 1500

An adapter learns from the comparisons of $ZIGGURAT_DATA/dpo_en_demo.json whose answers have at most `--longest`
characters each; two of five prompts, drawn by `--seed`, are held out. KTO learns from the same comparisons as thumbs,
the better one liked; `thumbs` is KTO on kto_en_demo.json. The figure is the share of held-out pairs of which the better
one has the higher implicit reward (KTO: of liked and disliked answers, AUROC), with an interval over the prompts: 50 %
before the first step by construction. Beside it the same by the plain likelihood per token, before and after; how far
the policy went, in nats an answer; processor seconds. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measures

import ziggurat
from ziggurat.console import out, table
from ziggurat.runs import Run
from ziggurat.settings import parse_sets

HELD_OUT = 0.4
METHODS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "dpo": (ziggurat.dpo, {}),
    "ipo": (ziggurat.dpo, {"loss": "ipo"}),
    "simpo": (
        ziggurat.dpo,
        {"reference_free": True, "length_normalised": True, "beta": 2.0, "margin": 0.5},
    ),
    "orpo": (ziggurat.dpo, {"loss": "odds_ratio", "nll_weight": 1.0}),
    "kto": (ziggurat.kto, {}),
    "thumbs": (ziggurat.kto, {}),
}


def main() -> None:
    parser = measures.arguments(str(__doc__))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--longest", type=int, default=2000, help="characters of an answer, at most")
    options = parser.parse_args()
    further = parse_sets(options.set)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in options.methods.split(","):
            name_of_data = "kto_en_demo.json" if name == "thumbs" else "dpo_en_demo.json"
            learned, held_out = split(measures.corpus(name_of_data), options.longest, options.seed, folder)
            method, settings = METHODS[name]
            begun = time.process_time()
            run = method(
                learned,
                base=options.model,
                held_out=held_out,
                settings={"trainable": "lora", "train.seed": options.seed, **settings, **further},
                out=folder / name,
            )
            seconds = time.process_time() - begun
            found[name] = {**(Run.open(run).report or {})["numbers"], "processor_s": seconds}
            out.print(f"{name}: {json.dumps(found[name])}")
    out.print(table("held-out preferences", TITLES, [row(name, one) for name, one in found.items()]))
    print(
        json.dumps({"seed": options.seed, "longest": options.longest, **measures.machine(), "found": found})
    )


def split(source: Path, longest: int, seed: int, folder: Path) -> tuple[Path, Path]:
    """Two files: what is learned from, and what is held out."""
    rows = json.loads(source.read_text(encoding="utf-8"))
    short = [one for one in rows if max(map(len, answers(one))) <= longest]
    random.Random(f"preferences {seed}").shuffle(short)
    count = round(HELD_OUT * len(short))
    paths = (folder / f"{source.stem}-learned.json", folder / f"{source.stem}-held-out.json")
    for path, some in zip(paths, (short[count:], short[:count]), strict=True):
        path.write_text(json.dumps(some, ensure_ascii=False), encoding="utf-8")
    return paths


def answers(row: dict[str, Any]) -> list[str]:
    if "chosen" in row:
        return [row["chosen"]["value"], row["rejected"]["value"]]
    return [row["messages"][-1]["content"]]


TITLES = ("method", "held out", "preferred after", "by likelihood before", "after", "KL, nats", "processor s")


def row(name: str, one: dict[str, Any]) -> tuple[str, ...]:
    if "held_out_auroc" in one:
        key, count = "held_out_auroc", f"{one['held_out_ratings']} answers"
    else:
        key, count = "held_out_accuracy", f"{one['held_out_pairs']} pairs"
    likelihood = [
        f"{one[key]:.0%}" if key in one else ""
        for key in ("likelihood_accuracy_before", "likelihood_accuracy_after")
    ]
    drift = one.get("drift_nats", one.get("kl_chosen"))
    return (
        name,
        count,
        f"{one[key]:.0%} [{one[f'{key}_low']:.0%}, {one[f'{key}_high']:.0%}]",
        *likelihood,
        "" if drift is None else f"{drift:.1f}",
        f"{one['processor_s']:.0f}",
    )


if __name__ == "__main__":
    main()
