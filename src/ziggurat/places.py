"""Run names to folders, folders to the model inside them, and folders to the run around them.

A run is named `<ladder>/<stage>-<n>` under $ZIGGURAT_HOME/runs; `<ladder>/<stage>` means its highest n. A model from
elsewhere has a name without a slash, under $ZIGGURAT_HOME/models. A command that takes a run also takes such a name,
and the path of a run folder, a checkpoint or a Hugging Face model folder.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from ziggurat.checkpoint_folders import torn_reason, whole_checkpoints
from ziggurat.console import err
from ziggurat.errors import RunError, did_you_mean
from ziggurat.home import HOME, located, ziggurat_home
from ziggurat.messages import Reasoning
from ziggurat.settings import load_yaml

ADAPTER_ORIGIN = "ziggurat_adapter.json"  # where its base is, and the hash of its weights
ADAPTER_CONFIG = "adapter_config.json"  # of a folder that holds an adapter instead of a whole model
FETCHABLE = ("smollm2", "minilm")
"""Models that `ziggurat models get` knows by these names."""
SHARDED_MODULE = "module.json"
"""In a checkpoint of several processes: what the shards of a module are of (`training.sharded_checkpoints`)."""
POLICY_FOLDERS = ("policy", "model")  # a checkpoint's folders of models that write, in this order


def runs_home() -> Path:
    return ziggurat_home() / "runs"


def models_home() -> Path:
    """Where models from elsewhere are kept (`ziggurat models`)."""
    return ziggurat_home() / "models"


def stage_runs(ladder: str, stage: str) -> list[tuple[int, Path]]:
    """The runs of one stage of a ladder as (n, folder), oldest first."""
    found = []
    for path in (runs_home() / ladder).glob(f"{stage}-*"):
        number = path.name[len(stage) + 1 :]
        if number.isdecimal() and path.is_dir():
            found.append((int(number), path))
    return sorted(found)


def ladder_folder(ladder: str) -> Path:
    """The folder of a ladder's runs. RunError for a name that leads out of $ZIGGURAT_HOME/runs."""
    if not re.fullmatch(r"[\w.-]+", ladder) or ladder.strip(".") == "":
        raise RunError(f'"{ladder}" cannot name a ladder; use letters, digits, ".", "-" and "_".')
    return runs_home() / ladder


def check_room(folder: Path, *, overwrite: bool) -> bool:
    """Whether a climb's folder is empty already. Raises RunError unless an earlier climb in it may be replaced."""
    if not folder.exists() or not any(folder.iterdir()):
        return True
    if not overwrite:
        raise RunError(
            f"{folder} holds an earlier climb; serve it with `ziggurat serve {folder.name}`, continue it with "
            "--resume, replace it with --overwrite, or give another --name."
        )
    if not (folder / "plan.json").is_file():
        raise RunError(
            f"{folder} has no plan.json, so it is not a climb and is not overwritten; give another --name."
        )
    return False


def make_room(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a climb's folder is empty. With `overwrite` an earlier climb is removed, and nothing else."""
    if not check_room(folder, overwrite=overwrite):
        shutil.rmtree(folder)


def next_run_path(ladder: str, stage: str) -> Path:
    """The folder for the next run of a stage: its number is one more than the highest."""
    folder = ladder_folder(ladder)
    numbers = [n for n, _ in stage_runs(ladder, stage)]
    return folder / f"{stage}-{max(numbers, default=0) + 1}"


def all_runs() -> list[Path]:
    """Every run folder under $ZIGGURAT_HOME/runs, by name."""
    return sorted(path.parent for path in runs_home().glob("*/*/manifest.json"))


def find_run(name: str) -> Path:
    """The folder of a run's name, of a model's from elsewhere, or of a path, which may begin with $ZIGGURAT_HOME.

    Raises:
        RunError: there is none.
    """
    text = str(name)
    if (both := split_adapter(text)) is not None:
        return _adapter_run(both[1], model_folder(both[0]))
    if text.startswith(("/", f"{HOME}/")):
        there = str(located(text))
        if text.startswith("/") and Path(there) != Path(text):
            err.print(f"{text} is gone; {there} is taken for it, as if $ZIGGURAT_HOME had been moved.")
        text = there
    if not text.startswith(("/", "./", "../", "~")):
        inside = runs_home() / text
        if text.count("/") >= 1 and inside.is_dir():
            return inside
        if "/" not in text and holds_model(models_home() / text):
            return models_home() / text
        ladder, slash, stage = text.partition("/")
        numbered = stage_runs(ladder, stage) if slash and stage else []
        if numbered:
            return numbered[-1][1]
        if text and inside.is_dir() and not Path(text).is_dir():
            known = ", ".join(f"{text}/{path.name}" for path in all_runs() if path.parent == inside)
            raise RunError(f'"{text}" is a ladder; name one of its runs: {known or "it has none yet"}.')
    path = Path(text).expanduser()
    if text and path.is_dir():
        return path
    names = [f"{p.parent.name}/{p.name}" for p in all_runs()]
    hint = did_you_mean(
        text, [*names, *(path.parent.name for path in models_home().glob("*/config.json"))]
    ) or (" `ziggurat runs list` shows all runs." if names else f" There are no runs in {runs_home()} yet.")
    if text in FETCHABLE:
        hint = f" `ziggurat models get {text}` fetches it."
    raise RunError(f'There is no run or folder "{text}".{hint}')


def split_adapter(name: str | Path) -> tuple[str, str] | None:
    """BASE@ADAPTER as its two names; None for any other name, and for a folder that is called so."""
    base, at, adapter = str(name).rpartition("@")
    return (base, adapter) if at and base and adapter and not Path(str(name)).expanduser().is_dir() else None


def base_named(name: str | Path) -> Path | None:
    """The model folder of BASE in BASE@ADAPTER; None for any other name."""
    both = split_adapter(name)
    return None if both is None else model_folder(both[0])


def _adapter_run(name: str, base: Path) -> Path:
    """A run or folder with an adapter; of a ladder's name, its newest run with one over `base`, else with any."""
    inside = runs_home() / name
    if "/" not in name and not name.startswith(("~", ".")) and inside.is_dir():
        found = [path for path in inside.iterdir() if (path / "model" / ADAPTER_CONFIG).is_file()]
        if found := [path for path in found if _is_over(path / "model", base)] or found:
            return max(found, key=lambda path: (path / "model" / ADAPTER_CONFIG).stat().st_mtime)
    folder = find_run(name)
    if not (model_folder(folder) / ADAPTER_CONFIG).is_file():
        raise RunError(f"{folder} is a whole model, not an adapter; name it without a base.")
    return folder


def _is_over(adapter: Path, base: Path) -> bool:
    """Whether an adapter's folder says that it was trained over the model in `base`."""
    origin = adapter / ADAPTER_ORIGIN
    try:
        known = json.loads(origin.read_text(encoding="utf-8")).get("base") if origin.is_file() else None
    except ValueError:
        return False  # whoever loads it says what is wrong
    return known is not None and located(known["path"]).resolve() == base.resolve()


def holds_model(folder: Path) -> bool:
    """Whether a folder has the files of a model, or of an adapter."""
    return any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG))


def run_around(base: Path) -> Path | None:
    """The run that `base` (a run folder, its model/ or a checkpoint in it) belongs to; None for a foreign folder."""
    for folder in (base, *list(base.parents)[:3]):
        if (folder / "manifest.json").is_file() and (folder / "config.yaml").is_file():
            return folder
    return None


def reasoning_of(base: Path) -> Reasoning:
    """What became of the reasoning in the data that the model in `base` learned from; "trained" where no run says."""
    run = run_around(base)
    found = load_yaml(run / "config.yaml").get("reasoning") if run else None
    return "hidden" if found == "hidden" else "shown" if found == "shown" else "trained"


def model_folder(name_or_path: str | Path) -> Path:
    """The folder with config.json (of an adapter: ADAPTER_CONFIG) of a run, a checkpoint or a Hugging Face folder.

    BASE@ADAPTER is the adapter's; that it belongs to this base is checked where it is loaded.

    Raises:
        RunError: there is no model yet, or the checkpoint is torn.
    """
    folder = find_run(str(name_or_path))
    for checkpoint in (folder, folder.parent):
        if checkpoint.parent.name == "checkpoints":
            reason = torn_reason(checkpoint)
            if reason:
                raise RunError(
                    f"{checkpoint} is a torn checkpoint ({reason}); use an earlier one, or resume the run."
                )
    for place in (folder, *(folder / inner for inner in POLICY_FOLDERS)):
        if holds_model(place):
            return place
        if (place / SHARDED_MODULE).is_file():
            raise RunError(
                f"{folder} is in shards; gather it with `ziggurat models export {folder} --to hf --out FOLDER`."
            )
    if (folder / "manifest.json").is_file():
        whole = whole_checkpoints(folder / "checkpoints")
        way = f", or name its checkpoint {whole[-1]}" if whole else ""
        raise RunError(f"{folder} is not finished and has no model yet; run it again with --resume{way}.")
    raise RunError(f"{folder} holds no model (no config.json); name a run or a Hugging Face model folder.")
