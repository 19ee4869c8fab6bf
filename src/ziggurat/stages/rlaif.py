"""Rankings by a judge model and written principles (RLAIF): comparisons for `reward`, `dpo` and `kto` without people.

    prompts -> k completions of the policy -> the judge compares each pair, in both orders -> ranked.jsonl

`ai_labeller.py` has the question that the judge is asked. `align --set judge=... --set principles=[...]` does the same
in rounds and trains on it. The report says how often both orders agree: a judge that is inconsistent on most pairs
prefers a place, not an answer. Left out: agreement with people, which needs their rankings of the same completions.
Source: arXiv:2212.08073, 4.

    ziggurat rlaif --policy own/sft --judge models/large --data prompts.jsonl --set 'principles=["It is polite."]'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ziggurat.console import err
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import DataError, ModelFolderError
from ziggurat.evaluation.report import Sample
from ziggurat.lineage import parent_entry
from ziggurat.model.hub import is_scalar
from ziggurat.places import model_folder
from ziggurat.records import Prompt, write_records
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import method, setup
from ziggurat.stages.ai_labeller import AILabeller
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.sample import LARGEST_K, sample
from ziggurat.stages.setup import Derived
from ziggurat.stages.stage import begin, finish

RANKED = "ranked.jsonl"


class RLAIFConfig(setup.RecordsConfig):
    """Settings of `rlaif`."""

    principles: tuple[str, ...] = ()
    """Written rules, all of which the judge reads, such as "The answer is polite."."""

    k: int = Field(default=4, ge=2, le=LARGEST_K)
    """Completions a prompt: the greedy one and k - 1 sampled; equal ones are ranked once."""

    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion. -1: computed from measured answers (stages/answer_length.py)."""

    seed: int = Field(default=0, ge=0)

    @field_validator("principles")
    @classmethod
    def _said(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not one.strip() for one in value):
            raise ValueError("a principle is empty; write each as a sentence")
        return value


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[RLAIFConfig]):
    """`rlaif` before it samples."""

    judge_folder: Path

    @property
    def manifest(self) -> Mapping[str, Any]:
        return {"judge": parent_entry(self.judge_folder)}


def rlaif_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[RLAIFConfig]:  # noqa: ARG001
    """The configuration from its layers."""
    return resolve(RLAIFConfig, *layers)


def prepare(
    resolved: Resolved[RLAIFConfig],
    policy: str | Path,
    judge: str | Path,
    prompts: Sequence[Prompt],
    *,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check both models and the prompts; nothing is written."""
    config = resolved.config
    setup.need(prompts, "prompts")
    setup.need(config.principles, "principles")
    start, judge_folder = method.open_policy(policy, reasoning=resolved.config.reasoning), model_folder(judge)
    if is_scalar(judge_folder):
        raise ModelFolderError(f"{judge_folder} is a reward model; the judge must be a model that answers.")
    context = start.shape.context
    usable = setup.usable(
        start.template, prompts, longest=context - 1, skip=config.skip_bad_rows, what="prompt"
    )
    ids = [one.ids for one in usable.flat]
    longest, why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, why = longest_answer([start.folder], start.template, ids, context=context, seed=config.seed)
    pairs = len(ids) * config.k * (config.k - 1) // 2
    return Prepared(
        resolved=setup.freeze(resolved, {"max_new_tokens": longest}),
        parent=start.folder,
        reference_folder=start.folder,
        judge_folder=judge_folder,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=usable.records,
        prompt_ids=ids,
        derived=[
            Derived("prompts", len(ids), f"{config.k} completions each"),
            Derived("longest completion", longest, why),
            Derived("pairs", pairs, "at most; each is asked twice, in both orders"),
        ],
        data=setup.entries(data, prompts=prompts),
    )


def rlaif(
    resolved: Resolved[RLAIFConfig],
    policy: str | Path,
    judge: str | Path,
    prompts: Sequence[Prompt],
    run_path: Path,
    *,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Sample, rank, write ranked.jsonl and the report; returns the run's folder."""
    ready = prepare(resolved, policy, judge, prompts, data=data)
    config = ready.config
    with begin("rlaif", ready, run_path, resume=resume, overwrite=overwrite, manifest=ready.manifest) as run:
        params = SamplingParams(
            temperature=config.temperature, max_tokens=config.max_new_tokens, seed=config.seed
        )
        sampled = sample(ready.base, ready.prompts, config.k, params, skip=config.skip_bad_rows)
        labeller = AILabeller.load(ready.judge_folder, config.principles)
        each = [
            labeller.rank(one.prompt.prompt, one.distinct()) for one in sampled if len(one.distinct()) > 1
        ]
        ranked = [one for one in each if one is not None]
        numbers = {"comparisons": len(ranked), "prompts": len(sampled), **labeller.counts.numbers()}
        if not ranked:
            raise DataError(
                f"the judge ranked none of {len(sampled):,} prompts: both orders agreed on "
                f"{numbers['consistent_share']:.0%} of its pairs; take a larger judge, or write the principles plainly."
            )
        write_records(run.path / RANKED, ranked)
        summary = (
            f"{len(ranked):,} comparisons from {len(sampled):,} prompts, in {RANKED}; both orders agreed on "
            f"{numbers['consistent_share']:.1%} of {numbers['judged_pairs']:,} pairs."
        )
        err.print(summary)
        shown = [
            Sample(
                prompt=method.as_text(one.prompt),
                text=str(one.completions[one.ranks.index(min(one.ranks))]),
                note=f"ranked last: {one.completions[one.ranks.index(max(one.ranks))]}",
            )
            for one in ranked[: method.SAMPLES_SHOWN]
        ]
        finish(run, ready, summary=summary, numbers=numbers, samples=shown)
    return run_path
