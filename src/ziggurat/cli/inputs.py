"""What the stage commands share: layers of configuration, run folders, data files with their lineage.

A run's manifest remembers each data file with the part it played (`role`), so `--resume` needs no other option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ziggurat.console import err, out
from ziggurat.errors import ConfigError, DataError, RunError, UsageError, did_you_mean
from ziggurat.files import check_folder, sha256_file
from ziggurat.lineage import data_entry
from ziggurat.places import find_run, next_run_path, runs_home
from ziggurat.records import Document, Notes, Record
from ziggurat.settings import Resolved, environment_sets, flatten, load_yaml, parse_sets
from ziggurat.stages.stage import Input, Stage, declared

R = TypeVar("R", bound=Record)


@dataclass
class Loaded(Generic[R]):
    """Records with the manifest's entries of the files that they came from."""

    records: list[R] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.records)


def documents(paths: Sequence[Path] | None, *, role: str = "data", skip: bool = False) -> Loaded[Document]:
    """Raw text from files and folders."""
    from ziggurat.corpus.documents import read_documents

    loaded: Loaded[Document] = Loaded()
    for file in _files(paths or []):
        notes = Notes()
        found = list(read_documents(file, skip_bad_rows=skip, notes=notes))
        loaded.records += found
        loaded.entries.append({**data_entry(file, len(found)), "role": role})
        characters = sum(len(d.text) for d in found)
        err.print(
            f"{file}: {len(found):,} document{'' if len(found) == 1 else 's'}, {characters:,} characters"
            f"{notes.summary()}"
        )
    return loaded


def records(
    paths: Sequence[Path] | None, load: Callable[..., Any], *, role: str = "data", skip: bool = False
) -> Loaded[Any]:
    """Records from files by one of `ziggurat.corpus.load`'s doors; each file's summary is told."""
    loaded: Loaded[Any] = Loaded()
    for file in paths or []:
        imported = load(file, skip_bad_rows=skip)
        loaded.records += imported.records
        loaded.entries.append({**data_entry(file, len(imported.records)), "role": role})
        err.print(f"{file}: {imported.summary()}")
    return loaded


@dataclass(frozen=True)
class Sources:
    """The data of one run: the files that the options name, else those that the run began with (`--resume`)."""

    path: Path
    stage: str
    skip: bool

    def load(
        self, item: Input, given: list[Path] | None, parent: str | None, resolved: Resolved[Any]
    ) -> Loaded[Any]:
        """One input of a stage. Text to mix in is the given one or that of the parent's lineage; where there is none,
        what to expect is printed."""
        files: Sequence[Path]
        if item.used_if:
            if float(flatten(resolved.config.model_dump())[item.used_if]) <= 0:
                return Loaded()
            files = given or began_with(self.path, item.role) or text_of_base(str(parent))
            if not files:
                err.print(
                    f"No stage-1 text is mixed in (none given, none in the lineage of {parent}): "
                    f"expect {item.without}."
                )
        else:
            files = self._files(given, item.role)
        if item.kind == "documents":
            return documents(files, role=item.role, skip=self.skip)
        from ziggurat.corpus import load

        return records(files, getattr(load, f"load_{item.kind}"), role=item.role, skip=self.skip)

    def _files(self, given: list[Path] | None, role: str) -> Sequence[Path]:
        files = given or began_with(self.path, role)
        return need_data(files, self.stage) if role == "data" else files


def run_path(out: Path | None, stage: str, *, ladder: str | None, base: str | None, resume: bool) -> Path:
    """The folder of the run: as given, or (with --resume) the ladder's newest of this stage, or its next."""
    if out is not None:
        check_folder(out)
        if resume and (out / "manifest.json").is_file():
            _need_stage(out, stage)
        return out
    ladder = ladder or (_ladder_of(base) if base else None) or "own"
    return find_run(f"{ladder}/{stage}") if resume else next_run_path(ladder, stage)


def layers(
    stage: str, recipe: str | None, sets: Sequence[str] | None, *, frozen: Path | None = None
) -> list[tuple[str, Mapping[str, Any]]]:
    """Recipe, environment and --set, in this order; a resumed run's frozen config.yaml comes before them."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    if frozen is not None and (frozen / "config.yaml").is_file():
        found.append(("the run", load_yaml(frozen / "config.yaml")))
    if recipe:
        found.append((f"recipe {recipe}", _section(load_yaml(recipe_file(recipe)), stage)))
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


def began_with(path: Path, role: str) -> list[Path]:
    """The files that a run began with in one role; each must still be what it was."""
    from ziggurat.runs import Run

    if not (path / "manifest.json").is_file():
        return []
    return _unchanged(Run.open(path).manifest.get("data") or [], role, aloud=True)


def text_of_base(base: str) -> list[Path]:
    """The stage-1 text at the root of a base's lineage, as far as the files are still there unchanged."""
    from ziggurat.stages.setup import parent_run

    run = parent_run(find_run(base))
    if run is None:
        return []
    manifest: Any = run.manifest
    from_text = {name for name, stage in declared().items() if stage.inputs[0].kind == "documents"}
    while isinstance(manifest, dict) and manifest.get("stage") not in from_text:
        manifest = manifest.get("parent")
    return _unchanged((manifest or {}).get("data") or [], "data", aloud=False)


def need_data(paths: Sequence[Path] | None, stage: str) -> Sequence[Path]:
    if not paths:
        raise UsageError(f"`ziggurat {stage}` needs --data FILE; `ziggurat {stage} --help` shows examples.")
    return paths


def models_of(stage: Stage, given: Mapping[str, Any], path: Path) -> dict[str, str | None]:
    """The models of a run: as the options name them, else those that the run in `path` began with (`--resume`)."""
    from ziggurat.runs import Run

    manifest = Run.open(path).manifest if (path / "manifest.json").is_file() else {}
    found: dict[str, str | None] = {}
    for model in stage.models:
        began = manifest.get(model.remembered) if given["resume"] and not model.in_config else None
        name = given[model.argument] or (str(began["path"]) if isinstance(began, dict) else None)
        if name is None and model.required:
            raise UsageError(
                f"`ziggurat {stage.name}` needs {model.options[0]} RUN. {model.help} "
                f"`ziggurat {stage.name} --help` shows examples."
            )
        found[model.argument] = name
    return found


def print_plan(stage: str, path: Path, ready: Any) -> None:
    """What --dry-run prints, on stdout: every setting with its source, every derived number with its formula, and the
    memory and time that the run needs. ConfigError if it needs more memory than is available."""
    from ziggurat.stages import setup

    setup.print_sources(ready.resolved, to=out)
    setup.print_derived(stage, ready.derived, to=out)
    cost = getattr(ready, "cost", None)  # a stage of another package need not estimate it
    if cost is not None:
        setup.print_derived("cost", setup.describe_cost(cost), to=out)
        setup.check_cost(stage, ready)
    out.print(f"Dry run: nothing was written; the run would be {path}.")


def print_done(path: Path) -> None:
    out.print(f"{path}")
    err.print(f"report: {path / 'report.html'}")


def _unchanged(entries: Sequence[Mapping[str, Any]], role: str, *, aloud: bool) -> list[Path]:
    kept = []
    for entry in entries:
        path = Path(str(entry.get("path", "")))
        if entry.get("role") != role:
            continue
        if path.is_file() and sha256_file(path) == entry.get("sha256"):
            kept.append(path)
        elif aloud:
            raise UsageError(
                f"{path} has changed or is gone since the run began; put it back or start a new run."
            )
    return kept


def _section(values: dict[str, Any], stage: str) -> Mapping[str, Any]:
    """A recipe may hold settings of several stages, each under the stage's name."""
    if not any(isinstance(values.get(name), dict) for name in declared()):
        return values
    section = values.get(stage) or {}
    return section if isinstance(section, dict) else {}


def _need_stage(path: Path, stage: str) -> None:
    from ziggurat.runs import Run

    found = Run.open(path).stage
    if found != stage:
        raise RunError(f"{path} is a run of {found}, not {stage}; resume it with `ziggurat {found}`.")


def _ladder_of(base: str) -> str | None:
    try:
        return find_run(base).resolve().relative_to(runs_home().resolve()).parts[0]
    except (ValueError, IndexError):
        return None


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not inside:
            raise DataError("the folder holds no file; name one that does.", path=path)
        yield from inside
