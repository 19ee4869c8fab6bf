"""`ziggurat plan size`: what to train for a budget on this machine, by a fitted law or by a rule of thumb."""

from __future__ import annotations

from ziggurat.console import human_count, human_time
from ziggurat.errors import UsageError
from ziggurat.evaluation.saved_law import load_law
from ziggurat.exam.scaling.findings import advise
from ziggurat.exam.scaling.plan import FAMILY, Machine, shape, this_machine
from ziggurat.ladder.plan import parse_budget
from ziggurat.ladder.sizes import TOKENS_PER_PARAMETER
from ziggurat.model.accounting import flops_per_token, total_parameters
from ziggurat.model.config import ModelConfig

STEP_TOKENS = 4096
PROBED = (64, 192)
"""Widths of the shapes whose speed is measured; the one nearer to the advice counts."""


def advised(budget: str, scaling: str, vocabulary: int, context: int, machine: Machine | None = None) -> str:
    """The advice as two sentences. Raises UsageError for a budget that is no time and for a law that is not there."""
    budget_s = parse_budget(budget)
    saved = load_law(scaling) if scaling else None
    vocabulary = vocabulary or (saved.vocabulary if saved else 2048)
    context = context or (saved.context if saved else 256)
    machine = machine or this_machine(STEP_TOKENS, context)
    shapes = [shape(i, vocabulary, context) for i in range(len(FAMILY))]
    speeds = [_flops_per_s(one, context, machine) for one in shapes if one.d_model in PROBED]
    # a small shape computes more slowly; the advice is made at its own speed, or at that of the larger probe
    config, tokens, why = shapes[0], 0.0, ""
    for width, flops_per_s in zip(PROBED, speeds, strict=True):
        flops = budget_s * flops_per_s
        if saved:
            one = advise(saved.law, flops, vocabulary, context, budget)
            config = next(c for c in shapes if (c.layers, c.d_model) == (one.layers, one.width))
            tokens, bounds = one.choice.tokens, one.choice.loss
            why = (
                f"By the law of scaling-{saved.name}, fitted on {saved.text}: predicted loss {bounds.value:.3f} "
                f"[{bounds.low:.3f}, {bounds.high:.3f}] nats a token of that text; {saved.reach(one.parameters)}."
            )
        else:
            config, tokens = _by_rule(shapes, flops, context)
            why = (
                f"By {TOKENS_PER_PARAMETER} tokens a parameter (arXiv:2203.15556); `ziggurat scaling` fits a law on "
                "your text, and --scaling NAME uses it."
            )
        if config.d_model <= width:
            break
    return (
        f"{config.layers} layers of {config.d_model}, {human_count(total_parameters(config))} parameters, on "
        f"{human_count(tokens)} tokens in {human_time(budget_s)}.\n{why}"
    )


def _flops_per_s(config: ModelConfig, context: int, machine: Machine) -> float:
    return flops_per_token(config, context) * STEP_TOKENS / machine.step_s(config)


def _by_rule(shapes: list[ModelConfig], flops: float, context: int) -> tuple[ModelConfig, float]:
    """The largest shape whose TOKENS_PER_PARAMETER the budget pays. Raises UsageError where none is."""
    for config in reversed(shapes):
        tokens = flops / flops_per_token(config, context)
        if tokens >= TOKENS_PER_PARAMETER * total_parameters(config):
            return config, tokens
    raise UsageError("the budget is too short for the smallest shape; give a longer --budget.")
