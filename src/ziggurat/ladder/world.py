"""What a climb needs from a world, and how worlds are found by name.

A world provides some or all of: documents (stage 1), demonstrations (stage 2), labellers or ready rankings (stage 3),
prompts (stage 4), a gold check and an exam. `has` lists the parts that are there; a stage whose part is missing is
left out. Subclass `World` and override what the world has. A package registers a world as an entry point:

    [project.entry-points."ziggurat.worlds"]
    harbour = "my_package.harbour:open_world"       # open_world(Options) -> World

    ziggurat ladder --world harbour
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ziggurat.errors import UsageError
from ziggurat.extensions import Extension, installed
from ziggurat.ladder.plan import SMALLEST, STAGES, TOWN_LENGTHS, Lengths, Work
from ziggurat.yaml_text import parse_yaml

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.ladder.climb import Climb
    from ziggurat.ladder.rankings import Rankings
    from ziggurat.ladder.report import Exam
    from ziggurat.model.config import ModelConfig
    from ziggurat.records import Demonstration, Document, Prompt
    from ziggurat.stages.ppo import Gold
    from ziggurat.tokenizer.bpe import Tokenizer

GROUP = "ziggurat.worlds"
Part = Literal["documents", "demonstrations", "labellers", "rankings", "prompts"]
"""`labellers` rank completions of the policy; `rankings` are there already."""


@dataclass(frozen=True)
class Options:
    """How the commands choose a world; kept in plan.json, so that --resume opens the same one."""

    name: str
    """A world's name, or the path of a folder."""
    data: str | None = None
    """--data: a file or folder that the world reads."""
    town: int = 1
    """--town: the seed of a generated world."""
    base: str | None = None
    """--base: a model to start from."""
    scaling: str | None = None
    """--scaling: the series of `ziggurat scaling` whose law chooses the size of a new model."""

    def without(self, *unused: str) -> None:
        """Refuse options that this world does not use."""
        for option in unused:
            if getattr(self, option) is not None:
                raise UsageError(f'--{option} is not used by the world "{self.name}"; leave it out.')


def recipe_of(package: str) -> dict[str, Any]:
    """The settings in the `recipe.yaml` of a package."""
    recipe: dict[str, Any] = parse_yaml(files(package).joinpath("recipe.yaml").read_text(encoding="utf-8"))
    return recipe


class World(Protocol):
    """The parts of a world. Every method receives the climb: its plan (`work`, `seed`, `recipe`) and its runs."""

    options: Options
    name: str
    """The default name of a climb's folder."""
    title: str = "The ladder"
    subtitle: str = "four stages, from text to a chat model"
    has: frozenset[Part] = frozenset({"documents", "demonstrations", "labellers", "prompts"})
    has_controls: bool = False
    fingerprint: str = ""
    """Changes with the data; a climb is resumed only with the same one."""

    # --- the plan
    lengths: Lengths = TOWN_LENGTHS
    reserved_s: float = 0.0
    """Seconds of the budget that the stages do not get: reading data, exam, report."""
    smallest: Work = SMALLEST
    most: float = 64.0
    """The largest factor by which the recipe's amounts may grow with the budget."""

    # --- files
    documents_file: str = "documents.jsonl"
    text_limit: int | None = None
    """At most so many documents are mixed into stage 2; None: all."""
    sources: Mapping[str, list[dict[str, Any]]] = {}
    """Manifest entries of a person's own files, by part; a climb copies no data that has such an entry."""

    def check(self) -> None:
        """Read what the plan depends on. Raises DataError or UsageError where the data are of no use."""
        return

    def recipe(self, budget_s: float) -> dict[str, Any]:
        """The settings of all stages with the reference amounts (`work`)."""
        ...

    def model_config(self, recipe: Mapping[str, Any]) -> ModelConfig:
        """The shape of the model that is trained."""
        ...

    def tokenizer(self, climb: Climb, documents: Sequence[Document]) -> Tokenizer | None:
        """None: stage 1 trains one as the recipe says, or takes that of the base."""
        return None

    def documents(self, climb: Climb) -> list[Document]:
        return []

    def held_out_documents(self, climb: Climb) -> list[Document]:
        return []

    def demonstrations(self, climb: Climb) -> list[Demonstration]:
        return []

    def held_out_demonstrations(self, climb: Climb) -> list[Demonstration] | None:
        """None: stage 2 splits a share off."""
        return None

    def rank(self, climb: Climb, number: int, policy: Chat | None) -> Rankings | None:
        """The comparisons of round `number` (from 1). `policy` is None where the world brings its rankings."""
        return None

    def prompts(self, climb: Climb, number: int) -> list[Prompt]:
        """Prompts of PPO in round `number`; empty: those of the rankings."""
        return []

    def gold(self, climb: Climb) -> Gold | None:
        """A check of the policy that chooses PPO's checkpoint and is never the reward."""
        return None

    def exam(self, climb: Climb) -> Exam | None:
        """None: the figures on held-out data (`held_out.py`)."""
        return None

    def controls(self, climb: Climb, exam: Exam) -> Exam:
        """The exam with other uses of PPO's time beside it, where `has_controls`."""
        return exam

    def need_controls(self) -> None:
        """Raise UsageError where the world has no controls."""
        if not self.has_controls:
            raise UsageError(f'The world "{self.name}" has no controls; leave out --controls.')


WorldFactory = Callable[[Options], World]


def left_out(world: World) -> dict[str, str]:
    """The stages that this world cannot climb, each with the reason. Raises UsageError where nothing can be trained."""
    base, has = world.options.base, world.has
    reasons = {}
    if "documents" not in has:
        if base is None:
            raise UsageError(
                f'The world "{world.options.name}" has no documents, so stage 1 cannot train a model; add documents or '
                "name a model to start from with --base."
            )
        reasons["pretrain"] = f"there are no documents; the climb starts from {base}"
    if "demonstrations" not in has:
        reasons["sft"] = "there are no demonstrations"
    if not has & {"rankings", "labellers"}:
        reasons |= dict.fromkeys(("sample", "reward", "ppo"), "there are no rankings")
    elif "sft" in reasons and base is None:
        why = "no stage trains a model that answers; add demonstrations or name one with --base"
        reasons |= dict.fromkeys(("sample", "reward", "ppo"), why)
    elif "labellers" not in has:
        reasons["sample"] = "the rankings are given"
    return reasons


def stages_of(world: World) -> tuple[str, ...]:
    """The stages that this world climbs."""
    return tuple(stage for stage in STAGES if stage not in left_out(world))


def default_name(options: Options) -> str:
    """The name of a climb's folder before its world is opened."""
    known = {"verse": "poet"}.get(options.name)
    return known or re.sub(r"[^\w.-]+", "-", Path(options.name).expanduser().resolve().name)


def installed_worlds() -> dict[str, WorldFactory]:
    """The worlds of installed packages, by name; each is imported when it is opened."""

    def opener(extension: Extension) -> WorldFactory:
        def opened(options: Options) -> World:
            factory = extension.load()
            if not callable(factory):
                raise extension.error(
                    f"names a {type(factory).__name__}, not a function from Options to a World"
                )
            world: World = factory(options)
            return world

        return opened

    return {name: opener(extension) for name, extension in installed(GROUP).items()}


def open_world(options: Options, built_in: Mapping[str, WorldFactory]) -> World:
    """The world of this name, else the folder of this path. A built-in name wins over an installed one."""
    from ziggurat.ladder.folder import FolderWorld

    known = {**installed_worlds(), **built_in}
    if options.name in known:
        return known[options.name](options)
    if Path(options.name).expanduser().is_dir():
        return FolderWorld(options)
    raise UsageError(
        f'--world "{options.name}" is neither a folder nor a known world; known are {", ".join(sorted(known))}.'
    )
