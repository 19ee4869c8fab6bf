"""Does the candidate still predict plain text? Bits per byte on held-out text, against the serving release."""

from __future__ import annotations

import math

from ziggurat.corpus.files import documents
from ziggurat.errors import DataError
from ziggurat.evaluation.bits import TextScore, score_texts
from ziggurat.evaluation.statistics import bootstrap_statistic
from ziggurat.flywheel.gate.criteria.exam import town_of
from ziggurat.flywheel.gate.criterion import Bench, Finding
from ziggurat.home import located

PIECE, PIECES = 4_000, 60
"""Characters of a piece of text, and pieces that are read at most."""


class TextLoss:
    name = "text_loss"

    def measure(self, bench: Bench) -> Finding:
        texts = pieces(bench)
        bar = bench.policy.text_tolerance
        if not texts:
            sentence = "No held-out text was named (--text FILE), so the loss on plain text is not known."
            return Finding(verdict="not_measured", bar=bar, unit="difference", sentence=sentence)
        if bench.theirs is None:
            sentence = "No release serves yet, so there is no loss to compare with."
            return Finding(verdict="passed", bar=bar, unit="difference", sentence=sentence)
        ours, theirs = (
            [score_texts(c.model, c.tokenizer, [t]) for t in texts] for c in (bench.ours, bench.theirs)
        )

        def rise(i: object) -> float:
            a, b = (bits([side[int(j)] for j in i]) for side in (ours, theirs))  # type: ignore[attr-defined]
            return a / b - 1

        found = bootstrap_statistic(rise, len(texts))
        passed = found.value <= bar
        sentence = (
            f"Held-out text takes {bits(ours):.3f} bits per byte (serving {bits(theirs):.3f}), "
            f"{100 * found.value:+.1f} %; at most {100 * bar:+.1f} % is allowed."
        )
        return Finding(
            verdict="passed" if passed else "refused",
            figure=found.value,
            low=found.low,
            high=found.high,
            bar=bar,
            unit="difference",
            n=len(texts),
            sentence=sentence,
            detail={"candidate": bits(ours), "serving": bits(theirs)},
        )


def bits(scores: list[TextScore]) -> float:
    return sum(one.nll_nats for one in scores) / math.log(2) / sum(one.bytes for one in scores)


def pieces(bench: Bench) -> list[str]:
    """Pieces of the policy's files, else of the town's held-out documents."""
    if bench.policy.text:
        try:
            found = documents([located(path) for path in bench.policy.text], role="text").records
        except DataError as error:
            raise DataError(f"--text: {error}") from None
        texts = [one.text for one in found]
    elif (seed := town_of(bench)) is not None:
        from ziggurat.town.documents import held_out_documents
        from ziggurat.town.people import build_town

        texts = [one.text for one in held_out_documents(build_town(seed), PIECES * 2)]
    else:
        return []
    cut = [
        text[at : at + PIECE]
        for text in texts
        for at in range(0, len(text), PIECE)
        if text[at : at + PIECE].strip()
    ]
    step = max(1, len(cut) // PIECES)
    return cut[::step][:PIECES]
