"""The runs of a series: each an ordinary run of stage 1, in $ZIGGURAT_HOME/runs/scaling-NAME.

    series.json        the plan, frozen
    tokenizer/         one for all runs
    pretrain-<n>/      the runs, smallest first
    measured/<n>.json  what was measured after each
    prediction.json    the loss of the held-out model, written before its first step
    law.json  report.json  report.html

A series that was stopped goes on with --resume: finished runs are skipped, the one that was stopped continues from its
checkpoint, and the prediction stays as it was written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ziggurat.console import err, human_count, human_time
from ziggurat.dialogue.chat import Chat
from ziggurat.errors import RunError
from ziggurat.evaluation.saved_law import series_folder
from ziggurat.evaluation.scaling_laws import Bounds, Law, fit_law, read_law
from ziggurat.exam.scaling import corpus
from ziggurat.exam.scaling.curve import Point, word_curve
from ziggurat.exam.scaling.plan import (
    FAMILY,
    Cell,
    Machine,
    Series,
    Wanted,
    check_wanted,
    choose,
    head_width,
    read_series,
    shape,
    this_machine,
    write_series,
)
from ziggurat.exam.scaling.probe import Asked, ask
from ziggurat.exam.scaling.skills import skill_named
from ziggurat.files import drop_lock, read_json, take_lock, write_json
from ziggurat.home import located, portable
from ziggurat.model.accounting import flops_per_token
from ziggurat.records import Document
from ziggurat.runs import Run
from ziggurat.stages.pretrain import pretrain, pretrain_config
from ziggurat.stages.setup import memory_entry

MEASURED_FORMAT = PREDICTION_FORMAT = 1
"""Versions of measured/<n>.json and of prediction.json."""
QUESTIONS = 200
CURVE_POINTS = 8
"""Checkpoints of the largest model, evenly spread."""
WARMUP = 0.05
"""Of the steps."""


@dataclass(frozen=True)
class Measured:
    """What a finished run came to."""

    cell: Cell
    loss: float
    """Nats a token of the held-out text."""
    bits_per_byte: float
    seconds: float
    asked: Asked | None = None
    curve: tuple[Point, ...] = ()
    """Over the checkpoints of the largest model."""


def prepare(
    name: str,
    files: Sequence[Path],
    wanted: Wanted,
    *,
    town: int,
    skill: str,
    vocabulary: int,
    context: int,
    batch_tokens: int,
    settings: Mapping[str, Any],
    overwrite: bool = False,
    keep: bool = True,
    machine: Machine | None = None,
) -> tuple[Series, corpus.Text]:
    """Read the text, make the tokenizer, time the shapes and choose the runs. `keep`: freeze them in the folder."""
    check_wanted(wanted)
    chosen = skill_named(skill) if skill else None
    folder = series_folder(name)
    if keep:
        _check_room(folder, overwrite)
    text = corpus.read_text(files, town, chosen)
    tokenizer = corpus.train_tokenizer(text, chosen, vocabulary)
    per_token = corpus.characters_per_token(text, tokenizer)
    corpus_tokens = round(text.characters / per_token)
    machine = machine or this_machine(batch_tokens, context)
    cells, limit = choose(
        wanted, machine,
        vocabulary=tokenizer.vocab_size, context=context, batch_tokens=batch_tokens, corpus_tokens=corpus_tokens,
    )  # fmt: skip
    last = cells[-1]
    top = shape(FAMILY.index((last.layers, last.width)), tokenizer.vocab_size, context)
    series = Series(
        name=name,
        files=tuple(portable(file) for file in files),
        town=town,
        text=text.name,
        fingerprint=text.fingerprint,
        budget_s=wanted.budget_s,
        vocabulary=tokenizer.vocab_size,
        context=context,
        batch_tokens=batch_tokens,
        settings=dict(settings),
        skill=skill,
        shares=wanted.shares,
        law=wanted.law,
        corpus_tokens=corpus_tokens,
        characters_per_token=per_token,
        flops_per_s=flops_per_token(top, context) * batch_tokens / machine.step_s(top),
        limit=limit,
        cells=cells,
    )
    if keep:
        write_series(folder, series)
        tokenizer.save(folder / "tokenizer")
    return series, text


def reopen(name: str) -> tuple[Series, corpus.Text]:
    """The series that was begun under this name. Raises RunError where there is none, or its text has changed."""
    series = read_series(series_folder(name))
    chosen = skill_named(series.skill) if series.skill else None
    text = corpus.read_text([located(file) for file in series.files], series.town, chosen)
    if text.fingerprint != series.fingerprint:
        raise RunError(
            f"{series_folder(name)} was begun with other text; put the files back, or start another series (--name)."
        )
    return series, text


def _check_room(folder: Path, overwrite: bool) -> None:
    """Make sure that the folder is free. With `overwrite` an earlier series is removed, and nothing else."""
    import shutil

    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "series.json").is_file():
        raise RunError(f"{folder} holds other files; give another --name.")
    if not overwrite:
        raise RunError(
            f"{folder} holds an earlier series; continue it with --resume, replace it with --overwrite, or give "
            "another --name."
        )
    shutil.rmtree(folder)


# --- training ---------------------------------------------------------------------------------------------------------


def train_series(series: Series, text: corpus.Text) -> list[Measured]:
    """Train and measure what is not finished yet; the prediction is written before the held-out model's first step."""
    folder = series_folder(series.name)
    lock = take_lock(folder)
    try:
        found: list[Measured] = []
        for cell in series.cells:
            if cell.held_out:
                predict(series, found)
            done = folder / "measured" / f"{cell.number}.json"
            if not done.is_file():
                one = _measure(series, cell, text, folder)
                done.parent.mkdir(exist_ok=True)
                write_json(done, asdict(one), MEASURED_FORMAT)
            found.append(read_measured(done))
            err.print(
                f"{cell.run}, {cell.number} of {len(series.cells)}: {cell.label}, "
                f"{human_count(cell.parameters)} parameters, {human_count(cell.tokens)} tokens: "
                f"loss {found[-1].loss:.4f}"
            )
        return found
    finally:
        drop_lock(lock)


@dataclass(frozen=True)
class Prediction:
    """The loss of the held-out model by the law of the others, as it was written before that model's first step."""

    run: str
    parameters: int
    tokens: int
    loss: Bounds
    fitted_on: tuple[str, ...]
    law: Law


def predict(series: Series, found: Sequence[Measured]) -> Prediction:
    """Fit the law of the runs found so far and write the prediction, unless it is written: then read it."""
    file, cell = series_folder(series.name) / "prediction.json", series.held_out
    assert cell is not None, "only asked for a series that holds one out"
    if not file.is_file():
        law = law_of([one for one in found if not one.cell.held_out])
        bounds = law.predict(cell.parameters, cell.tokens)
        names = tuple(one.cell.run for one in found if not one.cell.held_out)
        one = Prediction(cell.run, cell.parameters, cell.tokens, bounds, names, law)
        write_json(file, asdict(one), PREDICTION_FORMAT)
        err.print(
            f"Predicted for {cell.run} ({human_count(cell.parameters)} parameters, {human_count(cell.tokens)} tokens), "
            f"before it is trained: loss {bounds.value:.4f} [{bounds.low:.4f}, {bounds.high:.4f}]"
        )
    kept = read_json(file, PREDICTION_FORMAT)
    law, bounds = read_law(kept.pop("law")), Bounds(**kept.pop("loss"))
    return Prediction(**{**kept, "fitted_on": tuple(kept["fitted_on"])}, law=law, loss=bounds)


def law_of(found: Sequence[Measured]) -> Law:
    """L(N, D) of these runs; runs that differ only in their seed are resampled together."""
    return fit_law(
        ("parameters", "tokens"),
        [(one.cell.parameters, one.cell.tokens) for one in found],
        [one.loss for one in found],
        groups=[(one.cell.parameters, one.cell.tokens) for one in found],
    )


def _measure(series: Series, cell: Cell, text: corpus.Text, folder: Path) -> Measured:
    """Train one run, unless it is finished, and measure it."""
    started = time.monotonic()
    skill = skill_named(series.skill) if series.skill else None
    path = folder / cell.run
    begun = (path / "manifest.json").is_file()
    last = cell is series.cells[-1]
    if not (begun and Run.open(path).finished):
        err.print(f"{cell.run}: about {human_time(cell.seconds)}")
        documents = corpus.documents(text, skill, cell.share, cell.tokens * series.characters_per_token)
        pretrain(
            pretrain_config(
                None, ("the series", _settings(series, cell, folder, last)), ("--set", series.settings)
            ),
            documents,
            path,
            held_out=[Document(text=one) for one in text.held_out],
            data=_entries(text, documents),
            resume=begun,
        )
    row = Run.open(path).read_metrics()[-1]
    chat = Chat.load(path)
    return Measured(
        cell,
        loss=float(row["val_loss"]),
        bits_per_byte=float(row["val_bits_per_byte"]),
        seconds=float(Run.open(path).manifest.get("wall_s") or time.monotonic() - started),
        asked=ask(chat, skill.questions(QUESTIONS)) if skill else None,
        curve=tuple(word_curve(path, text.learned)) if last else (),
    )


def _settings(series: Series, cell: Cell, folder: Path, last: bool) -> dict[str, Any]:
    train: dict[str, Any] = {
        "steps": cell.steps,
        "seed": cell.seed,
        "warmup_steps": round(WARMUP * cell.steps),
    }
    if last:
        train |= {
            "checkpoint_every_steps": max(1, cell.steps // CURVE_POINTS),
            "keep_checkpoints": 2 * CURVE_POINTS,
        }
    return {
        "model": "tiny",
        "shape": {"layers": cell.layers, "d_model": cell.width, "d_head": head_width(cell.width)},
        "tokenizer": portable(folder / "tokenizer"),
        "context": series.context,
        "batch_tokens": series.batch_tokens,
        "train": train,
    }


def _entries(text: corpus.Text, documents: Sequence[Document]) -> list[dict[str, Any]] | None:
    """The manifest's data: the files, and the lines of the skill, which come from none."""
    if not text.entries:
        return None
    made = [one for one in documents if one.source != "text"]
    return [*text.entries, *([memory_entry(str(made[0].source), made)] if made else [])]


def read_measured(file: Path) -> Measured:
    found = read_json(file, MEASURED_FORMAT)
    asked = found.pop("asked")
    if asked:
        asked["exact"] = tuple(asked["exact"])
        asked["examples"] = tuple(tuple(one) for one in asked["examples"])
    curve = tuple(Point(**point) for point in found.pop("curve"))
    return Measured(
        cell=Cell(**found.pop("cell")), asked=Asked(**asked) if asked else None, curve=curve, **found
    )
