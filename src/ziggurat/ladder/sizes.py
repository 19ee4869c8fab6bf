"""Model size and amounts of work for a person's own files: from the data, the budget and the measured speed.

No amount passes what is sensible for the data: 4 epochs of documents (more repetitions teach little, arXiv:2305.16264),
3 of demonstrations, 8 of prompts. A new model gets the largest shape that then still reads TOKENS_PER_PARAMETER
tokens a parameter (arXiv:2203.15556).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ziggurat.console import err, human_count
from ziggurat.evaluation.saved_law import SavedLaw
from ziggurat.evaluation.scaling_laws import choose_size
from ziggurat.ladder.plan import Lengths, measure_speeds
from ziggurat.model.accounting import flops_per_token, total_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.presets import sized
from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt
from ziggurat.tokenizer.bpe import Tokenizer

DOCUMENT_EPOCHS, DEMONSTRATION_EPOCHS, PROMPT_PASSES = 4, 3, 8
TOKENS_PER_PARAMETER = 20
SHAPES = ((4, 128), (6, 192), (6, 256), (8, 384), (10, 512), (12, 768))
"""(layers, d_model) of a new model."""
PRETRAIN_SHARE = 0.4
"""Of the budget, for stage 1, where the shape is chosen."""
BYTES_PER_TOKEN = 3.0
"""Where there is no tokenizer yet."""
TEMPLATE_TOKENS = 3
"""Of a message, beside its text."""
SAMPLE = 500
LARGEST_CONTEXT = 1024
MOST_PPO_STEPS = 60


@dataclass(frozen=True)
class Sizes:
    """What the plan needs to know of the data. Lengths are in tokens, measured or estimated from bytes."""

    document_tokens: float
    demonstration_tokens: float
    conversation: float
    """Mean length of a prompt with its answer."""
    completion: float
    """Mean length of an answer."""
    long_conversation: float
    """95 % of the conversations are shorter."""
    long_completion: float
    comparisons: int
    completions: float
    """Mean number per comparison."""
    prompts: int

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.conversation, self.completion)

    @property
    def context(self) -> int:
        """Of a new model: a power of two."""
        return min(LARGEST_CONTEXT, max(256, 1 << math.ceil(math.log2(self.long_conversation + 1))))


def measure(
    documents: Sequence[Document],
    demonstrations: Sequence[Demonstration],
    comparisons: Sequence[Comparison],
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer | None,
) -> Sizes:
    """Count a sample of the data, and scale it."""

    def tokens(texts: Sequence[str]) -> list[float]:
        if tokenizer is not None:
            return [float(len(ids)) for ids in tokenizer.encode_batch(list(texts))]
        return [len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN for text in texts]

    def whole(conversations: Sequence[Sequence[Message]]) -> list[float]:
        counted = tokens(["".join(str(m.content) for m in messages) for messages in conversations])
        return [n + TEMPLATE_TOKENS * len(m) for n, m in zip(counted, conversations, strict=True)]

    some = demonstrations[:SAMPLE]
    shown = whole([d.messages for d in some])
    ranked = [(one.prompt, str(text)) for one in comparisons[:SAMPLE] for text in one.completions]
    answers = tokens([str(d.messages[-1].content) for d in some] + [text for _, text in ranked])
    asked = whole([prompt for prompt, _ in ranked])
    conversations = shown + [a + b for a, b in zip(asked, answers[len(some) :], strict=True)]
    read = documents[:SAMPLE]
    return Sizes(
        document_tokens=sum(tokens([d.text for d in read])) / max(1, len(read)) * len(documents),
        demonstration_tokens=sum(shown) / max(1, len(some)) * len(demonstrations),
        conversation=_mean(conversations),
        completion=_mean(answers),
        long_conversation=_high(conversations),
        long_completion=_high(answers),
        comparisons=len(comparisons),
        completions=_mean([float(len(one.completions)) for one in comparisons]),
        prompts=len(prompts),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0


def _high(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))] if values else 1.0


def new_shape(
    sizes: Sizes, vocabulary: int, step_tokens: int, budget_s: float, saved: SavedLaw | None = None
) -> ModelConfig:
    """The largest of SHAPES for which data and budget give TOKENS_PER_PARAMETER; else the smallest.

    With a `saved` law the one of least predicted loss instead, which is printed."""
    configs = [
        sized(layers=layers, d_model=width, vocab_size=vocabulary, context=sizes.context)
        for layers, width in SHAPES
    ]
    probe = configs[1]
    step_s = measure_speeds(probe, step_tokens=step_tokens, seconds=1.0).train_step_s
    flops_per_s = flops_per_token(probe, sizes.context) * step_tokens / step_s
    if saved is not None:
        return _by_law(saved, sizes, configs, PRETRAIN_SHARE * budget_s * flops_per_s)
    for config in reversed(configs):
        affordable = PRETRAIN_SHARE * budget_s * flops_per_s / flops_per_token(config, sizes.context)
        tokens = min(affordable, DOCUMENT_EPOCHS * sizes.document_tokens)
        if tokens >= TOKENS_PER_PARAMETER * total_parameters(config):
            return config
    return configs[0]


def _by_law(saved: SavedLaw, sizes: Sizes, configs: Sequence[ModelConfig], flops: float) -> ModelConfig:
    """The shape of least predicted loss for so many FLOPs and the text that there is."""
    candidates = [(float(total_parameters(c)), flops_per_token(c, sizes.context)) for c in configs]
    choice = choose_size(saved.law, candidates, flops, DOCUMENT_EPOCHS * sizes.document_tokens)
    best = configs[choice.index]
    count = total_parameters(best)
    err.print(
        f"Size by the law of scaling-{saved.name}, fitted on {saved.text}: {best.layers} layers of {best.d_model}, "
        f"{human_count(count)} parameters and {human_count(choice.tokens)} tokens; {saved.reach(count)}."
    )
    return best


def vocabulary(sizes: Sizes) -> int:
    """Of a new tokenizer: 2,048 below a million tokens of text, doubled for every ten times as much, at most 16,384."""
    tens = max(0, math.floor(math.log10(max(1.0, sizes.document_tokens / 1e5))))
    return int(min(16_384, 2048 * 2**tens))


def work(sizes: Sizes, recipe: dict[str, Any]) -> dict[str, Any]:
    """The most work that is sensible for the data, as the recipe's `work`."""
    rollouts = min(256, max(16, 1 << int(math.log2(max(1, sizes.prompts)))))
    learned = recipe["sft"]["batch_tokens"] * (1 - recipe["sft"]["text_share"])
    passes = math.ceil(PROMPT_PASSES * sizes.prompts / rollouts)
    return {
        "pretrain_steps": max(
            1, math.ceil(DOCUMENT_EPOCHS * sizes.document_tokens / recipe["pretrain"]["batch_tokens"])
        ),
        "sft_steps": max(1, math.ceil(DEMONSTRATION_EPOCHS * sizes.demonstration_tokens / learned)),
        "rounds": 1,
        "prompts_to_rank": sizes.comparisons,
        "completions": max(2, round(sizes.completions)),
        "ppo_steps": min(MOST_PPO_STEPS, max(2, passes)),
        "rollouts_per_step": rollouts,
    }
