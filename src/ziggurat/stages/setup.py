"""What every stage settles before its first step: derived numbers, inherited settings, held-out data, lineage.

A number that is not given is computed once, printed with its formula, and frozen in the run's config.yaml. A resumed
run therefore measures and derives nothing again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from ziggurat.console import err, human_count, human_time, table
from ziggurat.corpus.split import FEW, split
from ziggurat.errors import DataError, RunError
from ziggurat.model.accounting import total_parameters
from ziggurat.model.hub import load_config
from ziggurat.places import find_run, model_folder, reasoning_of, run_around
from ziggurat.records import Document, Reasoning, Record
from ziggurat.runs import Run
from ziggurat.settings import Config, Resolved, checked, flatten, nest, resolve

if TYPE_CHECKING:
    from ziggurat.stages.stage import Prepared
    from ziggurat.tokenizer.rendering import RenderedRecords
    from ziggurat.tokenizer.template import ChatTemplate
    from ziggurat.training.config import LoopConfig
    from ziggurat.training.cost import Cost

C = TypeVar("C", bound=Config)
R = TypeVar("R", bound=Record)

LARGE_PARAMETERS = 50_000_000
"""Above so many, as models from elsewhere are, all stages after stage 2 have other defaults: to train all of it is too
much for a CPU."""

LARGE: dict[str, Any] = {"train": {"trainable": "lora"}}
"""Defaults of stages with one optimizer for such a base: what learns is an adapter, whose optimizer states are few, and
the reference, or PPO's four bodies, have the frozen base in common with it."""

INHERITED_LOOP = ("dtype", "threads")
INHERITED = ("optimizer", "momentum", "newton_schulz_steps", "betas", "weight_decay", *INHERITED_LOOP)
"""Training settings that a later stage takes over from the run it starts from."""

RATES = {"pretrain": 1.0, "sft": 0.1, "reward": 0.1, "dpo": 0.05, "kto": 0.05, "raft": 0.05}
"""Peak learning rates of the stages as shares of stage 1's: gentle, or a stage overwrites what the stages before it
learned. A stage takes its share whatever stage its base comes from, so that the tenth release learns as fast as the
second. A base from another stage counts as stage 2."""

FOREIGN_TRAIN: dict[str, Any] = {"optimizer": "adamw", "lr_adam": 2e-5, "grad_clip": 1.0}
"""Where the base is not ours: AdamW at the customary rate of supervised fine-tuning (arXiv:2307.09288, 3.1)."""


class RecordsConfig(Config):
    """What the stages that learn from conversations have in common."""

    skip_bad_rows: bool = False
    """Leave out rows that the chat template refuses; otherwise such a row is an error. Rows that are too long are
    left out in any case. Each kind is counted, and file and line of the first are printed."""

    reasoning: Reasoning = "trained"
    """What becomes of the reasoning in assistant messages (`reasoning_content`, or <think> tags): trained like the
    answer after it; shown to the model and not trained; hidden, that is left out. Inherited from the base's run. A
    stage that trains on no message, such as PPO, shows it where it is not hidden."""


@dataclass(frozen=True)
class Derived:
    """A number that follows from others; `why` is its formula or its source."""

    name: str
    value: Any
    why: str


def print_derived(title: str, derived: Sequence[Derived], *, to: Console = err) -> None:
    """The numbered list that is printed before the loop."""
    rows = [
        (i, d.name, d.value if isinstance(d.value, str) else f"{d.value:,}", d.why)
        for i, d in enumerate(derived, 1)
    ]
    to.print(table(title, ("", "number", "value", "from"), rows, right=("value",)))


def print_sources(resolved: Resolved[Any], *, to: Console = err) -> None:
    """Every setting that is not a plain default, and where it came from: inherited, recipe, --set, derived."""
    values = flatten(resolved.config.model_dump(mode="json"))
    rows = [(k, v, resolved.source(k)) for k, v in values.items()]
    given = [(k, v, s) for k, v, s in rows if s != "default"]
    to.print(table("settings", ("setting", "value", "source"), given))
    to.print(f"{len(rows) - len(given)} more settings are defaults; config.yaml holds all.")


def freeze(resolved: Resolved[C], values: dict[str, Any], source: str = "derived") -> Resolved[C]:
    """The configuration with dotted `values` put in. A setting that has its value already keeps its source.

    Raises ConfigError where a derived number does not go with a setting: more steps of warm-up than steps.
    """
    tree = resolved.config.model_dump()
    now = flatten(tree)
    values = {key: value for key, value in values.items() if now.get(key) != value}
    sources = {**resolved.sources, **dict.fromkeys(values, source)}
    return Resolved(checked(type(resolved.config), nest(values, tree), sources), sources)


# --- memory and time ------------------------------------------------------------------------------------------------


def check_cost(stage: str, ready: Prepared[Any]) -> None:
    """Raise ConfigError if the run needs more memory than is available and does not set `allow_low_memory`."""
    if ready.cost is not None:
        loop = loop_of(ready.config)
        ready.cost.check(stage, allowed=loop.allow_low_memory, device=loop.device)


def loop_of(config: Any) -> LoopConfig:
    """The loop's settings of a stage; align's are those of its PPO."""
    found: LoopConfig = config.ppo.train if hasattr(config, "ppo") else config.train
    return found


def describe_cost(cost: Cost, device: str = "auto") -> list[Derived]:
    """Memory and time, for --dry-run. The speed of the device is measured, which takes about a second."""
    from ziggurat.training.cost import gib
    from ziggurat.training.device import free_memory_bytes
    from ziggurat.training.precision import measure_machine

    machine = measure_machine(device=device)
    step_s = cost.step_s(machine)
    return [
        Derived(
            "memory",
            f"{gib(cost.bytes)} GiB",
            f"{cost.parts()}; {gib(free_memory_bytes(device))} GiB are available",
        ),
        Derived(
            "time of a step", f"about {human_time(step_s)}", f"{machine.gflops:,.0f} GFLOP/s measured here"
        ),
        Derived("time", f"about {human_time(step_s * cost.steps)}", f"{cost.steps:,} steps"),
    ]


def plan_sentence(cost: Cost, device: str = "auto") -> str:
    """`this takes 3.1 of 24.0 GiB and 18 minutes`: what the process has by now, and what the run needs beside it."""
    from ziggurat.training.cost import gib
    from ziggurat.training.device import free_memory_bytes, used_memory_bytes
    from ziggurat.training.precision import measure_machine

    own = used_memory_bytes(device)
    spent = human_time(cost.step_s(measure_machine(device=device)) * cost.steps)
    return f"this takes {gib(cost.bytes + own)} of {gib(free_memory_bytes(device) + own)} GiB and {spent}"


def percentile_95(lengths: Sequence[int]) -> int:
    """The shortest length that at least 95 % of `lengths` do not exceed."""
    return sorted(lengths)[math.ceil(0.95 * len(lengths)) - 1]


# --- what a run starts from ------------------------------------------------------------------------------------------


def parent_run(base: Path) -> Run | None:
    """The run that `base` belongs to; None for a foreign folder."""
    folder = run_around(base)
    return Run.open(folder) if folder else None


def inherited(base: Path, *, lr_share: float, foreign: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The layer between defaults and recipe: training settings of the run that `base` comes from.

    Learning rates are taken times `lr_share`. A folder without a run around it, or with a run of stage 4, which has
    two optimizers, gets FOREIGN_TRAIN and `foreign`.
    """
    train = _train_of(base)
    if "optimizer" not in train:
        return {"train": {**FOREIGN_TRAIN, **(foreign or {}), **inherited_loop(base)}}
    taken = {key: train[key] for key in INHERITED if key in train}
    rates = {key: train[key] * lr_share for key in ("lr_matrix", "lr_adam") if key in train}
    return {"train": taken | rates}


def inheriting(
    cls: type[C],
    base: str | Path,
    layers: Sequence[tuple[str, Any]],
    *,
    stage: str,
    foreign: Mapping[str, Any] | None = None,
    large: Mapping[str, Any] | None = None,
) -> Resolved[C]:
    """The configuration of a stage that trains on records: what the base's run hands down, then the layers.

    `stage`: whose share of the learning rates (RATES) is taken.
    `large`: defaults for a base of more than LARGE_PARAMETERS."""
    folder = find_run(str(base))
    layer = inherited(folder, lr_share=lr_share(stage, folder), foreign=foreign) | inherited_records(folder)
    count = total_parameters(load_config(model_folder(base))) if large else 0
    if large is None or count <= LARGE_PARAMETERS:
        return resolve(cls, ("inherited", layer), *layers)
    reason = f"{human_count(count)} parameters, above {human_count(LARGE_PARAMETERS)}"
    return resolve(cls, (reason, large), ("inherited", layer), *layers)


def lr_share(stage: str, base: Path) -> float:
    """The learning rates of `stage` as a share of those of the run around `base`; 1 for a stage without a share."""
    if stage not in RATES:
        return 1.0
    parent = parent_run(base)
    return RATES[stage] / RATES.get(parent.stage if parent else "sft", RATES["sft"])


def inherited_records(base: Path) -> dict[str, Any]:
    """The settings of RecordsConfig that are inherited: only what a run around `base` has."""
    run = parent_run(base)
    return {"reasoning": reasoning_of(base)} if run and "reasoning" in run.config else {}


def inherited_loop(base: Path) -> dict[str, Any]:
    """The loop's settings that are inherited from any run, stage 4 included."""
    train = _train_of(base)
    return {key: train[key] for key in INHERITED_LOOP if key in train}


def _train_of(base: Path) -> dict[str, Any]:
    """Section `train` of the run around `base`; runs of stage 4 once had these settings at the top."""
    run = parent_run(base)
    config = run.config if run else {}
    train = config.get("train", config)
    return train if isinstance(train, dict) else {}


# --- data ------------------------------------------------------------------------------------------------------------


def split_held_out(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """(to learn from, held out). Chosen by the hash of the text, so the same text always falls on the same side;
    of fewer than FEW the end of each is held out instead."""
    if share <= 0:
        return list(documents), []
    if len(documents) < FEW:
        cuts = [round(len(d.text) * (1 - share)) for d in documents]
        learn = [d.model_copy(update={"text": d.text[:c]}) for d, c in zip(documents, cuts, strict=True)]
        held = [d.model_copy(update={"text": d.text[c:]}) for d, c in zip(documents, cuts, strict=True)]
        return [d for d in learn if d.text], [d for d in held if d.text]
    return split(documents, lambda d: d.text, share)


def take_characters(texts: Iterable[str], characters: int) -> list[str]:
    """Whole texts from the front until `characters` are reached; the last one is cut."""
    taken: list[str] = []
    for text in texts:
        if characters <= 0:
            break
        taken.append(text[:characters])
        characters -= len(text)
    return taken


def memory_entry(name: str, records: Sequence[Record]) -> dict[str, Any]:
    """A manifest's data entry for records that came from no file: the hash of their JSON lines."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(
            json.dumps(record.to_json(), ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        )
        digest.update(b"\n")
    return {"path": name, "sha256": digest.hexdigest(), "records": len(records)}


def entries(data: Sequence[dict[str, Any]] | None, **records: Sequence[Record]) -> list[dict[str, Any]]:
    """The manifest's data entries: those of the files, `data`, or else one for each kind of records in memory."""
    return list(data or [memory_entry(name, some) for name, some in records.items() if some])


def check_same_data(run_path: Path, data: Sequence[dict[str, Any]]) -> None:
    """Raise RunError if the run was begun with other data."""
    if not (run_path / "manifest.json").exists():
        return
    began = {d.get("sha256") for d in Run.open(run_path).manifest.get("data", [])}
    now = {d.get("sha256") for d in data}
    if began and began != now:
        raise RunError(
            f"{run_path} was begun with other data; resume with the same files or start a new run."
        )


def usable(
    template: ChatTemplate,
    records: Sequence[R],
    *,
    longest: int,
    skip: bool,
    what: str,
    to_answer_end: bool = False,
) -> RenderedRecords[R]:
    """The records that can be used, as ids; what is left out is printed. The policy is `tokenizer.rendering`'s."""
    from ziggurat.tokenizer.rendering import render_all

    found = render_all(template, records, longest=longest, skip=skip, to_answer_end=to_answer_end, what=what)
    if found.left_out:
        err.print(f"{what}s: {found.left_out.summary(len(records))}")
    return found


def need(records: Sequence[Any], what: str) -> None:
    if not records:
        raise DataError(f"there are no {what} to learn from; give a file that holds some.")
