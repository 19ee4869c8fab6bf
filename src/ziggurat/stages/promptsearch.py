"""Search a text around the question with which a frozen model answers better; no weight changes.

    template -> edits of it (drop, swap, put in or replace a piece) -> loss of the known answers -> keep the best; again

A template is a text with `{question}` in it, which stands for the last user message: "Question: {question} Answer in
one sentence." Its pieces are its words and the phrases that were put in. A template is kept if the answers of the
demonstrations are more likely after it: the loss is the mean of -log p a token of the last answer. What was found is
measured on demonstrations that took no part. `prefix` and `prompt` of `trainable` learn vectors instead of words.
Left out: templates that a model writes itself, and edits guided by gradients.
Sources: GrIPS, arXiv:2203.07281 (edits of pieces, without gradients); arXiv:2211.01910 (the score).

    ziggurat promptsearch --base smollm2 --data demonstrations.jsonl --set 'templates=["{question} Be brief."]'
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ziggurat.console import err
from ziggurat.corpus.split import first_question, split
from ziggurat.evaluation.report import Sample
from ziggurat.evaluation.statistics import paired_bootstrap
from ziggurat.files import atomic_write_text, to_json
from ziggurat.model.transformer import Transformer
from ziggurat.records import Demonstration, Message
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import method, setup
from ziggurat.stages.likelihood import load_reference, rows_logp
from ziggurat.stages.setup import Derived
from ziggurat.stages.stage import begin, finish
from ziggurat.tokenizer.rendering import render_all
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.config import LoopConfig
from ziggurat.training.device import DeviceSetting

TEMPLATE = "template.json"
QUESTION = "{question}"
PHRASES = (
    "Question:",
    "Answer:",
    "Answer in one sentence.",
    "Answer as briefly as you can.",
    "Answer in full sentences.",
    "Read the question with care.",
    "Think about what is asked.",
    "Say only what you know.",
    "You are a helpful assistant.",
    "Here is a question.",
    "Please answer it.",
    "Thank you.",
)


class PromptSearchConfig(setup.RecordsConfig):
    """Settings of `promptsearch`."""

    templates: tuple[str, ...] = (QUESTION,)
    """Where the search begins: the best of these."""

    phrases: tuple[str, ...] = PHRASES
    """Pieces that may be put in."""

    rounds: int = Field(default=8, ge=1)
    """Times the best template is edited; the search ends earlier where no edit of a round is better."""

    tries: int = Field(default=16, ge=1)
    """Edits of a round."""

    examples: int = Field(default=64, ge=1)
    """Demonstrations by which templates are compared, at most."""

    held_out_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the demonstrations on which the result is measured."""

    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Compute precision, as at the other stages."""

    device: DeviceSetting = "auto"
    """Where the model computes, as at the other stages."""

    seed: int = Field(default=0, ge=0)

    @field_validator("templates")
    @classmethod
    def _has_a_question(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(one.split().count(QUESTION) != 1 for one in value):
            raise ValueError(f"each template must have {QUESTION} in it once, as a word of its own")
        return value


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[PromptSearchConfig]):
    """`promptsearch` before it scores."""

    shown: list[Demonstration]
    held_out: list[Demonstration]
    context: int


def promptsearch_config(base: str | Path, *layers: tuple[str, Any]) -> Resolved[PromptSearchConfig]:  # noqa: ARG001
    """The configuration from its layers."""
    return resolve(PromptSearchConfig, *layers)


def prepare(
    resolved: Resolved[PromptSearchConfig],
    base: str | Path,
    demonstrations: Sequence[Demonstration],
    *,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check the model and the demonstrations; nothing is written."""
    config = resolved.config
    setup.need(demonstrations, "demonstrations")
    start = method.open_policy(base, reasoning=config.reasoning)
    found = setup.usable(
        start.template,
        demonstrations,
        longest=start.shape.context,
        skip=config.skip_bad_rows,
        what="demonstration",
        to_answer_end=True,
    )
    shown, held = split(found.records, lambda one: first_question(one.messages), config.held_out_share)
    setup.need(shown, "demonstrations beside the held-out ones")
    setup.need(held, "held-out demonstrations")
    stride = max(1, len(shown) // config.examples)
    shown = shown[::stride][: config.examples]
    return Prepared(
        resolved=resolved,
        parent=start.folder,
        reference_folder=start.folder,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=[],
        prompt_ids=[],
        shown=shown,
        held_out=held,
        context=start.shape.context,
        derived=[
            Derived("demonstrations", len(shown), "by which templates are compared"),
            Derived("held-out demonstrations", len(held), "held_out_share of them"),
            Derived("templates", config.rounds * config.tries + len(config.templates), "scored at most"),
        ],
        data=setup.entries(data, demonstrations=demonstrations),
    )


def promptsearch(
    resolved: Resolved[PromptSearchConfig],
    base: str | Path,
    demonstrations: Sequence[Demonstration],
    run_path: Path,
    *,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Search, measure, write template.json and the report; returns the run's folder."""
    ready = prepare(resolved, base, demonstrations, data=data)
    with begin("promptsearch", ready, run_path, resume=resume, overwrite=overwrite) as run:
        model = load_reference(ready.base, LoopConfig(dtype=ready.config.dtype, device=ready.config.device))
        tried = search(ready, model)
        best = min(tried, key=lambda text: tried[text])
        first = min(ready.config.templates, key=lambda text: tried[text])
        before, after = (losses(ready, model, text, ready.held_out) for text in (first, best))
        gain = paired_bootstrap(before, after)
        found = {"template": best, "began_as": first, "gain_nats_per_token": gain.value}
        atomic_write_text(run.path / TEMPLATE, to_json(found) + "\n")
        numbers = {
            "templates_tried": len(tried),
            "held_out_loss_before": sum(before) / len(before),
            "held_out_loss_after": sum(after) / len(after),
            "gain": gain.value,
            "gain_low": gain.low,
            "gain_high": gain.high,
        }
        summary = (
            f'With "{best}" instead of "{first}" the held-out answers cost {numbers["held_out_loss_after"]:.3f} nats a '
            f"token instead of {numbers['held_out_loss_before']:.3f} (gain {gain.value:.3f} [{gain.low:.3f}, "
            f"{gain.high:.3f}], {len(before):,} answers); the model is as it was."
        )
        err.print(summary)
        order = sorted(tried, key=lambda text: tried[text])[: method.SAMPLES_SHOWN]
        samples = [Sample(prompt=text, text=f"{tried[text]:.4f} nats a token") for text in order]
        finish(run, ready, summary=summary, numbers=numbers, samples=samples)
    return run_path


# --- the search ------------------------------------------------------------------------------------------------------


def search(ready: Prepared, model: Transformer) -> dict[str, float]:
    """Every template that was tried, with its mean loss on the demonstrations that are shown."""
    config, tried = ready.config, dict[str, float]()

    def scored(text: str) -> float:
        if text not in tried:
            each = losses(ready, model, text, ready.shown)
            tried[text] = sum(each) / len(each)
        return tried[text]

    best = min(config.templates, key=scored)
    pieces = best.split()
    for number in range(config.rounds):
        chance = random.Random(f"{config.seed} templates {number}")
        edits = [edited(chance, pieces, config.phrases) for _ in range(config.tries)]
        better = min(edits, key=lambda some: scored(" ".join(some)))
        if scored(" ".join(better)) >= scored(" ".join(pieces)):
            break
        pieces = better
        err.print(
            f'round {number + 1}: {scored(" ".join(pieces)):.4f} nats a token with "{" ".join(pieces)}"'
        )
    return tried


def edited(chance: random.Random, pieces: Sequence[str], phrases: Sequence[str]) -> list[str]:
    """One edit; the question always stays.

    >>> edited(random.Random(1), ["Please", "{question}"], ["Thank you."])
    ['{question}']
    """
    made = list(pieces)
    others = [i for i, piece in enumerate(made) if piece != QUESTION]
    kinds = [*(["put in"] if phrases else []), *(["drop", "swap"] if others else [])]
    kinds += ["replace"] if others and phrases else []
    if not kinds:
        return made
    kind = chance.choice(kinds)
    if kind == "put in":
        made.insert(chance.randint(0, len(made)), chance.choice(phrases))
    elif kind == "drop":
        del made[chance.choice(others)]
    elif kind == "replace":
        made[chance.choice(others)] = chance.choice(phrases)
    else:
        i, j = chance.choice(others), chance.randrange(len(made))
        made[i], made[j] = made[j], made[i]
    return made


def losses(
    ready: Prepared, model: Transformer, text: str, demonstrations: Sequence[Demonstration]
) -> list[float]:
    """-log p a token of each last answer after the template; a conversation that is too long with it costs what a
    uniform choice of tokens would."""
    rows, starts = rendered(ready.template, text, demonstrations)
    short = [i for i, row in enumerate(rows) if len(row) <= ready.context]
    found = [float(model.config.vocab_size)] * len(rows)
    logp = rows_logp(model, [rows[i] for i in short], [starts[i] for i in short], ready.tokenizer.pad_id)
    for i, value in zip(short, logp, strict=True):
        found[i] = -value / (len(rows[i]) - starts[i])
    return found


def rendered(
    template: ChatTemplate, text: str, demonstrations: Sequence[Demonstration]
) -> tuple[list[list[int]], list[int]]:
    """The ids of each conversation up to the end of its last answer, and where that answer starts."""
    records = [one.model_copy(update={"messages": framed(text, one.messages)}) for one in demonstrations]
    found = render_all(template, records, to_answer_end=True, what="demonstration").flat
    return [one.ids for one in found], [one.starts[-1] for one in found]


def framed(text: str, messages: Sequence[Message]) -> list[Message]:
    """The conversation with the template around its last user message."""
    last = max(i for i, message in enumerate(messages) if message.role == "user")
    asked = messages[last].with_content(text.replace(QUESTION, messages[last].content))
    return [*messages[:last], asked, *messages[last + 1 :]]
