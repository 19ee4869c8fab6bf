"""A skill asked of a model, by a sharp measure and by smooth ones, on the same questions.

    exact        share of answers that are right from the first character to the last      sharp
    nats         mean -log p of a token of the right answer                                smooth
    similarity   1 - edit distance / length of the longer text                             between the two

An answer of k tokens, each right with probability p, is exact with probability p^k: a steady gain of p shows as a
sudden ability. Source of the question: Schaeffer et al. 2023 (arXiv:2304.15004), on Wei et al. 2022 (arXiv:2206.07682).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.exam.scaling.skills import Question
from ziggurat.stages.likelihood import rows_logp

END = "\n"


@dataclass(frozen=True)
class Asked:
    """What a model did with the questions."""

    exact: tuple[int, ...]
    """1 or 0 for each question."""
    nats: float
    """A token of the right answer, its line end included."""
    similarity: float
    examples: tuple[tuple[str, str, str], ...]
    """(prompt, right answer, what it wrote) of the first few."""


def ask(chat: Chat, questions: Sequence[Question], examples: int = 3) -> Asked:
    """Greedy answers up to the end of the line, and the likelihood of the right ones."""
    tokenizer = chat.tokenizer
    wanted = [tokenizer.encode(q.answer + END) for q in questions]
    params = SamplingParams(temperature=0.0, max_tokens=max(map(len, wanted)) + 2)
    prompts = [q.prompt for q in questions]
    written = [one.text for one in chat.continue_many(prompts, params, stop=(END,))]
    before = [[tokenizer.text_start_id, *tokenizer.encode(prompt)] for prompt in prompts]
    rows = [a + b for a, b in zip(before, wanted, strict=True)]
    log_p = rows_logp(chat.model, rows, [len(a) for a in before], tokenizer.pad_id)
    return Asked(
        exact=tuple(int(text == q.answer) for text, q in zip(written, questions, strict=True)),
        nats=-sum(log_p) / sum(map(len, wanted)),
        similarity=sum(similarity(t, q.answer) for t, q in zip(written, questions, strict=True))
        / len(questions),
        examples=tuple(
            (q.prompt, q.answer, t) for t, q in list(zip(written, questions, strict=True))[:examples]
        ),
    )


def similarity(one: str, other: str) -> float:
    """1 for equal texts, 0 for texts without anything in common: 1 - Levenshtein distance / longer length."""
    if not one and not other:
        return 1.0
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return 1 - row[-1] / max(len(one), len(other))
