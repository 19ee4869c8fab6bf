"""What a series says: laws with intervals, the held-out model, advice for a budget, sharp and smooth measures.

Two fits are kept apart. `before` knows nothing of the held-out model and gave the prediction; `law` is the fit of all
runs and gives the advice. Advice chooses among real shapes by their FLOPs; beside it stands the closed form of Hoffmann
et al., for which C = 6 N D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ziggurat.evaluation.saved_law import SavedLaw
from ziggurat.evaluation.scaling_laws import (
    Choice,
    Law,
    Line,
    choose_size,
    fit_law,
    frontier,
    log_linear,
    r_squared,
)
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.exam.scaling.plan import FAMILY, MOST_EPOCHS, Series, shape
from ziggurat.exam.scaling.series import Measured, Prediction, law_of, predict
from ziggurat.model.accounting import flops_per_token, total_parameters

TARGET = 0.03
"""The held-out model's loss is to be predicted within this share of it."""
BUDGETS_S = {"10 minutes": 600.0, "1 hour": 3600.0, "8 hours": 28_800.0, "1 week": 604_800.0}


@dataclass(frozen=True)
class HeldOut:
    """The larger model: what was predicted before it was trained, and what came out."""

    prediction: Prediction
    measured: float

    @property
    def error(self) -> float:
        """Predicted against measured, as a share."""
        return self.prediction.loss.value / self.measured - 1


@dataclass(frozen=True)
class Advice:
    """What to train for a budget on this machine."""

    budget: str
    flops: float
    layers: int
    width: int
    parameters: int
    choice: Choice
    closed_form: tuple[float, float]
    """(N, D) by the formula of C = 6 N D."""
    short_of_text: float
    """Tokens that the text lacks, read MOST_EPOCHS times; 0 where there is enough."""


@dataclass(frozen=True)
class Laws:
    """The fits of a series."""

    before: Law
    """Without the held-out model."""
    law: Law
    """Of all runs."""
    r2: float
    """Of `law`, on the runs that it was fitted to."""
    compute: Law | None
    """L(C) of the runs that no cheaper one beats; None where they are too few."""
    lines: dict[float, Line]
    """Loss against log10 N, for each number of tokens a parameter."""
    held_out: HeldOut | None
    advice: list[Advice]


@dataclass(frozen=True)
class Skilled:
    """A size and a share, and how it did: one row of the table of rare skills, one point of the picture."""

    share: float
    parameters: int
    shape: str
    exact: Interval
    nats: float
    similarity: float


def laws_of(series: Series, found: Sequence[Measured]) -> Laws:
    """Needs a series for a law."""
    law = law_of(found)
    cells = [one.cell for one in found]
    losses = [one.loss for one in found]
    kept = frontier([c.flops for c in cells], losses)
    compute = None
    if len(kept) >= 4:
        compute = fit_law(("compute",), [(cells[i].flops,) for i in kept], [losses[i] for i in kept])
    lines = {}
    for ratio in sorted({c.ratio for c in cells}):
        some = [(one.cell.parameters, one.loss) for one in found if one.cell.ratio == ratio]
        if len({n for n, _ in some}) >= 3:
            lines[ratio] = log_linear(*zip(*some, strict=True))
    held_out = _held_out(series, found)
    return Laws(
        before=held_out.prediction.law if held_out else law,
        law=law,
        r2=r_squared(losses, [law.loss(c.parameters, c.tokens) for c in cells]),
        compute=compute,
        lines=lines,
        held_out=held_out,
        advice=[
            advise(
                law,
                seconds * series.flops_per_s,
                series.vocabulary,
                series.context,
                name,
                series.corpus_tokens,
            )
            for name, seconds in BUDGETS_S.items()
        ],
    )


def _held_out(series: Series, found: Sequence[Measured]) -> HeldOut | None:
    one = next((one for one in found if one.cell.held_out), None)
    if one is None:
        return None
    return HeldOut(predict(series, found), one.loss)


def advise(
    law: Law, flops: float, vocabulary: int, context: int, budget: str, corpus_tokens: float | None = None
) -> Advice:
    """The shape of FAMILY that the law prefers for so many FLOPs. `corpus_tokens`: of the text that there is."""
    shapes = [shape(i, vocabulary, context) for i in range(len(FAMILY))]
    candidates = [(float(total_parameters(c)), flops_per_token(c, context)) for c in shapes]
    choice = choose_size(law, candidates, flops)
    best = shapes[choice.index]
    there = float("inf") if corpus_tokens is None else MOST_EPOCHS * corpus_tokens
    return Advice(
        budget, flops, best.layers, best.d_model, total_parameters(best), choice, law.best_for(flops),
        max(0.0, choice.tokens - there),
    )  # fmt: skip


def skilled(found: Sequence[Measured]) -> list[Skilled]:
    """By share and size, each on its most tokens. Runs that differ only in their seed are taken together; the interval
    resamples questions."""
    rows = []
    most = {
        one.cell.parameters: max(o.cell.ratio for o in found if o.cell.parameters == one.cell.parameters)
        for one in found
    }
    groups: dict[tuple[float, int], list[Measured]] = {}
    for one in found:
        if one.asked and one.cell.ratio == most[one.cell.parameters]:
            groups.setdefault((one.cell.share, one.cell.parameters), []).append(one)
    for (share, parameters), some in sorted(groups.items()):
        asked = [one.asked for one in some if one.asked]
        exact = [float(v) for one in asked for v in one.exact]
        questions = [i for one in asked for i in range(len(one.exact))]
        rows.append(
            Skilled(
                share,
                parameters,
                some[0].cell.label,
                cluster_bootstrap(exact, questions),
                sum(one.nats for one in asked) / len(asked),
                sum(one.similarity for one in asked) / len(asked),
            )
        )
    return rows


def saved_law(series: Series, found: Sequence[Measured], laws: Laws) -> SavedLaw:
    """What `--scaling NAME` reads."""
    sizes, tokens = [one.cell.parameters for one in found], [one.cell.tokens for one in found]
    return SavedLaw(
        series.name, series.text, laws.law, series.vocabulary, series.context,
        (min(sizes), max(sizes)), (min(tokens), max(tokens)),
    )  # fmt: skip


def document(series: Series, found: Sequence[Measured], laws: Laws | None) -> dict[str, Any]:
    """report.json."""
    return {
        "name": series.name,
        "text": series.text,
        "skill": series.skill,
        "runs": [
            {
                **asdict(one.cell),
                "loss": one.loss,
                "bits_per_byte": one.bits_per_byte,
                "seconds_taken": one.seconds,
            }
            for one in found
        ],
        "laws": None if laws is None else _laws_document(laws),
        "skills": [{**asdict(row), "exact": row.exact.to_dict()} for row in skilled(found)],
        "curve": [asdict(point) for one in found for point in one.curve],
    }


def _laws_document(laws: Laws) -> dict[str, Any]:
    held = laws.held_out
    fits = {"before": laws.before, "all runs": laws.law, "compute": laws.compute}
    return {
        "constants": {
            name: {key: asdict(value) for key, value in fit.constants().items()}
            for name, fit in fits.items()
            if fit
        },
        "r2": laws.r2,
        "log_linear": {f"{ratio:g} tokens a parameter": asdict(line) for ratio, line in laws.lines.items()},
        "held_out": _held_out_document(held) if held else None,
        "advice": [asdict(one) for one in laws.advice],
    }


def _held_out_document(held: HeldOut) -> dict[str, Any]:
    one = held.prediction
    return {
        "run": one.run,
        "parameters": one.parameters,
        "tokens": one.tokens,
        "predicted": asdict(one.loss),
        "measured": held.measured,
        "error": held.error,
        "target": TARGET,
    }
