"""What the methods that improve a policy have in common: the models they begin with, and answers before and after.

start = open_policy("town/sft", reference=None)     folders, tokenizer, template, shape; bad models are refused
Prepared                                            a stage's Prepared with the policy's template and prompts
answers_before_and_after(...)                       samples for the report
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ModelFolderError
from ziggurat.evaluation.report import Sample
from ziggurat.lineage import parent_entry
from ziggurat.messages import Reasoning
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import logits_at_once
from ziggurat.model.hub import check_model, is_scalar, load_model
from ziggurat.model.transformer import Transformer
from ziggurat.places import model_folder
from ziggurat.records import Message, Prompt
from ziggurat.runs import Run
from ziggurat.stages import stage
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.config import TrainConfig
from ziggurat.training.cost import Cost, trained_memory, training_flops, ways_to_fit
from ziggurat.training.device import choose_device, place

C = TypeVar("C")

SAMPLES_SHOWN = 8
LONGEST_SHOWN = 256
"""Tokens of a completion that is sampled for the report, at most."""


@dataclass(frozen=True)
class Start:
    """The policy that a method begins with, and the reference that it is held to."""

    folder: Path
    reference_folder: Path
    tokenizer: Tokenizer
    template: ChatTemplate
    shape: ModelConfig

    @property
    def reference_shape(self) -> ModelConfig:
        return check_model(self.reference_folder, self.tokenizer.vocab_size)


def open_policy(
    policy: str | Path, reference: str | Path | None = None, *, reasoning: Reasoning = "trained"
) -> Start:
    """Find and check the models; no weights are read. `reference`: default is the policy's own start.

    Raises ModelFolderError for a reward model, and for a reference with another tokenizer.
    """
    folder = model_folder(policy)
    reference_folder = folder if reference is None else model_folder(reference)
    tokenizer = Tokenizer.load(folder)
    for one in dict.fromkeys((folder, reference_folder)):
        if is_scalar(one):
            raise ModelFolderError(f"{one} is a reward model; name a run of a model that answers.")
    must_share_tokenizer(tokenizer, folder, reference_folder, "policy and reference")
    shape = check_model(folder, tokenizer.vocab_size)
    check_model(reference_folder, tokenizer.vocab_size)
    return Start(folder, reference_folder, tokenizer, ChatTemplate(tokenizer, reasoning=reasoning), shape)


def must_share_tokenizer(tokenizer: Tokenizer, folder: Path, other: Path, what: str) -> None:
    """Raise ModelFolderError if `other` has another tokenizer than `folder`, which has this one."""
    if other != folder and Tokenizer.load(other).fingerprint != tokenizer.fingerprint:
        raise ModelFolderError(f"{other} has another tokenizer than {folder}; {what} must share one.")


@dataclass(frozen=True, kw_only=True)
class Prepared(stage.Prepared[C]):
    """A method before its first step; the parent is the policy's start."""

    reference_folder: Path
    template: ChatTemplate
    prompts: list[Prompt]
    """Answered for the report: held-out ones where there are."""
    prompt_ids: list[list[int]]

    @property
    def max_new_tokens(self) -> int:
        """Of an answer in the report."""
        return min(LONGEST_SHOWN, max(16, 2 * (self.answer_tokens or 0)))

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest's entries of further models."""
        return {"reference": parent_entry(self.reference_folder)}

    def chat(self, model: Transformer) -> Chat:
        """`model` as a policy that answers, greedily."""
        greedy = SamplingParams(temperature=0.0, max_tokens=self.max_new_tokens)
        return Chat(model, self.tokenizer, template=self.template, as_trained=True, defaults=greedy)


def answers_before_and_after(
    run: Run, base: Path, chat: Callable[[Transformer], Chat], prompts: Sequence[Prompt]
) -> list[Sample]:
    """Greedy answers of `base` and of the run's model, to prompts spread over all."""
    stride = max(1, len(prompts) // SAMPLES_SHOWN)
    shown = prompts[::stride][:SAMPLES_SHOWN]
    asked, tools = [one.prompt for one in shown], [one.tools for one in shown]
    before, after = (
        chat(place(load_model(folder))).complete_many(asked, tools=tools) for folder in (base, run.model_path)
    )
    return [
        Sample(prompt=as_text(prompt), text=new.strip(), note=f"before: {old.strip()}")
        for prompt, old, new in zip(asked, before, after, strict=True)
    ]


def as_text(prompt: Sequence[Message]) -> str:
    """A conversation for people: `user: ...`, one message a line."""
    return "\n".join(f"{m.role}: {m.content}" for m in prompt)


def rows_cost(shape: ModelConfig, train: TrainConfig, lengths: Sequence[int], per_step: float) -> Cost:
    """Memory and time of a step that learns from `per_step` rows of these lengths, each microbatch of at most
    `train.microbatch_tokens` tokens, or of one row."""
    mean = sum(lengths) / len(lengths)
    T = round(mean)

    def memory(train: TrainConfig) -> dict[str, float]:
        tokens = max(max(lengths), min(train.microbatch_tokens, round(per_step * mean)))
        at_once = logits_at_once(choose_device(train.device)[0])
        logits = min(tokens, max(1, at_once // shape.vocab_size))
        return trained_memory(
            shape, train, tokens, logits=logits, dtype=train.dtype, T=T, recompute=train.recompute
        )

    flops = training_flops(shape, train.trainable, T, lora=train.lora, recompute=train.recompute)
    return Cost(memory(train), per_step * mean * flops, steps=train.steps, ways=ways_to_fit(train, memory))
