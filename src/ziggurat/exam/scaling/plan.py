"""Sizes and tokens of a series, from the budget and the measured speed; frozen in series.json before the first step.

    for a law       every size but the largest is trained on each of --tokens-per-parameter; the largest, held out, on
                    the most of them, last
    for a skill     every size is trained on every share of the skill, on the most tokens a parameter

The shapes are neighbours in FAMILY. Its largest one is the largest with which the whole series fits the budget, and
for which the text need not be read more than MOST_EPOCHS times (more repetitions teach little, arXiv:2305.16264).
A step of every shape that is considered is timed; time is not measured again when the series is resumed.
N counts all parameters, as in Hoffmann et al. (arXiv:2203.15556); FLOPs are those of `model.accounting`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ziggurat.console import human_count, human_time
from ziggurat.errors import RunError, UsageError
from ziggurat.files import read_json, write_json
from ziggurat.ladder.plan import measure_step
from ziggurat.model.accounting import flops_per_token, total_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.presets import sized

SERIES_FORMAT = 1
"""Version of series.json."""
FAMILY = (
    (2, 16), (2, 24), (2, 32), (3, 40), (3, 48), (4, 64), (4, 80), (5, 96), (5, 128), (6, 160), (6, 192), (7, 256),
    (8, 320), (8, 384), (10, 512), (11, 640), (12, 768), (16, 1024), (20, 1280), (24, 1536), (24, 2048),
)  # fmt: skip
"""(layers, width) of the shapes; each has 1.3 to 2.5 times the parameters of the one before."""
MOST_EPOCHS = 4
RUN_FIXED_S = 5.0
"""Seconds of a run beside its steps: reading the text, the evaluation, samples, the report."""
STEP_MEASURED_S = 0.6
CONSTANTS = 5
"""Of L(N, D)."""
SIZES = (3, 12)
"""How many sizes a series may have."""


@dataclass(frozen=True)
class Cell:
    """One run of the series: `pretrain-<number>`."""

    number: int
    layers: int
    width: int
    parameters: int
    ratio: float
    """Tokens a parameter, as planned."""
    steps: int
    tokens: int
    """steps x tokens of a step."""
    flops: float
    seconds: float
    """Expected."""
    share: float = 0.0
    """Percent of the text that shows the skill."""
    seed: int = 0
    held_out: bool = False
    """Trained last, after its loss was predicted."""

    @property
    def run(self) -> str:
        return f"pretrain-{self.number}"

    @property
    def label(self) -> str:
        return f"{self.layers} × {self.width}"


@dataclass(frozen=True)
class Series:
    """All that is settled before the first step."""

    name: str
    files: tuple[str, ...]
    """Of the text; none: the documents of `town`."""
    town: int
    text: str
    """Its name, for people."""
    fingerprint: str
    """Of the text."""
    budget_s: float
    vocabulary: int
    context: int
    batch_tokens: int
    settings: dict[str, Any]
    """Of every run, beside its shape and steps."""
    skill: str
    shares: tuple[float, ...]
    law: bool
    """Whether laws are fitted; else shares of the skill are compared."""
    corpus_tokens: int
    characters_per_token: float
    flops_per_s: float
    """Of a step of the largest shape on this machine."""
    limit: str
    """What kept the sizes from being larger."""
    cells: tuple[Cell, ...]

    @property
    def seconds(self) -> float:
        return sum(cell.seconds for cell in self.cells)

    @property
    def held_out(self) -> Cell | None:
        return next((cell for cell in self.cells if cell.held_out), None)


@dataclass(frozen=True)
class Wanted:
    """What a person asks of a series."""

    budget_s: float
    sizes: int = 5
    ratios: tuple[float, ...] = (5.0, 10.0, 20.0)
    hold_out: bool = True
    shares: tuple[float, ...] = (0.0,)
    law: bool = True
    seeds: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Machine:
    """How long a step takes: `step_s` of a shape, each measured once."""

    step_s: Callable[[ModelConfig], float]


def this_machine(batch_tokens: int, context: int) -> Machine:
    """Measures a shape when it is asked for."""

    @cache
    def step_s(config: ModelConfig) -> float:
        return measure_step(config, step_tokens=batch_tokens, row_tokens=context, seconds=STEP_MEASURED_S)

    return Machine(step_s)


def shape(index: int, vocabulary: int, context: int) -> ModelConfig:
    """The shape at an index of FAMILY."""
    layers, width = FAMILY[index]
    return sized(
        layers=layers, d_model=width, d_head=head_width(width), vocab_size=vocabulary, context=context
    )


def head_width(width: int) -> int:
    return 8 if width < 64 else 16 if width < 128 else 32 if width < 384 else 64


def choose(
    wanted: Wanted, machine: Machine, *, vocabulary: int, context: int, batch_tokens: int, corpus_tokens: int
) -> tuple[tuple[Cell, ...], str]:
    """The runs, smallest first, and what kept them from being larger. Raises UsageError where none fits."""
    best: tuple[Cell, ...] = ()
    for top in range(wanted.sizes - 1, len(FAMILY)):
        cells = _cells(wanted, machine, top, vocabulary, context, batch_tokens)
        needed, most = max(cell.tokens for cell in cells), MOST_EPOCHS * corpus_tokens
        too_slow = sum(cell.seconds for cell in cells) > wanted.budget_s
        if needed <= most and not too_slow:
            best = cells
            continue
        if best:
            return best, "the budget" if needed <= most else f"the text ({human_count(corpus_tokens)} tokens)"
        if needed > most:
            raise UsageError(
                f"the smallest series of {wanted.sizes} sizes learns from {needed:,} tokens and the text has "
                f"{corpus_tokens:,}, which are read at most {MOST_EPOCHS} times; give more text, fewer --sizes or "
                "fewer --tokens-per-parameter."
            )
        raise UsageError(
            f"the smallest series of {wanted.sizes} sizes takes about {human_time(sum(c.seconds for c in cells))} "
            f"here and the budget is {human_time(wanted.budget_s)}; give a longer --budget, fewer --sizes, fewer "
            "--tokens-per-parameter or fewer --shares."
        )
    return best, "the largest shape"


def _cells(
    wanted: Wanted, machine: Machine, top: int, vocabulary: int, context: int, batch_tokens: int
) -> tuple[Cell, ...]:
    """The runs of a series whose largest shape is FAMILY[top], in the order in which they are trained."""
    most = max(wanted.ratios)
    found: list[Cell] = []
    for index in range(top - wanted.sizes + 1, top + 1):
        config = shape(index, vocabulary, context)
        held_out = wanted.law and wanted.hold_out and index == top
        ratios = wanted.ratios if wanted.law and not held_out else (most,)
        step_tokens = max(1, round(batch_tokens / context)) * context
        for ratio in sorted(ratios):
            steps = max(1, round(ratio * total_parameters(config) / step_tokens))
            one = Cell(
                number=0,
                layers=config.layers,
                width=config.d_model,
                parameters=total_parameters(config),
                ratio=ratio,
                steps=steps,
                tokens=steps * step_tokens,
                flops=flops_per_token(config, context) * steps * step_tokens,
                seconds=steps * machine.step_s(config) + RUN_FIXED_S,
                held_out=held_out,
            )
            for share in wanted.shares:
                repeats = 1 if held_out else wanted.seeds
                found += [replace(one, share=share, seed=wanted.seed + i) for i in range(repeats)]
    return tuple(replace(cell, number=i) for i, cell in enumerate(found, 1))


# --- on disk ----------------------------------------------------------------------------------------------------------


def write_series(folder: Path, series: Series) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "series.json", asdict(series), SERIES_FORMAT)


def read_series(folder: Path) -> Series:
    """Raises RunError where there is none."""
    if not (folder / "series.json").is_file():
        raise RunError(
            f"{folder} holds no series to resume; start it without --resume, or name another with --name."
        )
    found = read_json(folder / "series.json", SERIES_FORMAT)
    cells = tuple(Cell(**cell) for cell in found.pop("cells"))
    files, shares = tuple(found.pop("files")), tuple(found.pop("shares"))
    return Series(files=files, shares=shares, cells=cells, **found)


def check_wanted(wanted: Wanted) -> None:
    """Raises UsageError for numbers that make no series."""
    if not SIZES[0] <= wanted.sizes <= SIZES[1]:
        raise UsageError(f"--sizes is {wanted.sizes}; give {SIZES[0]} to {SIZES[1]}.")
    if not wanted.ratios or min(wanted.ratios) <= 0:
        raise UsageError("--tokens-per-parameter needs numbers above 0, such as 5,10,20.")
    if wanted.law and len(set(wanted.ratios)) < 2:
        raise UsageError(
            "a law of parameters and tokens needs at least two --tokens-per-parameter, such as 5,20; with one, sizes "
            "and tokens grow together and their effects cannot be told apart."
        )
    fitted = (wanted.sizes - wanted.hold_out) * len(set(wanted.ratios))
    if wanted.law and fitted < CONSTANTS:
        raise UsageError(
            f"{fitted} runs are too few for a law with {CONSTANTS} constants; give more --sizes or more "
            "--tokens-per-parameter."
        )
    if not all(0 <= share < 100 for share in wanted.shares):
        raise UsageError("--shares are percent of the text, from 0 to below 100, such as 0,0.1,1,10.")
    if wanted.seeds < 1:
        raise UsageError(f"--seeds is {wanted.seeds}; give 1 or more.")


def numbers(text: str, option: str) -> tuple[float, ...]:
    """`5,10,20` -> (5.0, 10.0, 20.0). Raises UsageError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{option} is {text!r}; give numbers with commas between them, such as 5,10,20."
        ) from None


def describe(series: Series, cells: Sequence[Cell] | None = None) -> list[tuple[str, ...]]:
    """Rows of the plan: run, shape, parameters, tokens, a parameter, share, time."""
    return [
        (
            cell.run + (" (held out)" if cell.held_out else ""),
            cell.label,
            human_count(cell.parameters),
            human_count(cell.tokens),
            f"{cell.ratio:g}",
            f"{cell.share:g} %" if series.skill else "",
            human_time(cell.seconds),
        )
        for cell in (series.cells if cells is None else cells)
    ]
