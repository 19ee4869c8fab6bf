"""How long answers are, where a stage samples them: measured, so that no answer is cut and no room is wasted.

A run of sft and of reward records in its manifest how long 95 % of the answers in its data are (`answer_tokens`). Where
no run in the lineage of a model says so (a model from elsewhere), the model answers some prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ziggurat.lineage import parent_entry
from ziggurat.model.hub import load_model
from ziggurat.stages.rollouts import roll_out
from ziggurat.stages.setup import percentile_95
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.device import place
from ziggurat.training.precision import choose_dtype

ROOM = 1.25
"""A policy may answer so much longer than 95 % of the answers that were measured."""
MULTIPLE = 16
SAMPLED_PROMPTS, SAMPLED_TOKENS = 24, 512


def longest_answer(
    models: Sequence[Path], template: ChatTemplate, prompts: Sequence[list[int]], *, context: int, seed: int
) -> tuple[int, str]:
    """(`max_new_tokens`, where it comes from). `models`: the first whose lineage has measured answers decides; where
    none has, the last of them answers some of `prompts`. At most half of the context."""
    found = next((known for folder in models if (known := _recorded(parent_entry(folder)))), None)
    tokens, why = found or _sampled(models[-1], template, prompts, seed)
    rounded = -(-round(ROOM * tokens) // MULTIPLE) * MULTIPLE
    return min(rounded, max(1, context // 2)), f"{ROOM:g} × {tokens:,} tokens: 95 % of {why} are no longer"


def _recorded(entry: Mapping[str, Any] | None) -> tuple[int, str] | None:
    """The newest record in a lineage."""
    while entry:
        if entry.get("answer_tokens"):
            return int(entry["answer_tokens"]), f"the answers that stage {entry.get('stage')} learned from"
        entry = entry.get("parent")
    return None


def _sampled(
    folder: Path, template: ChatTemplate, prompts: Sequence[list[int]], seed: int
) -> tuple[int, str]:

    chosen = list(prompts[:: max(1, len(prompts) // SAMPLED_PROMPTS)])[:SAMPLED_PROMPTS]
    made = roll_out(
        place(load_model(folder, dtype=choose_dtype()[0])),
        chosen,
        max_new_tokens=SAMPLED_TOKENS,
        temperature=1.0,
        stop_ids=template.stop_ids,
        seed=seed,
    )
    return percentile_95([len(one.completion) for one in made]), f"{len(made)} sampled answers"
