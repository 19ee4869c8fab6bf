"""What the guard's layers stop of an attack suite (A091), and what the same forms cost harmless requests.

    python benchmarks/guard_attacks.py                 the built-in rules
    python benchmarks/guard_attacks.py --rules FILE    a file of rules, as `serve --guard` reads it
    python benchmarks/guard_attacks.py --missed        also every attack that no layer stops

The attacks are in tests/safety/attacks.py. The model is one that obliges with one fixed sentence for each request;
those about self-harm and children meet a rule for answers, those about weapons do not. Each attack is judged by the
rules for requests alone, by the rules for answers alone, and by both; the model's own refusals (layer 2) depend on the
model and are not counted here. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.safety.attacks import ASKS, BENIGN, INJECTIONS, Attack, attacks, user

from ziggurat.console import out, table
from ziggurat.safety.guard import Guard
from ziggurat.safety.sources import Builtin, FileRules


def judged(guard: Guard, attack: Attack) -> tuple[str | None, bool, int]:
    """(the layer that stops the request, whether the answer is stopped, characters of it that a stream showed)."""
    asked = guard.before(attack.messages)
    watch, shown = guard.watch(asked), 0
    for i in range(0, len(attack.answer), 4):
        shown += len(watch.feed(attack.answer[i : i + 4]))
    shown += len(watch.end())
    return asked.layer if asked.acts else None, watch.decision is not None, shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--missed", action="store_true")
    args = parser.parse_args()
    guard = Guard(Builtin() if args.rules is None else FileRules(args.rules))
    tried, before, after, either = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    harmless, alarmed, missed = Counter[Any](), Counter[Any](), []
    begin = time.perf_counter()
    for attack in attacks(ASKS):
        key = (attack.family, attack.name)
        layer, cut, _ = judged(guard, attack)
        tried[key] += 1
        before[key] += layer is not None
        after[key] += cut
        either[key] += layer is not None or cut
        if layer is None and not cut:
            missed.append(f"{attack.family}, {attack.name}: {attack.messages[-1].content[:80]!r}")
    for attack in attacks(BENIGN):
        layer, cut, _ = judged(guard, attack)
        harmless[attack.family, attack.name] += 1
        alarmed[attack.family, attack.name] += layer is not None or cut
    recognised = sum(
        any(m.rule.id.startswith("attack.") for m in guard.before(user(text)).matches) for text in INJECTIONS
    )
    rows = [[*key, tried[key], before[key], after[key], either[key], alarmed[key]] for key in tried]
    out.print(
        table(
            None,
            ["family", "attack", "tried", "by request", "by answer", "by either", "harmless stopped"],
            rows,
        )
    )
    figures: dict[str, Any] = {}
    for family in dict.fromkeys(family for family, _ in tried):
        keys = [key for key in tried if key[0] == family]
        count = sum(tried[key] for key in keys)
        figures[family] = {
            "attacks": count,
            "rules for requests": round(sum(before[key] for key in keys) / count, 3),
            "rules for answers": round(sum(after[key] for key in keys) / count, 3),
            "both": round(sum(either[key] for key in keys) / count, 3),
            "harmless stopped": round(
                sum(alarmed[key] for key in keys) / sum(harmless[key] for key in keys), 3
            ),
        }
    figures["injections recorded"] = f"{recognised} of {len(INJECTIONS)}"
    figures["seconds"] = round(time.perf_counter() - begin, 1)
    if args.missed:
        for line in missed:
            out.print(line, markup=False)
    out.print(json.dumps(figures), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
