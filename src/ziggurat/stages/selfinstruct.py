"""Demonstrations that a model writes itself, from a few seed tasks (Self-Instruct).

    seed tasks -> "Task: ..." eight times, then the model goes on -> is it new? -> the model answers it -> tasks.jsonl

A task is kept if its ROUGE-L with every other is below `similarity`; what is dropped is counted by reason. `sft` then
learns from tasks.jsonl. Left out: telling classification tasks from others, and several inputs for one instruction.
Source: arXiv:2212.10560.

    ziggurat selfinstruct --base own/sft --data seeds.jsonl --set count=500
    ziggurat sft --base own/pretrain --data runs/own/selfinstruct-1/tasks.jsonl
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ziggurat.console import err
from ziggurat.corpus.split import first_question
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.report import Sample
from ziggurat.records import Demonstration, Message, write_records
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import method, setup
from ziggurat.stages.setup import Derived
from ziggurat.stages.stage import begin, finish

TASKS = "tasks.jsonl"
AT_ONCE = 64
"""Tasks that are written between two looks at what is new."""


class SelfInstructConfig(setup.RecordsConfig):
    """Settings of `selfinstruct`."""

    count: int = Field(default=200, ge=1)
    """New tasks that are wanted."""

    examples: int = Field(default=8, ge=1)
    """Tasks that the model sees before it writes one: three quarters of them seeds, the rest its own."""

    similarity: float = Field(default=0.7, gt=0, le=1)
    """A task is dropped if its ROUGE-L with another is as high as this."""

    most_rounds: int = Field(default=20, ge=1)
    """Times AT_ONCE tasks are written; then the run ends with what there is."""

    temperature: float = Field(default=0.9, gt=0)
    """Of new tasks; answers are greedy."""

    task_tokens: int = Field(default=64, ge=1)
    answer_tokens: int = Field(default=0, ge=0)
    """Longest answer; 0: half as long again as 95 % of the seeds'. One that does not end by then is dropped."""

    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[SelfInstructConfig]):
    """`selfinstruct` before it writes."""

    seeds: list[str]


def selfinstruct_config(base: str | Path, *layers: tuple[str, Any]) -> Resolved[SelfInstructConfig]:  # noqa: ARG001
    """The configuration from its layers."""
    return resolve(SelfInstructConfig, *layers)


def prepare(
    resolved: Resolved[SelfInstructConfig],
    base: str | Path,
    demonstrations: Sequence[Demonstration],
    *,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check the model and the seeds; nothing is written."""
    config = resolved.config
    setup.need(demonstrations, "seed tasks")
    start = method.open_policy(base, reasoning=resolved.config.reasoning)
    found = setup.usable(
        start.template,
        demonstrations,
        longest=start.shape.context,
        skip=config.skip_bad_rows,
        what="seed task",
    )
    seeds = list(dict.fromkeys(one_line(first_question(one.messages)) for one in found.records))
    lengths = [sum(one.mask) for one in found.flat]
    longest = config.answer_tokens or max(8, round(1.5 * setup.percentile_95(lengths)))
    return Prepared(
        resolved=setup.freeze(resolved, {"answer_tokens": longest}),
        parent=start.folder,
        reference_folder=start.folder,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=[],
        prompt_ids=[],
        seeds=[one for one in seeds if one],
        derived=[
            Derived("seed tasks", len(seeds), "different first questions"),
            Derived("tasks wanted", config.count, f"at most {config.most_rounds} × {AT_ONCE} are written"),
            Derived("longest answer", longest, "answer_tokens"),
        ],
        data=list(data) if data else [setup.memory_entry("seed tasks", list(demonstrations))],
    )


def selfinstruct(
    resolved: Resolved[SelfInstructConfig],
    base: str | Path,
    demonstrations: Sequence[Demonstration],
    run_path: Path,
    *,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write tasks and answers into tasks.jsonl, and the report; returns the run's folder."""
    ready = prepare(resolved, base, demonstrations, data=data)
    with begin("selfinstruct", ready, run_path, resume=resume, overwrite=overwrite) as run:
        chat = Chat.load(ready.base, as_trained=True)
        dropped: Counter[str] = Counter()
        made = write_tasks(ready, chat, dropped)
        setup.need(made, f"new tasks ({dict(dropped)} were dropped)")
        write_records(run.path / TASKS, made)
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in dropped.most_common()) or "nothing"
        summary = f"{len(made):,} new tasks from {len(ready.seeds):,} seeds, in {TASKS}; dropped: {reasons}."
        err.print(summary)
        samples = [
            Sample(prompt=one.messages[0].content, text=one.messages[1].content)
            for one in made[: method.SAMPLES_SHOWN]
        ]
        numbers = {"tasks": len(made), "seeds": len(ready.seeds), **dropped}
        finish(run, ready, summary=summary, numbers=numbers, samples=samples)
    return run_path


def write_tasks(ready: Prepared, chat: Chat, dropped: Counter[str]) -> list[Demonstration]:
    """New tasks with answers, at most `count`; `dropped` counts the others by reason."""
    config = ready.config
    made: list[Demonstration] = []
    pool = list(ready.seeds)
    for number in range(config.most_rounds):
        if len(made) >= config.count:
            break
        chance = random.Random(f"{config.seed} tasks {number}")
        shown = [
            _shown(chance, ready.seeds, pool[len(ready.seeds) :], config.examples) for _ in range(AT_ONCE)
        ]
        params = SamplingParams(
            temperature=config.temperature, max_tokens=config.task_tokens, seed=config.seed * 1000 + number
        )
        fresh = []
        for answer in chat.continue_many(shown, params, stop=["\n"]):
            task = one_line(answer.text)
            reason = refusal(task, answer.finish, pool, config.similarity)
            if reason:
                dropped[reason] += 1
            else:
                pool.append(task)
                fresh.append(task)
        prompts = [[Message(role="user", content=task)] for task in fresh]
        greedy = SamplingParams(temperature=0.0, max_tokens=config.answer_tokens)
        for prompt, answer in zip(prompts, chat.answer_many(prompts, greedy) if prompts else [], strict=True):
            text = answer.text.strip()
            if answer.finish != "stop" or not text:
                dropped["an answer that did not end" if text else "an empty answer"] += 1
                continue
            said = Message(role="assistant", content=text)
            made.append(Demonstration(messages=[*prompt, said], source="selfinstruct"))
    return made[: config.count]


def _shown(chance: random.Random, seeds: Sequence[str], own: Sequence[str], examples: int) -> str:
    """The text that the model continues: some tasks, one a line, and the beginning of one more."""
    mine = chance.sample(list(own), min(len(own), examples // 4))
    given = chance.sample(list(seeds), min(len(seeds), examples - len(mine)))
    tasks = [*given, *mine]
    chance.shuffle(tasks)
    return "".join(f"Task: {task}\n" for task in tasks) + "Task:"


def refusal(task: str, finish: str, pool: Sequence[str], similarity: float) -> str:
    """Why a task is dropped; "" if it is new."""
    if not task:
        return "an empty task"
    if finish == "length":
        return "a task that did not end"
    if any(rouge_l(task, other) >= similarity for other in pool):
        return "like another task"
    return ""


def one_line(text: str) -> str:
    return " ".join(text.split())


def words_of(text: str) -> list[str]:
    """Words in small letters; each Chinese character is one."""
    return re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower())


def rouge_l(a: str, b: str) -> float:
    """The F measure of the longest common subsequence of words (Lin, 2004): 1 for equal texts, 0 without a common word.

    By hand: "the cat sat" and "the cat ran away" share 2 words in order: precision 2/3, recall 2/4, F 4/7.
    """
    x, y = words_of(a), words_of(b)
    if not x or not y:
        return 0.0
    row = [0] * (len(y) + 1)
    for word in x:
        corner = 0
        for j, other in enumerate(y, 1):
            corner, row[j] = row[j], corner + 1 if word == other else max(row[j], row[j - 1])
    return 2.0 * row[-1] / (len(x) + len(y))
