"""A stage: its declaration, and the skeleton of its run.

**The declaration** (`Stage`) names what a stage learns from, what it starts from, and where its functions are. The
commands, recipes, run listings and the service read `declared()`; they know no stage by name. The built-in stages are
in `catalog.py`. Another package adds one by an entry point of the group `ziggurat.stages` that names a `Stage`, under
the stage's name (docs/extending.md):

    [project.entry-points."ziggurat.stages"]
    cpo = "my_package.cpo:STAGE"

**The skeleton** of every run:

    ready = prepare(...)                      # a subclass of Prepared; nothing is written
    with begin("cpo", ready, run_path, resume=resume, overwrite=overwrite) as run:
        ...                                   # train, save the model
        finish(run, ready, summary=..., numbers=...)

Nothing here imports torch: `ziggurat --help` reads the declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from ziggurat.errors import ConfigError
from ziggurat.extensions import load_all
from ziggurat.processes import processes, writes

if TYPE_CHECKING:
    from ziggurat.runs import Run
    from ziggurat.settings import Resolved
    from ziggurat.stages.setup import Derived
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.training.cost import Cost

GROUP = "ziggurat.stages"
"""Of the entry points."""

Kind = Literal["documents", "demonstrations", "comparisons", "ratings", "prompts"]


@dataclass(frozen=True)
class Model:
    """A model that a stage needs. The first one of a stage is its parent: the model that the run starts from."""

    argument: str
    """Parameter of `run` and `prepare`: by position if `required`, else by keyword."""
    options: tuple[str, ...]
    help: str
    required: bool = True
    remembered: str = "parent"
    """Key of the run's manifest from which a resumed run takes the model's folder."""
    in_config: bool = False
    """The model is a setting: `configure` takes it, `run` and `prepare` do not."""


@dataclass(frozen=True)
class Input:
    """Data that a stage learns from. The first one of a stage is required, and passed by position."""

    kind: Kind
    argument: str
    """Parameter of `run` and `prepare` that takes the records."""
    option: str = "--data"
    help: str = "A file to learn from; may be given several times."
    role: str = "data"
    """The part that the files play, in the run's manifest."""
    none_if_missing: bool = False
    """Pass None, not an empty list, where no file is given."""
    used_if: str = ""
    """Dotted setting above 0 if the data is used; where no file is given, the text of the parent's lineage is."""
    without: str = ""
    """What to expect where there is none: "some forgetting"."""


@dataclass(frozen=True)
class Shortcut:
    """An option of the command that is one setting: `--rounds 2` is `--set rounds=2`."""

    setting: str
    help: str
    type: type = int


@dataclass(frozen=True)
class Stage:
    """The declaration of a stage. Functions are named as "module:function" and imported when they are called."""

    name: str
    """Of the command, the recipe section and the runs (`<ladder>/<name>-<n>`)."""
    title: str
    """One line for the overview of commands: "Stage 2: learn to answer, from demonstrations."."""
    help: str
    """What `ziggurat NAME --help` says: a sentence, then examples after a line with \\b."""
    configure: str
    """(parent, *layers) -> Resolved[config]."""
    prepare: str
    """(resolved, *models, records, **further models and inputs, data) -> Prepared."""
    run: str
    """As `prepare`, with `run_path` after the records, `resume` and `overwrite` -> the folder of the run."""
    models: tuple[Model, ...]
    inputs: tuple[Input, ...]
    shortcuts: tuple[Shortcut, ...] = ()
    gold: bool = False
    """Whether `run` takes `gold`, a check on a policy that the training itself does not use."""
    seed: str = "train.seed"
    """Dotted setting of the random seed."""
    distributed: bool = False
    """Whether torchrun may start it in several processes (`training.parallel`)."""
    makes: Literal["language model", "reward model", "runs", "records"] = "language model"
    """What `model/` holds; "runs": nothing, the stage runs others; "records": nothing, it writes a file of them."""

    @property
    def talks(self) -> bool:
        """Whether the model that it makes can be talked to."""
        return self.makes == "language model"

    def function(self, part: Literal["configure", "prepare", "run"]) -> Any:
        module, _, attribute = str(getattr(self, part)).partition(":")
        return getattr(import_module(module), attribute)


@cache
def declared() -> dict[str, Stage]:
    """Every stage by its name: the built-in ones in the order of the ladder, then those of other packages."""
    from ziggurat.stages.catalog import BUILT_IN, OTHER_COMMANDS

    found = {stage.name: stage for stage in BUILT_IN}

    def refuse(name: str, stage: Stage) -> str | None:
        if stage.name != name:
            return f'names a stage "{stage.name}"; both names must be the same'
        if name in OTHER_COMMANDS:
            return f"has the name of the command `ziggurat {name}`, which would hide it"
        return "has the name of a built-in stage" if name in found else None

    return found | load_all(GROUP, Stage, refuse)


C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Prepared(Generic[C]):
    """All that is settled before the first step; `--dry-run` ends here. Each stage adds its own fields."""

    resolved: Resolved[Any]
    parent: Path | None
    """Model folder that the run starts from."""
    tokenizer: Tokenizer
    derived: list[Derived]
    """Numbers that follow from the settings and the data."""
    data: list[dict[str, Any]]
    """The manifest's entries of the data files."""
    cost: Cost | None = None
    """Memory and time of the run, where the stage estimates them; `begin` refuses what does not fit."""
    answer_tokens: int | None = None
    """95 % of the answers in the data are no longer; a later stage takes its longest answer from this."""

    @property
    def base(self) -> Path:
        """The parent, of a stage that always has one."""
        assert self.parent is not None
        return self.parent

    @property
    def config(self) -> C:
        config: C = self.resolved.config
        return config

    @property
    def seed(self) -> int:
        """Of the loop, or of a stage that has none and a seed of its own."""
        config: Any = self.resolved.config
        return int(getattr(config, "train", config).seed)


@contextmanager
def begin(
    name: str,
    ready: Prepared[Any],
    run_path: Path,
    *,
    resume: bool,
    overwrite: bool,
    manifest: Mapping[str, Any] | None = None,
) -> Iterator[Run]:
    """The run folder, locked, with its manifest; settings and derived numbers are printed.

    `manifest`: further entries. Raises RunError if the run was begun with other data or settings, ConfigError if it
    needs more memory than is available.
    """
    from ziggurat.follower import Follower
    from ziggurat.lineage import base_manifest
    from ziggurat.runs import Run
    from ziggurat.stages import setup

    _check_processes(name, ready)
    if resume:
        setup.check_same_data(run_path, ready.data)
    setup.check_cost(name, ready)
    lineage = base_manifest(name, parent=ready.parent, data=ready.data, seed=ready.seed)
    own: dict[str, Any] = {"tokenizer": ready.tokenizer.fingerprint}
    if ready.answer_tokens is not None:
        own["answer_tokens"] = ready.answer_tokens
    together = _together()
    if not writes():
        together()  # process 0 makes the folder
        yield Follower(run_path, name, together)
        return
    with Run.create(
        run_path,
        stage=name,
        config_yaml=ready.resolved,
        manifest={**lineage, **own, **(manifest or {})},
        resume=resume,
        overwrite=overwrite,
    ) as run:
        run.together = together
        together()
        setup.print_sources(ready.resolved)
        setup.print_derived(name, ready.derived)
        yield run


def _together() -> Callable[[], None]:
    """Waits for the other processes of the run, where there are any."""
    if processes() == 1:
        return lambda: None
    from ziggurat.training.parallel import wait_for_all

    return wait_for_all


def _check_processes(name: str, ready: Prepared[Any]) -> None:
    """Refuse several processes for a stage that is not built for them, or that settled on different numbers."""
    if processes() == 1:
        return
    able = [stage.name for stage in declared().values() if stage.distributed]
    if name not in able:
        raise ConfigError(
            f"{name} runs in one process; start it without torchrun ({', '.join(able)} can run in several)."
        )
    from ziggurat.training.parallel import gathered

    settled = gathered(ready.resolved.to_yaml())
    if len(set(settled)) > 1:
        raise ConfigError(
            f"the processes of this {name} settled on different settings; start all with the same command and files."
        )


def finish(
    run: Run,
    ready: Prepared[Any],
    *,
    summary: str,
    numbers: Mapping[str, Any],
    samples: Sequence[Any] = (),
    verdicts: Sequence[Any] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write report.html and report.json (with `more` in it) and mark the run finished."""
    from ziggurat.evaluation.report import write_run_report

    if not writes():
        return
    report = write_run_report(
        run,
        summary=summary,
        numbers=dict(numbers),
        derived=[(d.name, d.value, d.why) for d in ready.derived],
        samples=samples if run.quotes else (),
        verdicts=verdicts,
    )
    run.finish({**report, **(more or {})})
