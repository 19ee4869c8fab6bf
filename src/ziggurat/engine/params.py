"""What a request asks of the engine: how its tokens are chosen, and which prompts are valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.errors import ContextError, UsageError

LARGEST = 2**31
"""No count reaches it."""
COLDEST = 1e-5
"""Below this temperature the likeliest token is drawn: logits divided by less may leave fp32."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The settings of one request."""

    temperature: float = 1.0
    """Logits are divided by it; 0, and what is below COLDEST, is greedy."""
    top_k: int = 0
    """Only the k most likely tokens; 0 is all."""
    top_p: float = 1.0
    """Only the smallest set of most likely tokens with at least this mass; 1 is all."""
    min_p: float = 0.0
    """Only tokens at least this fraction as likely as the most likely one; 0 is all."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token that the completion already has."""
    frequency_penalty: float = 0.0
    """Taken off for every time that the completion has it."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or completion; 1 is none."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token, what is added to its logit)."""
    seed: int | None = None
    """Decides every draw; None: another one each time."""
    max_tokens: int = 128
    """Completion tokens at most; the context may end it earlier."""
    min_tokens: int = 0
    """No stop id before so many tokens."""
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end the completion; the one that did is its last token."""
    n: int = 1
    """Completions of the prompt."""
    logprobs: int = 0
    """Report so many most likely alternatives for each token."""
    prompt_logprobs: int | None = None
    """Report the prompt's own log-probabilities, with so many alternatives; None: do not compute them."""
    cache_salt: str = ""
    """Prompts share cached keys and values only with requests of the same salt."""
    beam: int = 0
    """Beam width; 0 is sampling. With a beam, the rules above but stop and length are not read."""
    length_penalty: float = 0.0
    """Beam only: scores are divided by ((5 + length) / 6) ** this (GNMT, arXiv:1609.08144); 0 favours short ones."""

    def __post_init__(self) -> None:
        limits: list[tuple[bool, str]] = [
            (self.temperature >= 0, f"temperature is {self.temperature}; it must be 0 (greedy) or more"),
            (0 <= self.top_k < LARGEST, f"top_k is {self.top_k}; it must be 0 (all) or more"),
            (0 <= self.top_p <= 1, f"top_p is {self.top_p}; it must be between 0 and 1"),
            (0 <= self.min_p <= 1, f"min_p is {self.min_p}; it must be between 0 and 1"),
            (
                self.repetition_penalty >= 0.01,
                f"repetition_penalty is {self.repetition_penalty}; it must be 0.01 or more",
            ),
            (1 <= self.max_tokens < LARGEST, f"max_tokens is {self.max_tokens}; it must be 1 or more"),
            (0 <= self.min_tokens < LARGEST, f"min_tokens is {self.min_tokens}; it must be 0 or more"),
            (self.n >= 1, f"n is {self.n}; it must be 1 or more"),
            (self.logprobs >= 0, f"logprobs is {self.logprobs}; it must be 0 or more"),
            (self.beam >= 0, f"beam is {self.beam}; it must be 0 (no beam) or more"),
        ]
        problems = [message for holds, message in limits if not holds]
        if problems:
            raise UsageError("; ".join(problems) + ".")
        if self.temperature < COLDEST:
            object.__setattr__(self, "temperature", 0.0)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1

    @property
    def adjusts_logits(self) -> bool:
        """Whether `penalties.adjust` would change anything."""
        penalised = self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0
        return bool(self.logit_bias or penalised)


def check_prompt(ids: Sequence[int], context: int, vocab_size: int) -> None:
    """A prompt must leave room for one token, and have one to start from."""
    if not ids:
        raise UsageError(
            "the prompt is empty; give at least one token (the end-of-text token starts a document)."
        )
    if len(ids) >= context:
        raise ContextError(
            f"the prompt has {len(ids):,} tokens and the context is {context:,}, so nothing can be added; shorten it."
        )
    if min(ids) < 0 or max(ids) >= vocab_size:
        wrong = min(ids) if min(ids) < 0 else max(ids)
        raise UsageError(
            f"the prompt has token {wrong} and the model {vocab_size:,} tokens; they are not of one tokenizer."
        )
