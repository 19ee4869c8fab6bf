"""The world of a person's own files: a folder that holds some of these, in any format that docs/data.md lists.

    documents.*        text for stage 1                 each may also be a folder of files of this name
    demonstrations.*   conversations for stage 2
    comparisons.*      ranked completions for stage 3
    prompts.*          questions for stage 4; without them PPO takes the prompts of the comparisons
    held-out.*         kept for the report: documents, demonstrations or comparisons, recognised by their content
    tokenizer/         a tokenizer to use

Where nothing of a kind is held out, a share is, chosen by the hash of the first question: a question never falls on
both sides, in whatever file it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ziggurat.console import err
from ziggurat.corpus.documents import read_documents
from ziggurat.corpus.load import gives, load_comparisons, load_demonstrations, load_prompts
from ziggurat.corpus.sniff import sniff
from ziggurat.corpus.split import first_question, split
from ziggurat.dialogue.chat import Chat
from ziggurat.errors import DataError, UsageError
from ziggurat.evaluation.saved_law import load_law
from ziggurat.home import portable
from ziggurat.ladder import sizes
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.plan import Work
from ziggurat.ladder.rankings import Rankings
from ziggurat.ladder.world import Options, Part, World, default_name, recipe_of
from ziggurat.lineage import data_entry
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import load_config
from ziggurat.places import find_run, model_folder
from ziggurat.records import Comparison, Demonstration, Document, Prompt, Record
from ziggurat.stages.setup import parent_run, split_held_out
from ziggurat.tokenizer.bpe import Tokenizer

R = TypeVar("R", bound=Record)
NAMES = ("documents", "demonstrations", "comparisons", "prompts", "held-out")
HELD_OUT_SHARE = 0.1
"""Of the questions."""
HELD_OUT_TEXT_SHARE = 0.03


@dataclass
class Data:
    """What the folder holds, learned from and held out."""

    documents: list[Document] = field(default_factory=list)
    held_documents: list[Document] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    held_demonstrations: list[Demonstration] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    held_comparisons: list[Comparison] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)


class FolderWorld(World):
    """A folder of files."""

    title = "The ladder on your own data"
    reserved_s = 20.0
    most = 1.0
    smallest = Work(
        pretrain_steps=1,
        sft_steps=1,
        rounds=1,
        prompts_to_rank=1,
        completions=2,
        ppo_steps=1,
        rollouts_per_step=16,
    )

    def __init__(self, options: Options) -> None:
        options.without("data")
        self.folder = Path(options.name).expanduser().resolve()
        base = options.base
        if options.scaling is not None:
            load_law(options.scaling)  # a misspelt name is an error before anything runs
            if base is not None:
                raise UsageError(
                    "--scaling chooses the size of a new model, and --base has one; leave one of them out."
                )
        if base is not None:
            found = find_run(base)
            base = base if Path(base).is_absolute() else portable(found)
        self.options = replace(options, name=str(self.folder), base=base)
        self.name = default_name(options)
        self.files = {name: sorted(_files_of(self.folder, name)) for name in NAMES}
        if not any(self.files.values()):
            raise DataError(
                f"holds none of {', '.join(f'{name}.*' for name in NAMES)}; name your files so.",
                path=self.folder,
            )
        entries = {name: [data_entry(file, 0) for file in found] for name, found in self.files.items()}
        hashes = [f"{name} {entry['sha256']}" for name, found in entries.items() for entry in found]
        self.fingerprint = hashlib.sha256("\n".join([*hashes, str(base)]).encode()).hexdigest()
        self.sources: dict[str, list[dict[str, Any]]] = {}
        self.data = Data()

    # --- what is there ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Read every file and hold a share out."""
        data, files = Data(), self.files
        for file in files["documents"]:
            data.documents += self._noted("documents", file, list(read_documents(file)))
        data.demonstrations = self._read("demonstrations", load_demonstrations)
        data.comparisons = self._read("comparisons", load_comparisons, "rankings")
        data.prompts = self._read("prompts", load_prompts)
        for file in files["held-out"]:
            self._read_held_out(file, data)
        _hold_out(data)
        for path in sorted(self.folder.iterdir()):
            if path.name.split(".")[0] not in (*NAMES, "tokenizer", ""):
                err.print(f"{path} is not used: its name is none of {', '.join(NAMES)}.")
        parts: dict[Part, Sequence[Any]] = {
            "documents": data.documents,
            "demonstrations": data.demonstrations,
            "rankings": data.comparisons,
            "prompts": data.prompts,
        }
        self.has = frozenset(part for part, found in parts.items() if found)
        if data.comparisons and not data.prompts:
            err.print("There are no prompts.*: PPO takes the prompts of the comparisons.")
        self.data = data
        self.lengths = self._sizes().lengths

    def _read(self, name: str, load: Callable[[Path], Any], part: str = "") -> list[Any]:
        found: list[Any] = []
        for file in self.files[name]:
            imported = load(file)
            found += self._noted(part or name, file, imported.records, imported.summary())
        return found

    def _read_held_out(self, file: Path, data: Data) -> None:
        kinds = gives(sniff(file))
        if "comparisons" in kinds:
            data.held_comparisons += self._noted("held_out_rankings", file, load_comparisons(file).records)
        elif "demonstrations" in kinds:
            data.held_demonstrations += self._noted(
                "held_out_demonstrations", file, load_demonstrations(file).records
            )
        else:
            data.held_documents += self._noted("held_out_documents", file, list(read_documents(file)))

    def _noted(self, part: str, file: Path, records: list[R], summary: str = "") -> list[R]:
        """Note the file for the manifests, and print what it holds."""
        self.sources.setdefault(part, []).append(data_entry(file, len(records)))
        err.print(f"{file}: {summary or f'{len(records):,} {_kind(records)}'}")
        return records

    # --- the plan -----------------------------------------------------------------------------------------------

    def recipe(self, budget_s: float) -> dict[str, Any]:
        recipe = recipe_of("ziggurat.ladder")
        foreign, found = recipe.pop("foreign"), self._sizes()
        if self.options.base is None:
            recipe["vocabulary"] = self._vocabulary(found)
            step_tokens = recipe["pretrain"]["batch_tokens"]
            law = load_law(self.options.scaling) if self.options.scaling else None
            config = sizes.new_shape(found, recipe["vocabulary"], step_tokens, budget_s, law)
            recipe["model"] = config.model_dump(
                include={"layers", "d_model", "heads", "kv_heads", "d_head", "d_ff", "context"}
            )
        elif parent_run(find_run(self.options.base)) is None:
            for stage, changes in foreign.items():
                recipe[stage] |= changes
        recipe["work"] = sizes.work(found, recipe)
        context = self.model_config(recipe).context
        recipe["pretrain"]["context"] = min(context, 256)
        longest = max(16, round(1.25 * found.long_completion))
        recipe["ppo"]["max_new_tokens"] = min(longest, max(1, context // 2))
        return recipe

    def model_config(self, recipe: Mapping[str, Any]) -> ModelConfig:
        if self.options.base is not None:
            return load_config(model_folder(self.options.base))
        return ModelConfig(**recipe["model"], vocab_size=recipe["vocabulary"])

    def _sizes(self) -> sizes.Sizes:
        data = self.data
        asked = data.prompts or [Prompt(prompt=one.prompt) for one in data.comparisons]
        return sizes.measure(
            data.documents, data.demonstrations, data.comparisons, asked, self._known_tokenizer()
        )

    def _vocabulary(self, found: sizes.Sizes) -> int:
        tokenizer = self._known_tokenizer()
        return sizes.vocabulary(found) if tokenizer is None else tokenizer.vocab_size

    def _known_tokenizer(self) -> Tokenizer | None:
        if self.options.base is not None:
            return Tokenizer.load(model_folder(self.options.base))
        own = self.folder / "tokenizer"
        return Tokenizer.load(own) if (own / "tokenizer.json").is_file() else None

    # --- the climb ----------------------------------------------------------------------------------------------

    def tokenizer(self, climb: Climb, documents: Sequence[Document]) -> Tokenizer | None:
        return self._known_tokenizer()

    def documents(self, climb: Climb) -> list[Document]:
        return self.data.documents

    def held_out_documents(self, climb: Climb) -> list[Document]:
        return self.data.held_documents

    def demonstrations(self, climb: Climb) -> list[Demonstration]:
        return self.data.demonstrations

    def held_out_demonstrations(self, climb: Climb) -> list[Demonstration]:
        return self.data.held_demonstrations

    def rank(self, climb: Climb, number: int, policy: Chat | None) -> Rankings:
        learned, held = self.data.comparisons, self.data.held_comparisons
        return Rankings([*learned, *held], [False] * len(learned) + [True] * len(held))

    def prompts(self, climb: Climb, number: int) -> list[Prompt]:
        return self.data.prompts


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    """NAME, NAME.*, and every file in a folder NAME."""
    for path in folder.iterdir():
        if path.name.split(".")[0] != name:
            continue
        inside = path.rglob("*") if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
                yield file


def _hold_out(data: Data) -> None:
    """Hold a share out of every kind of which nothing is held out yet."""
    if not data.held_documents:
        data.documents, data.held_documents = split_held_out(data.documents, HELD_OUT_TEXT_SHARE)
    if not data.held_demonstrations:
        data.demonstrations, data.held_demonstrations = split(
            data.demonstrations, lambda d: first_question(d.messages), HELD_OUT_SHARE
        )
    if not data.held_comparisons:
        data.comparisons, data.held_comparisons = split(
            data.comparisons, lambda one: first_question(one.prompt), HELD_OUT_SHARE
        )
    held = {first_question(one.prompt) for one in data.held_comparisons}
    held |= {first_question(one.messages) for one in data.held_demonstrations}
    data.prompts = [one for one in data.prompts if first_question(one.prompt) not in held] or data.prompts


def _kind(records: Sequence[Record]) -> str:
    kind = type(records[0]).__name__.lower() if records else "record"
    return kind if len(records) == 1 else kind + "s"
