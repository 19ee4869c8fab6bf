"""From what a person asks of a stage to one call of its functions; the commands and `ziggurat.api` begin here.

    Order       the stage, its models, its data, its settings
    assemble    models found, settings resolved, data loaded -> a Call
    Call        prepare() for a dry run, run() for the run

A run's manifest keeps each data file with its role and each model, so a resumed run needs neither again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.corpus.files import Loaded, load_kind
from ziggurat.errors import ConfigError, RunError, UsageError, did_you_mean
from ziggurat.files import check_folder, sha256_file
from ziggurat.home import HOME, located
from ziggurat.lineage import parent_entry
from ziggurat.places import find_run, model_folder, next_run_path, runs_home
from ziggurat.processes import processes
from ziggurat.records import Record
from ziggurat.runs import Run
from ziggurat.settings import Resolved, environment_sets, flatten, load_yaml, parse_sets
from ziggurat.stages.setup import freeze, memory_entry, parent_run
from ziggurat.stages.stage import Input, Stage, declared

GOLD_PROMPTS = 64
"""So many of the prompts are used for the gold check where it has none of its own."""

Layers = list[tuple[str, Mapping[str, Any]]]
"""(where they come from, settings), weakest first."""
Data = Sequence[Path] | Sequence[Record]


@dataclass(frozen=True)
class Order:
    """What a person asks of a stage."""

    stage: Stage
    models: Mapping[str, str | None] = field(default_factory=dict)
    """By `Model.argument`: a run, a model folder, or None."""
    data: Mapping[str, Data | None] = field(default_factory=dict)
    """By `Input.argument`: files or records; None or nothing where they are not given."""
    settings: Layers = field(default_factory=list)
    gold: str | None = None
    """A second reward model for the gold check."""
    gold_prompts: Data | None = None
    resume: bool = False
    overwrite: bool = False
    skip_bad_rows: bool = False

    @property
    def base(self) -> str | None:
        """The model that the run starts from, where it is given."""
        return self.models.get(self.stage.models[0].argument)


@dataclass(frozen=True)
class Call:
    """The functions of a stage with their arguments."""

    order: Order
    path: Path
    """The run's folder."""
    resolved: Resolved[Any]
    models: list[str]
    records: list[Any]
    named: dict[str, Any]

    def prepare(self) -> Any:
        """Check everything and derive every number; nothing is written."""
        return self.order.stage.function("prepare")(self.resolved, *self.models, self.records, **self.named)

    def run(self) -> Path:
        """Run the stage; returns the run's folder."""
        order, named = self.order, dict(self.named)
        if order.stage.gold:
            named["gold"] = _gold_check(order, self.records)
        run = order.stage.function("run")
        return Path(
            run(
                self.resolved,
                *self.models,
                self.records,
                self.path,
                **named,
                resume=order.resume,
                overwrite=order.overwrite,
            )
        )


def assemble(order: Order, path: Path, *, began: Path | None = None) -> Call:
    """Find the models, resolve the settings and load the data of the run in `path`.

    began: the run whose manifest names models and data that a resumed run is not given; default: `path`.
    Raises ConfigError, DataError, RunError, UsageError.
    """
    stage, began = order.stage, began or path
    models = find_models(order, began)
    parent = models[stage.models[0].argument]
    frozen: Layers = []
    if order.resume and (began / "config.yaml").is_file():
        frozen = [("the run", load_yaml(began / "config.yaml"))]
    resolved = stage.function("configure")(parent, *frozen, *order.settings)
    if order.skip_bad_rows and hasattr(resolved.config, "skip_bad_rows"):
        resolved = freeze(resolved, {"skip_bad_rows": True}, "--skip-bad-rows")
    if order.gold is not None:
        model_folder(order.gold)  # a misspelt name is an error before anything runs
    loaded = {item.argument: _load(order, item, began, parent, resolved) for item in stage.inputs}
    first, *further = stage.inputs
    named: dict[str, Any] = {
        m.argument: models[m.argument] for m in stage.models if not m.required and not m.in_config
    }
    for item in further:
        found = loaded[item.argument]
        named[item.argument] = None if item.none_if_missing and not found else found.records
    named["data"] = [entry for one in loaded.values() for entry in one.entries]
    required = [str(models[m.argument]) for m in stage.models if m.required and not m.in_config]
    return Call(order, path, resolved, required, loaded[first.argument].records, named)


# --- the run's folder ------------------------------------------------------------------------------------------------


def run_path(out: Path | None, stage: str, *, ladder: str | None, base: str | None, resume: bool) -> Path:
    """The folder of the run: as given, or (to resume) the ladder's newest of this stage, or its next."""
    if out is not None:
        check_folder(out)
        if resume and (out / "manifest.json").is_file():
            _need_stage(out, stage)
        return out
    if processes() > 1:
        raise UsageError("several processes need one folder: name it with --out.")
    ladder = ladder or ladder_of(base)
    return find_run(f"{ladder}/{stage}") if resume else next_run_path(ladder, stage)


def ladder_of(base: str | None) -> str:
    """The ladder that a run starting from `base` belongs to; "own" where the base is not in one."""
    if base is not None:
        try:
            return find_run(base).resolve().relative_to(runs_home().resolve()).parts[0]
        except (ValueError, IndexError):
            pass
    return "own"


def _need_stage(path: Path, stage: str) -> None:
    found = Run.open(path).stage
    if found != stage:
        raise RunError(f"{path} is a run of {found}, not {stage}; resume it with `ziggurat {found}`.")


# --- settings --------------------------------------------------------------------------------------------------------


def layers(stage: str, recipe: str | Path | None, sets: Sequence[str] | None) -> Layers:
    """Recipe, environment and --set, in this order. Raises ConfigError."""
    found: Layers = []
    if recipe:
        found.append((f"recipe {recipe}", _section(load_yaml(recipe_file(str(recipe))), stage)))
    for name, values in (("environment", environment_sets()), ("--set", parse_sets(sets or []))):
        if values:
            found.append((name, values))
    return found


def recipe_file(name: str) -> Path:
    """A path, or the name of a file in recipes/ (of this folder, or beside the package)."""
    given = Path(name).expanduser()
    if given.is_file():
        return given
    folders = [
        Path("recipes"),
        Path(__file__).resolve().parents[3] / "recipes",
        Path(__file__).parents[1] / "recipes",
    ]
    known = {p.stem: p for folder in reversed(folders) for p in sorted(folder.glob("*.yaml"))}
    if name in known:
        return known[name]
    hint = did_you_mean(name, known) or (f" There are {', '.join(sorted(known))}." if known else "")
    raise ConfigError(f'There is no recipe or file "{name}".{hint}')


def _section(values: dict[str, Any], stage: str) -> Mapping[str, Any]:
    """A recipe may hold settings of several stages, each under the stage's name."""
    if not any(isinstance(values.get(name), dict) for name in declared()):
        return values
    section = values.get(stage) or {}
    return section if isinstance(section, dict) else {}


# --- models and data -------------------------------------------------------------------------------------------------


def find_models(order: Order, began: Path) -> dict[str, str | None]:
    """The models of a run: as given, else (to resume) those that the run in `began` has."""
    manifest = Run.open(began).manifest if (began / "manifest.json").is_file() else {}
    found: dict[str, str | None] = {}
    for model in order.stage.models:
        kept = manifest.get(model.remembered) if order.resume and not model.in_config else None
        name = order.models.get(model.argument) or (_model_of(kept) if isinstance(kept, dict) else None)
        if name is None and model.required:
            raise UsageError(
                f"`ziggurat {order.stage.name}` needs {model.options[0]} RUN ({model.argument}= in Python). "
                f"{model.help} `ziggurat {order.stage.name} --help` shows examples."
            )
        found[model.argument] = name
    return found


def _model_of(kept: Mapping[str, Any]) -> str:
    """The folder of a model in a manifest. Raises UsageError where it is gone and another one is in its place."""
    written, folder = str(kept["path"]), located(str(kept["path"]))
    moved, weights = str(folder) != written and not written.startswith(HOME), kept.get("weights_sha256")
    if moved and weights and parent_entry(folder).get("weights_sha256") != weights:
        raise UsageError(f"{written}, with which the run began, is gone; {folder} holds another model.")
    return str(folder)


def _load(order: Order, item: Input, began: Path, parent: str | None, resolved: Resolved[Any]) -> Loaded[Any]:
    """One input of a stage: what is given, else the files that the run in `began` has.

    Text to mix in is the given one or that of the parent's lineage; where there is none, what to expect is printed.
    """
    given = list(order.data.get(item.argument) or [])
    if item.used_if and float(flatten(resolved.config.model_dump())[item.used_if]) <= 0:
        return Loaded()
    if any(isinstance(one, Record) for one in given):
        return _in_memory(item, given)
    files = [one for one in given if isinstance(one, Path)] or _began_with(began, item.role)
    if item.used_if:
        files = files or text_of_base(str(parent))
        if not files:
            err.print(
                f"No stage-1 text is mixed in (none given, none in the lineage of {parent}): "
                f"expect {item.without}."
            )
    elif item.role == "data":
        need_data(files, order.stage.name)
    return load_kind(item.kind, files, role=item.role, skip=order.skip_bad_rows)


def _in_memory(item: Input, given: Sequence[Any]) -> Loaded[Any]:
    """Records that come from no file; their hash stands for the file in the manifest."""
    if odd := [one for one in given if not isinstance(one, Record)]:
        raise UsageError(
            f"{item.argument} holds records and a {type(odd[0]).__name__}; give either files or records."
        )
    return Loaded(list(given), [{**memory_entry(item.argument, given), "role": item.role}])


def need_data(paths: Sequence[Path] | None, stage: str) -> Sequence[Path]:
    """The files. Raises UsageError where there are none."""
    if not paths:
        raise UsageError(f"`ziggurat {stage}` needs --data FILE; `ziggurat {stage} --help` shows examples.")
    return paths


def _began_with(path: Path, role: str) -> list[Path]:
    """The files that a run began with in one role. Raises UsageError where one of them has changed."""
    if not (path / "manifest.json").is_file():
        return []
    return _unchanged(Run.open(path).manifest.get("data") or [], role, aloud=True)


def text_of_base(base: str) -> list[Path]:
    """The stage-1 text at the root of a base's lineage, as far as the files are still there unchanged."""
    run = parent_run(find_run(base))
    if run is None:
        return []
    manifest: Any = run.manifest
    from_text = {name for name, stage in declared().items() if stage.inputs[0].kind == "documents"}
    while isinstance(manifest, dict) and manifest.get("stage") not in from_text:
        manifest = manifest.get("parent")
    return _unchanged((manifest or {}).get("data") or [], "data", aloud=False)


def _unchanged(entries: Sequence[Mapping[str, Any]], role: str, *, aloud: bool) -> list[Path]:
    kept = []
    for entry in entries:
        path = located(str(entry.get("path", "")))
        if entry.get("role") != role:
            continue
        if path.is_file() and sha256_file(path) == entry.get("sha256"):
            kept.append(path)
        elif aloud and not path.is_absolute():  # `setup.memory_entry`
            raise UsageError(
                f"the run began with {path} that came from no file; give the same records again."
            )
        elif aloud:
            raise UsageError(
                f"{path} has changed or is gone since the run began; put it back or start a new run."
            )
    return kept


def _gold_check(order: Order, prompts: list[Any]) -> Any:
    """A second reward model as the gold check, on its own prompts or on some of those that are learned from."""
    if order.gold is None:
        return None
    from ziggurat.stages.reward import gold_from_reward_model

    given = list(order.gold_prompts or [])
    files = [one for one in given if isinstance(one, Path)]
    own: list[Any] = (
        load_kind("prompts", files, role="gold_prompts", skip=order.skip_bad_rows).records if files else given
    )
    return gold_from_reward_model(order.gold, [p.prompt for p in own or prompts[:GOLD_PROMPTS]])
