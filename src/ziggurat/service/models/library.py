"""Loads models by the names of their runs, each with its card."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakValueDictionary

from pydantic import TypeAdapter, ValidationError

from ziggurat.cards import Card, digest, read_card
from ziggurat.errors import DataError, UsageError
from ziggurat.home import ziggurat_home
from ziggurat.places import (
    find_run,
    holds_model,
    model_folder,
    models_home,
    runs_home,
    split_adapter,
    stage_runs,
)
from ziggurat.service.models.apart import apart
from ziggurat.service.models.shelf import AnyModel, Example, ModelCard, writes
from ziggurat.stages.stage import declared

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.dialogue.loading import LoadOptions
    from ziggurat.model.transformer import Transformer
    from ziggurat.models.embed import Embedder
    from ziggurat.stages.judge import Judge

EXAMPLES_FILE = "examples.json"
"""Questions to try, in the folder of a ladder: `[{"text", "lang", "kind"}, ...]`."""


def expand(names: Sequence[str]) -> list[str]:
    """Replace a ladder's name by the latest finished run of each declared stage that answers; other names stay."""
    expanded: list[str] = []
    for name in names:
        ladder = runs_home() / name
        if "/" in name or not ladder.is_dir() or holds_model(models_home() / name):
            expanded.append(name)
            continue
        runs = [stage_runs(name, stage) for stage, one in declared().items() if one.talks]
        ready = [[path for _, path in found if holds_model(path / "model")] for found in runs]
        latest = [f"{name}/{found[-1].name}" for found in ready if found]
        expanded.extend(latest or [name])
    return expanded


def run_name(folder: Path) -> str:
    """`my/ppo-2` or `smollm2` for a run or a model under $ZIGGURAT_HOME, the path for anything else."""
    for home in (runs_home(), models_home()):
        if folder.resolve().is_relative_to(home.resolve()):
            return folder.resolve().relative_to(home.resolve()).as_posix()
    return str(folder)


def split(text: str) -> tuple[str | None, str]:
    """`chat=my/ppo` is (chat, my/ppo); `my/ppo` is (None, my/ppo).

    Raises:
        UsageError: the name has characters other than letters, digits, `.`, `_` and `-`, or the run is missing.
    """
    name, equals, run = text.partition("=")
    if not equals or text.startswith(("/", "./", "../", "~")):
        return None, text
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or not run:
        raise UsageError(f"{text!r} is not a run; write RUN or NAME=RUN, for instance chat=my/ppo.")
    return name, run


def load(
    text: str, *, over: Chat | None = None, **options: Unpack[LoadOptions]
) -> tuple[ModelCard, AnyModel]:
    """Load one model, with its card. `over`: the loaded base of an adapter, whose weights it shares."""
    name, run = split(text)
    return apart(partial(_load, name, run, options, over))


def _load(
    name: str | None, run: str | Path, options: LoadOptions, over: Chat | None = None
) -> tuple[ModelCard, AnyModel]:
    from ziggurat.model.cpu.quantized import numerics
    from ziggurat.model.encoder import is_encoder
    from ziggurat.model.hub.load import is_scalar  # imports torch: only after the name is known

    folder = find_run(str(run))
    files = model_folder(folder)
    model: Chat | Judge | Embedder
    body: Transformer | None
    if over is not None:
        model = over.with_adapter(run)
        body, is_base = model.model, model.is_base
    elif is_encoder(files):
        from ziggurat.models.embed import Embedder

        model = Embedder.load(folder)
        body, is_base = None, False
    elif is_scalar(files):
        from ziggurat.stages.judge import Judge

        model = Judge.load(folder)
        body, is_base = model.model.body, False
    else:
        from ziggurat.dialogue.chat import Chat

        model = Chat.load(folder, **options)
        body, is_base = model.model, model.is_base
    shown, known = run_name(folder), read_card(files)
    if over is not None:
        shown = f"{run_name(find_run(over.name))}@{shown}"
    stage = str(_read_json(folder / "manifest.json").get("stage", ""))
    card = ModelCard(
        name=name or (str(run) if over is not None else shown if not shown.startswith("/") else folder.name),
        stage=stage,
        run=shown,
        parameters=model.parameters,
        context=model.context,
        is_base=is_base,
        description="" if stage or known is None else described(known),
        languages=known.languages if known is not None else (),
        licence=known.licence if known is not None else "",
        weights=digest(files),
        numerics="float32" if body is None else _numerics(numerics(body), options),
    )
    return card, model


def described(card: Card) -> str:
    """A model from elsewhere in a few sentences, from its card."""
    known = [f"{card.title or card.parent or card.source}.", *card.limits, f"Licence: {card.licence}."]
    return " ".join(sentence for sentence in known if sentence != ".")


def _numerics(computed: str, options: LoadOptions) -> str:
    """What sampled text depends on beside the weights and the seed."""
    fixed = ", batch invariant" if options.get("batch_invariant") else ""
    return computed + fixed + (f", guesses by {draft}" if (draft := options.get("draft")) else "")


class Library:
    """The run behind each served name, and how to load it again."""

    def __init__(self, **options: Unpack[LoadOptions]) -> None:
        self.options = options
        self._runs: dict[str, str] = {}  # as given: my/ppo is its latest run at the time of loading
        self._named: set[str] = set()  # names that were given with NAME=RUN
        self._bases: WeakValueDictionary[Path, Chat] = (
            WeakValueDictionary()
        )  # by folder; adapters stand over them

    def load(self, text: str) -> tuple[ModelCard, AnyModel]:
        """Load `[NAME=]RUN`, or `[NAME=]BASE@ADAPTER` over a base that is in memory once for all its adapters."""
        name, run = split(text)
        card, model = load(text, over=self._base(run), **self.options)
        self._keep(model)
        self._runs[card.name] = run
        if name or card.name != card.run:
            self._named.add(card.name)
        return card, model

    def _base(self, run: str) -> Chat | None:
        """The loaded base of BASE@ADAPTER, loaded now if it is not yet; None for any other run."""
        both = split_adapter(run)
        if both is None:
            return None
        folder = model_folder(both[0])
        known = self._bases.get(folder)
        if known is None:
            _, model = load(both[0], **self.options)
            if not writes(model):
                raise UsageError(
                    f"{both[0]} is not a language model; adapters are served over a language model."
                )
            known = model
            self._keep(known)
        return known

    def _keep(self, model: AnyModel) -> None:
        if writes(model) and model.model.adapter is None and model.model.source is not None:
            self._bases[model.model.source] = model

    def again(self, name: str, run: str | None = None) -> tuple[ModelCard, AnyModel]:
        """Load the next model of `name`: `run`, or the run that was given at first, looked up again.

        Raises:
            UsageError: the name is unknown, or it is the name of a run and `run` is another one.
            RunError: there is no such run.
        """
        if name not in self._runs:
            raise UsageError(f"{name[:200]} was not loaded from a run, so it cannot be loaded again.")
        wanted = self._runs[name] if run is None else _by_name(run)
        shown = _shown(wanted)
        if name not in self._named and shown != name:
            raise UsageError(
                f"{name} is the name of a run and cannot name {shown}; "
                f"give it another name, for instance `ziggurat serve chat={self._runs[name]}`."
            )
        card, model = apart(partial(_load, name, wanted, self.options, self._base(wanted)))
        self._keep(model)
        return card, model

    def stage(self, name: str, folder: Path) -> tuple[ModelCard, AnyModel]:
        """The model of a run, or one of its checkpoints, under the run's name."""
        card, model = apart(partial(_load, name, folder, self.options))
        self._keep(model)
        self._runs[name] = name
        return card, model

    def more(self, text: str) -> tuple[ModelCard, AnyModel]:
        """`load` for a request that comes while the server runs: names under $ZIGGURAT_HOME only, no paths."""
        _by_name(split(text)[1])
        return self.load(text)


def _shown(run: str) -> str:
    both = split_adapter(run)
    folders = [find_run(run)] if both is None else [find_run(both[0]), find_run(run)]
    return "@".join(map(run_name, folders))


def _by_name(run: str) -> str:
    """The name of a run under $ZIGGURAT_HOME, or of two as BASE@ADAPTER; a path is refused."""
    both = split_adapter(run)
    if all(_is_name(part) for part in ([run] if both is None else both)):
        return run
    raise UsageError(f"{run[:200]!r} is not the name of a run, such as my/ppo-2; paths are refused here.")


def _is_name(part: str) -> bool:
    pieces = part.split("/")
    if len(pieces) > 2 or not all(re.fullmatch(r"[\w-][\w.-]*", piece) for piece in pieces):
        return False
    return ziggurat_home().resolve() in find_run(part).resolve().parents


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def examples_beside(folders: Sequence[Path]) -> list[Example]:
    """The example questions of the first ladder that has them.

    Raises:
        DataError: its file is malformed.
    """
    for folder in folders:
        path = folder.parent / EXAMPLES_FILE
        if path.is_file():
            try:
                return TypeAdapter(list[Example]).validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(str(part) for part in first["loc"])
                raise DataError(f"{first['msg']}.", path=path, field=field) from None
    return []
