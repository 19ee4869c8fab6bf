"""`python -m ziggurat.flywheel.gate.judging FOLDER`: the criteria of one gate, in a process of its own.

FOLDER has order.json (models, policy, hashes) and held_out/ (records and who judged them). Each criterion's finding is
written to findings/NAME.json as it is known, so a gate that was killed goes on with the next one; samples.json holds
answers of both models side by side.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ziggurat.errors import ZigguratError
from ziggurat.files import drop_lock, read_json, take_lock, write_json
from ziggurat.flywheel.gate.criteria.canaries import Canaries
from ziggurat.flywheel.gate.criteria.collapse import Collapse
from ziggurat.flywheel.gate.criteria.exam import Exam
from ziggurat.flywheel.gate.criteria.metrics import Metrics
from ziggurat.flywheel.gate.criteria.safety import Safety
from ziggurat.flywheel.gate.criteria.text_loss import TextLoss
from ziggurat.flywheel.gate.criteria.win_rate import WinRate
from ziggurat.flywheel.gate.criterion import Bench, Criterion, Judged, Rated
from ziggurat.flywheel.gate.policy import GatePolicy
from ziggurat.records import Comparison, Message, Prompt, Rating

FORMAT = 1
SAMPLES = 12
CRITERIA: tuple[Criterion, ...] = (
    WinRate(),
    Collapse(),
    Canaries(),
    Safety(),
    TextLoss(),
    Exam(),
    Metrics(),
)
"""In the order of the page."""


def judge(folder: Path) -> None:
    """Every criterion that has no finding yet."""
    order = read_json(folder / "order.json", FORMAT)
    bench = bench_of(order, folder / "held_out")
    for criterion in CRITERIA:
        target = folder / "findings" / f"{criterion.name}.json"
        if not target.is_file():
            print(f"{criterion.name} begins", flush=True)
            found = criterion.measure(bench)
            write_json(target, found.to_json(), FORMAT)
            print(f"{criterion.name}: {found.verdict}. {found.sentence}", flush=True)
    write_json(folder / "samples.json", {"samples": samples(bench)}, FORMAT)


def bench_of(order: dict[str, Any], held_out: Path) -> Bench:
    judged, rated, prompts, ids = held(held_out)
    return Bench(
        candidate=Path(order["candidate"]),
        against=Path(order["against"]) if order.get("against") else None,
        policy=GatePolicy.model_validate(order["policy"]),
        judged=judged,
        rated=rated,
        prompts=prompts,
        prompt_ids=ids,
        canaries=order.get("canaries") or (),
        planted=order.get("planted"),
        scorers=order.get("scorers") or (),
        labels=order.get("labels") or (),
        battles=order.get("battles") or (),
        metrics=order.get("metrics") or (),
    )


def held(folder: Path) -> tuple[list[Judged], list[Rated], list[Prompt], list[str | None]]:
    """The held-out comparisons and thumbs, and all different held-out prompts with the judgements they come from."""
    judged: list[Judged] = []
    rated: list[Rated] = []
    prompts: dict[str, tuple[Prompt, str | None]] = {}

    def asked(messages: list[Message], judgement_id: str | None) -> None:
        key = json.dumps([message.to_json() for message in messages], sort_keys=True)
        prompts.setdefault(key, (Prompt(prompt=messages), judgement_id))

    for record, who in rows(folder, "prompts"):
        asked(Prompt.model_validate(record).prompt, who["judgement_id"])
    for record, who in rows(folder, "comparisons"):
        comparison = Comparison.model_validate(record)
        judged.append(Judged(comparison, str(who["person"]), str(who["split"])))
        asked(comparison.prompt, who["judgement_id"])
    for record, who in rows(folder, "ratings"):
        rating = Rating.model_validate(record)
        rated.append(Rated(rating, str(who["person"])))
        asked(list(rating.prompt), who["judgement_id"])
    for record, who in rows(folder, "demonstrations"):
        before = [Message.model_validate(one) for one in record["messages"]][:-1]
        if before and before[-1].role in ("user", "tool"):
            asked(before, who["judgement_id"])
    return judged, rated, [prompt for prompt, _ in prompts.values()], [one for _, one in prompts.values()]


def rows(folder: Path, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    path = folder / f"{kind}.jsonl"
    if not path.is_file():
        return []
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(
        zip(
            records, json.loads(path.with_suffix("").with_suffix(".who.json").read_text("utf-8")), strict=True
        )
    )


def samples(bench: Bench) -> list[dict[str, Any]]:
    """Answers of both models to the same prompts, with the judgement that each prompt comes from."""
    known = {id(prompt): one for prompt, one in zip(bench.prompts, bench.prompt_ids, strict=True)}
    step = max(1, len(bench.asked) // SAMPLES)
    found = []
    for number in range(0, len(bench.asked), step)[:SAMPLES]:
        prompt = bench.asked[number]
        found.append(
            {
                "judgement_id": known.get(id(prompt)),
                "prompt": [message.to_json() for message in prompt.prompt],
                "candidate": bench.our_answers[number].text.strip(),
                "serving": bench.their_answers[number].text.strip() if bench.their_answers else None,
            }
        )
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    try:
        lock = take_lock(folder)
        try:
            judge(folder)
        finally:
            drop_lock(lock)
    except KeyboardInterrupt:
        sys.exit(130)
    except ZigguratError as error:
        print(f"Error: {error}", flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
