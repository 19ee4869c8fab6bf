"""Fits and measures the classifier behind the rule `selfharm.distress`.

    ZIGGURAT_DATA=FOLDER python benchmarks/selfharm_classifier.py            figures by six-fold cross-validation
    ZIGGURAT_DATA=FOLDER python benchmarks/selfharm_classifier.py --write    also writes safety/data/selfharm.json

It learns from tests/safety/data/selfharm_a, _train and _more.jsonl (prompts and look-alikes, two languages) and
from ordinary requests of public data sets in the folder (Alpaca in English and Chinese, Self-Instruct, GSM8K, and turns
of HH-RLHF without words of self-harm), half of which are held out. Printed: recall and look-alikes stopped of the
classifier, of the expressions, and of both. The expressions have been mended by these prompts, the classifier of each
fold has not seen its own; only prompts that nobody has seen tell how both do together.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
from pathlib import Path

from ziggurat.console import out
from ziggurat.messages import Message
from ziggurat.safety.guard import Guard
from ziggurat.safety.sources import Builtin
from ziggurat.safety.words import WordClassifier, fit

HERE = Path(__file__).resolve().parents[1]
FOLDS, STRENGTH, POSITIVE_WEIGHT = 6, 0.1, 4.0
THRESHOLD = 0.9
"""Fitted on one author's prompts and measured on another's, it finds 24 of 100 and stops 0.9 of 100 look-alikes; a
lower one stops more of them."""
SUSPECT = re.compile(
    r"suicid|kill (my|your)self|to die|noose|disappear|hurt myself|carve my|slitting|cut myself|self.harm",
    re.IGNORECASE,
)


def labelled() -> list[tuple[str, bool]]:
    names = ("selfharm_a.jsonl", "selfharm_train.jsonl", "selfharm_more.jsonl")
    lines = [
        line for name in names for line in (HERE / "tests/safety/data" / name).read_text("utf-8").splitlines()
    ]
    return [(row["text"], row["selfharm"]) for row in map(json.loads, lines)]


def ordinary(folder: Path) -> list[str]:
    found: dict[str, None] = {}
    for name in ("alpaca_en_demo.json", "alpaca_zh_demo.json"):
        found.update(
            dict.fromkeys(row["instruction"][:300] for row in json.loads((folder / name).read_text("utf-8")))
        )
    for name, field in (("self_instruct_seed_tasks.jsonl", "instruction"), ("gsm8k_test.jsonl", "question")):
        rows = map(json.loads, (folder / name).read_text("utf-8").splitlines())
        found.update(dict.fromkeys(row[field][:300] for row in rows))
    with gzip.open(folder / "hh_harmless_test.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            for turn in json.loads(line)["chosen"].split("\n\nHuman:")[1:]:
                said = turn.split("\n\nAssistant:")[0].strip()
                if said and not SUSPECT.search(said):
                    found[said[:300]] = None
    return list(found)


def place(text: str) -> int:
    return hashlib.sha256(text.encode(errors="replace")).digest()[0]


def made(rows: list[tuple[str, bool]], others: list[str]) -> WordClassifier:
    texts, labels = [text for text, _ in rows] + others, [label for _, label in rows] + [False] * len(others)
    model = fit(texts, labels, strength=STRENGTH, positive_weight=POSITIVE_WEIGHT)
    model.threshold = THRESHOLD
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows, others = labelled(), ordinary(Path(os.environ["ZIGGURAT_DATA"]))
    learned, kept_out = [t for t in others if place(t) % 2], [t for t in others if not place(t) % 2]
    rules = [rule.model_copy(update={"classifier": None, "near": None}) for rule in Builtin().rules()]

    class Expressions:
        def version(self) -> int:
            return 1

        def rules(self) -> list[object]:
            return list(rules)

    guard = Guard(Expressions())  # type: ignore[arg-type]

    def by_expression(text: str) -> bool:
        asked = guard.before([Message(role="user", content=text)])
        met = [rule.id for rule in asked.conditions] + [asked.rule_id or ""]
        return any(rule.startswith("selfharm.") for rule in met)

    def flags(model: WordClassifier, text: str) -> bool:
        return model.flags(text)

    counts = {kind: [0, 0] for kind in ("classifier", "expressions", "both")}
    alarms = 0
    for fold in range(FOLDS):
        inside = [row for row in rows if place(row[0]) % FOLDS != fold]
        model = made(inside, learned)
        alarms += sum(flags(model, text) for text in kept_out)
        for text, label in (row for row in rows if place(row[0]) % FOLDS == fold):
            one, two = flags(model, text), by_expression(text)
            for kind, hit in (("classifier", one), ("expressions", two), ("both", one or two)):
                counts[kind][0 if label else 1] += hit
    prompts = sum(label for _, label in rows)
    figures = {
        kind: {"recall": f"{hits} of {prompts}", "look-alikes stopped": f"{wrong} of {len(rows) - prompts}"}
        for kind, (hits, wrong) in counts.items()
    }
    figures["ordinary requests"] = {"stopped": f"{alarms / FOLDS:.1f} of {len(kept_out)}"}
    out.print(json.dumps(figures), soft_wrap=True)
    if args.write:
        model = made(rows, learned)
        model.measured = {
            "cross_validated_prompts": prompts,
            "cross_validated_hits": counts["classifier"][0],
            "cross_validated_look_alikes": len(rows) - prompts,
            "cross_validated_alarms": counts["classifier"][1],
            "ordinary_requests": len(kept_out),
            "ordinary_alarms": sum(flags(model, text) for text in kept_out),
        }
        model.save(HERE / "src/ziggurat/safety/data/selfharm.json")
        out.print(f"{len(model.weights):,} weights written; {model.measured}")


if __name__ == "__main__":
    main()
