"""A model that ranks completions by written principles: AI feedback in place of a person's.

The judge reads the principles, the conversation and two answers, and says A or B; the probabilities of the two letters
are read, nothing is sampled. It is asked twice, with the answers in both orders:

    P(first is better) = (P(A | first is A) + P(B | first is B)) / 2

Where the two orders disagree, the judge saw the place and not the answer, and the pair is a tie. K completions are
ranked by the sum over their pairs. Left out: reasoning before the letter, and one principle drawn at random for each
pair (arXiv:2212.08073); all of them are shown.
Sources: arXiv:2212.08073; arXiv:2309.00267, 3.1 (both orders against position bias).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import ModelFolderError
from ziggurat.model.padding import by_length, right_pad
from ziggurat.records import Comparison, Message
from ziggurat.stages.method import as_text

QUESTION = """\
Here are rules, a conversation and two answers to it. Which answer follows the rules better?

Rules:
{principles}

Conversation:
{conversation}

Answer A:
{a}

Answer B:
{b}

Reply with one letter, A or B."""

TOKENS_AT_ONCE = 4096
SAME = 1e-6


@dataclass
class Counts:
    """What the judge has done so far."""

    pairs: int = 0
    consistent: int = 0
    """Both orders named the same answer."""
    first_place: float = 0.0
    """Sum of P(A): half of all is no preference for a place."""
    too_long: int = 0

    def numbers(self) -> dict[str, Any]:
        asked = max(1, self.pairs)
        return {
            "judged_pairs": self.pairs,
            "consistent_share": self.consistent / asked,
            "mean_probability_of_a": self.first_place / (2 * asked),
            "pairs_too_long": self.too_long,
        }


class AILabeller:
    """A judge model with its principles."""

    def __init__(self, chat: Chat, principles: Sequence[str], name: str = "judge") -> None:
        self.chat, self.principles, self.name = chat, list(principles), name
        self.counts = Counts()
        self.letters = [self._ids_of(letter) for letter in "AB"]

    @classmethod
    def load(cls, model: str | Path, principles: Sequence[str]) -> AILabeller:
        """Raises RunError or ModelFolderError where there is no such language model."""
        return cls(Chat.load(model), principles, name=f"judge:{model}")

    def rank(self, prompt: Sequence[Message], completions: list[str]) -> Comparison | None:
        """How the completions rank; None where the judge sees no difference."""
        pairs = [(i, j) for i in range(len(completions)) for j in range(i + 1, len(completions))]
        found = self.prefers([(prompt, completions[i], completions[j]) for i, j in pairs])
        ranks = ranks_of(len(completions), dict(zip(pairs, found, strict=True)))
        if len(set(ranks)) == 1:
            return None
        name = hashlib.sha256(repr((as_text(prompt), completions)).encode("utf-8", "surrogatepass"))
        return Comparison(
            id=name.hexdigest()[:16],
            prompt=list(prompt),
            completions=list(completions),
            ranks=ranks,
            labeller=self.name,
            source="principles",
        )

    def prefers(self, cases: Sequence[tuple[Sequence[Message], str, str]]) -> list[float]:
        """P(the first answer is better) of each case; 0.5 where the orders disagree or the case is too long."""
        asked = [self.question(prompt, *order) for prompt, a, b in cases for order in ((a, b), (b, a))]
        letters = self.probabilities(asked)
        preferred = []
        for i in range(len(cases)):
            there, back = letters[2 * i], letters[2 * i + 1]
            if there is None or back is None:
                self.counts.too_long += 1
                preferred.append(0.5)
                continue
            self.counts.pairs += 1
            self.counts.first_place += there + back
            value = both_orders(there, back)
            self.counts.consistent += value != 0.5
            preferred.append(value)
        return preferred

    def question(self, prompt: Sequence[Message], a: str, b: str) -> list[Message]:
        rules = "\n".join(f"{number}. {rule}" for number, rule in enumerate(self.principles, 1))
        text = QUESTION.format(principles=rules, conversation=as_text(prompt), a=a, b=b)
        return [Message(role="user", content=text)]

    @torch.no_grad()
    def probabilities(self, questions: Sequence[list[Message]]) -> list[float | None]:
        """P(A) against P(B) as the first token of each answer; None where a question does not fit the context."""
        chat, model = self.chat, self.chat.model
        rows = [chat.prompt_ids(question) for question in questions]
        fits = [i for i, row in enumerate(rows) if len(row) < chat.context]
        found: list[float | None] = [None] * len(rows)
        device = model.embedding.weight.device
        a, b = (torch.tensor(ids, device=device) for ids in self.letters)
        for chosen in by_length([len(rows[i]) for i in fits], TOKENS_AT_ONCE):
            here = [fits[k] for k in chosen]
            ids, lengths = right_pad([rows[i] for i in here], chat.tokenizer.pad_id)
            hidden = model.hidden(ids.to(device))
            logits = model.logits(hidden[torch.arange(len(here)), lengths - 1])  # (B, V)
            gap = logits[:, a].logsumexp(-1) - logits[:, b].logsumexp(-1)
            for i, value in zip(here, torch.sigmoid(gap).tolist(), strict=True):
                found[i] = value
        return found

    def _ids_of(self, letter: str) -> list[int]:
        """The tokens that are this letter, with and without a space before it."""
        spelled = [self.chat.text_ids(text) for text in (letter, f" {letter}")]
        found = sorted({ids[0] for ids in spelled if len(ids) == 1})
        if not found:
            raise ModelFolderError(
                f"The tokenizer of {self.name} has no token for the letter {letter}; take another judge."
            )
        return found


def both_orders(there: float, back: float) -> float:
    """P(first is better) from P(A) with the first as A, and with it as B; 0.5 where the orders disagree.

    By hand: 0.9 and 0.3 give (0.9 + 0.7) / 2 = 0.8; 0.9 and 0.8, the judge likes A, give 0.5.
    """
    if (there > 0.5) == (back > 0.5):
        return 0.5
    return (there + 1.0 - back) / 2.0


def ranks_of(count: int, preferred: dict[tuple[int, int], float]) -> list[int]:
    """Ranks (1 best, ties equal) by the sum of each completion's probabilities against the others.

    By hand, three: 0 beats 1 by 0.8, 0 and 2 are 0.5, 2 beats 1 by 0.6: sums 1.3, 0.6, 1.1, so ranks 1, 3, 2.
    """
    sums = [0.0] * count
    for (i, j), value in preferred.items():
        sums[i] += value
        sums[j] += 1.0 - value
    return [1 + sum(other > mine + SAME for other in sums) for mine in sums]
