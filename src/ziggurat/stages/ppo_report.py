"""The report of a run of PPO or GRPO: what was gained, at what KL, what the doctor saw, answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.evaluation.report import Verdict
from ziggurat.runs import Run
from ziggurat.stages.doctor import Diagnosis
from ziggurat.stages.method import answers_before_and_after
from ziggurat.stages.stage import finish


def write_report(
    run: Run,
    ready: Any,
    rows: Sequence[dict[str, Any]],
    best_checkpoint: Path,
    diagnoses: Sequence[tuple[int, Diagnosis]],
    *,
    by_gold: bool,
) -> None:
    """Print the summary, write report.html and report.json, and mark the run finished.

    `ready`: Prepared of the stage, whose config has `rollouts_per_step`.
    """
    chosen = int(best_checkpoint.name.rpartition("-")[2])
    first, best, last = rows[0], next(row for row in rows if row["step"] == chosen), rows[-1]
    rule = "the gold check (the latest within its tolerance)" if by_gold else "reward minus beta times KL"
    fatal = [diagnosis for _, diagnosis in diagnoses if diagnosis.fatal]
    stopped = bool(fatal) and last["step"] < ready.config.train.steps
    ending = f" The doctor stopped the run at step {last['step']} ({fatal[0].name})." if stopped else ""
    summary = (
        f"Step {chosen} of {last['step']} was chosen by {rule}: reward {first['reward']:.2f} -> {best['reward']:.2f} "
        f"at {best['kl']:.1f} nats from the reference.{ending}"
    )
    numbers = {
        "steps": last["step"],
        "chosen_step": chosen,
        "stopped_by_doctor": fatal[0].name if stopped else None,
        "rollouts": sum(1 for row in rows if "update_s" in row) * ready.config.rollouts_per_step,
        "elapsed_s": last["elapsed_s"],
    }
    for name in (
        "gold",
        "reward",
        "kl",
        "entropy",
        "length",
        "share_ended",
        "share_commonest",
        "share_distinct",
    ):
        numbers[f"{name}_before"], numbers[f"{name}_chosen"] = first.get(name), best.get(name)
    err.print(summary)
    finish(
        run,
        ready,
        summary=summary,
        numbers=numbers,
        verdicts=_verdicts(diagnoses),
        samples=answers_before_and_after(run, ready.base, ready.chat, ready.prompts),
        more={"diagnoses": [{"step": step, **diagnosis.to_dict()} for step, diagnosis in diagnoses]},
    )


def _verdicts(diagnoses: Sequence[tuple[int, Diagnosis]]) -> list[Verdict]:
    if not diagnoses:
        return [Verdict("doctor", True, "saw nothing wrong")]
    return [
        Verdict(
            f"doctor: {found.name}",
            False if found.fatal else None,
            f"step {step}: {found.sentence}",
            note=found.cure,
        )
        for step, found in diagnoses
    ]
