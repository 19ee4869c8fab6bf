"""The report of a PPO run: what was gained, at what KL, what the doctor saw, answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.evaluation.report import Sample, Verdict
from ziggurat.model.hub import load_model
from ziggurat.runs import Run
from ziggurat.stages.doctor import Diagnosis
from ziggurat.stages.ppo_prepare import Prepared
from ziggurat.stages.stage import finish

SAMPLES_SHOWN = 8


def write_report(
    run: Run,
    ready: Prepared,
    rows: Sequence[dict[str, Any]],
    best_checkpoint: Path,
    diagnoses: Sequence[tuple[int, Diagnosis]],
    *,
    by_gold: bool,
) -> None:
    """Print the summary, write report.html and report.json, and mark the run finished."""
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
        samples=_samples(run, ready),
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


def _samples(run: Run, ready: Prepared) -> list[Sample]:
    """Greedy answers before and after, to prompts spread over all."""
    stride = max(1, len(ready.prompts) // SAMPLES_SHOWN)
    shown = ready.prompts[::stride][:SAMPLES_SHOWN]
    asked, tools = [one.prompt for one in shown], [one.tools for one in shown]
    before, after = (
        ready.chat(load_model(folder)).complete_many(asked, tools=tools)
        for folder in (ready.base, run.model_path)
    )
    return [
        Sample(
            prompt="\n".join(f"{m.role}: {m.content}" for m in prompt),
            text=new.strip(),
            note=f"before: {old.strip()}",
        )
        for prompt, old, new in zip(asked, before, after, strict=True)
    ]
