"""Completions that people can rank: the step between stage 2 (or 4) and stage 3.

Every prompt gets k completions of the policy: the greedy one and k - 1 sampled ones. Equal completions are kept once
when written: they cannot be ranked. The file holds comparisons without `ranks`; a labeller adds the field.

    ziggurat sample town/sft --data prompts.jsonl --k 4 --out to_rank.jsonl
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.dialogue.chat import Answer, Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.files import atomic_write_text, to_json
from ziggurat.records import Prompt
from ziggurat.stages import setup

LARGEST_K = 9  # of a comparison


@dataclass(frozen=True)
class Sampled:
    """A prompt with the policy's completions, the greedy one first where there is one."""

    prompt: Prompt
    completions: list[str]
    finishes: list[str]
    """"stop" where the model ended its turn itself, "length" where it was cut off."""

    def distinct(self) -> list[str]:
        return list(dict.fromkeys(self.completions))


def sample(
    policy: str | Path,
    prompts: Sequence[Prompt],
    k: int,
    params: SamplingParams | None = None,
    *,
    greedy: bool = True,
    skip: bool = False,
) -> list[Sampled]:
    """k completions of `policy` (a run or a model folder) for each prompt that leaves room for one; the others are
    left out and counted. `skip`: leave out prompts that the template refuses, too."""

    if k < 2:
        raise UsageError(f"k is {k}; a comparison holds 2 to {LARGEST_K} completions.")
    return sample_from(Chat.load(policy, as_trained=True), prompts, k, params, greedy=greedy, skip=skip)


def sample_from(
    policy: Chat,
    prompts: Sequence[Prompt],
    k: int,
    params: SamplingParams | None = None,
    *,
    greedy: bool = True,
    skip: bool = False,
) -> list[Sampled]:
    """`sample` with a model that is loaded already."""

    setup.need(prompts, "prompts")
    if not 1 <= k <= LARGEST_K:
        raise UsageError(f"k is {k}; a comparison holds 2 to {LARGEST_K} completions.")
    params = params or SamplingParams()
    if params.n != 1:
        raise UsageError(f"n is {params.n}; say with k how many completions each prompt gets.")
    usable = setup.usable(policy.template, prompts, longest=policy.context - 1, skip=skip, what="prompt")
    conversations, tools = [p.prompt for p in usable.records], [p.tools for p in usable.records]
    drawn = k - 1 if greedy else k
    columns: list[list[Answer]] = []
    if greedy:
        cold = dataclasses.replace(params, temperature=0.0)
        columns.append(policy.answer_many(conversations, cold, tools=tools))
    if drawn:
        flat = policy.answer_many(conversations, dataclasses.replace(params, n=drawn), tools=tools)
        columns += [flat[i::drawn] for i in range(drawn)]
    return [
        Sampled(prompt, [_fitting(policy, one) for one in answers], [one.finish for one in answers])
        for prompt, *answers in zip(usable.records, *columns, strict=True)
    ]


def _fitting(policy: Chat, answer: Answer) -> str:
    """An answer's text, cut so that it fits its prompt's room again when it is read.

    It nearly always does; but each stray byte of a model that writes no proper characters yet becomes U+FFFD, which is
    three tokens.
    """
    text, room = answer.text.strip(), policy.context - len(answer.prompt) - 1
    while len(text.encode("utf-8", "replace")) > room and len(again := policy.tokenizer.encode(text)) > room:
        text = text[: len(text) * room // len(again)].strip()
    return text


def write_to_rank(path: Path, sampled: Sequence[Sampled], *, policy: str, params: SamplingParams) -> int:
    """Comparisons that wait for their ranks, one a line; a prompt with one completion only is left out, aloud."""
    sampling = {
        name: value
        for name, value in dataclasses.asdict(params).items()
        if name in ("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens")
    }
    lines = []
    for item in sampled:
        completions = item.distinct()
        if len(completions) < 2:
            continue
        prompt = [m.to_json() for m in item.prompt.prompt]
        tools = {"tools": item.prompt.tools} if item.prompt.tools else {}
        key = json.dumps([prompt, completions, policy], ensure_ascii=False, sort_keys=True)
        row: dict[str, Any] = {
            "id": hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16],
            "prompt": prompt,
            "completions": completions,
            "policy": policy,
            "sampling": sampling,
            **tools,
        }
        lines.append(to_json(row))
    if len(lines) < len(sampled):
        err.print(
            f"{len(sampled) - len(lines):,} of {len(sampled):,} prompts left out: all their completions are equal."
        )
    atomic_write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)
