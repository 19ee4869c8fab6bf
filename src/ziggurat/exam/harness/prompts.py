"""From a document to a prompt: templates, worked examples and their draw, as lm-evaluation-harness 0.4.13 does them.

A setting that is the name of a field gives the field, anything else is Jinja. Jinja runs in a sandbox here. The harness
draws examples with one generator a task, document after document, so they depend on the order of documents.
Source: `api/task.py` (`ConfigurableTask`), `api/samplers.py`, `config/task.py`.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ziggurat.errors import DataError, UsageError, did_you_mean
from ziggurat.exam.harness.docs import Doc, Docs, read_splits
from ziggurat.exam.harness.files import Function, Settings
from ziggurat.exam.harness.scoring import AVERAGES, FILTERS, METRICS

SEED = 1234
"""The harness's own for drawing examples."""
MAX_GEN_TOKENS = 256
READ = frozenset(
    {
        "task", "dataset_path", "dataset_kwargs", "training_split", "validation_split", "test_split", "fewshot_split",
        "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "process_results", "description",
        "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list", "output_type",
        "generation_kwargs", "repeats", "filter_list", "gen_prefix",
    }
)  # fmt: skip
UNUSED = frozenset(
    {
        "task_alias", "tag", "group", "task_list", "dataset_name", "metadata", "should_decontaminate",
        "doc_to_decontamination_query", "unsafe_code",
    }
)  # fmt: skip
"""Settings that change no figure here: names, and what only a download reads."""
LEFT_OUT = {
    "class": "is Python, not YAML",
    "custom_dataset": "makes its documents in Python",
    "doc_to_audio": "shows sound",
    "doc_to_image": "shows images",
    "use_prompt": "takes prompts from promptsource",
}


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = lambda text, pattern, repl, count=0: re.sub(
        pattern, repl, text, count=count
    )
    return environment


@lru_cache(256)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


class HarnessTask:
    """One task file with its documents."""

    def __init__(self, settings: Settings, folder: Path, *, trust_code: bool = False) -> None:
        """UsageError for a setting that is not read here, or Python that is not trusted."""
        self.name = str(settings["task"])
        self.settings = _checked(settings, self.name, trust_code)
        self.output: str = self.settings.get("output_type", "generate_until")
        self.folder = folder
        self.splits = read_splits(self.settings, folder)
        self.docs = self._split(
            self.settings.get("test_split") or self.settings.get("validation_split"), own=True
        )
        self.fields = frozenset(self.docs[0]) if self.docs else frozenset()
        self.shown = self._shown_settings()
        self.many = isinstance(self.target(self.docs[0]), list)

    # --- settings ----------------------------------------------------------------------------------------------

    def _shown_settings(self) -> Settings:
        """What formats worked examples: the task's settings, those of `fewshot_config` before them."""
        names = ("process_docs", "fewshot_delimiter", "target_delimiter", "gen_prefix", "doc_to_text")
        inherited = {name: self.settings.get(name) for name in (*names, "doc_to_choice", "doc_to_target")}
        return (
            inherited
            | {"split": self.settings.get("fewshot_split")}
            | (self.settings.get("fewshot_config") or {})
        )

    @property
    def delimiter(self) -> str:
        return str(self.settings.get("target_delimiter", " "))

    @property
    def metrics(self) -> list[Mapping[str, Any]]:
        given = self.settings.get("metric_list")
        names = ("acc", "acc_norm") if self.output == "multiple_choice" else METRICS[self.output]
        return given if given is not None else [{"metric": name} for name in names]

    @property
    def filters(self) -> list[Mapping[str, Any]]:
        given: list[Mapping[str, Any]] | None = self.settings.get("filter_list")
        return given or [{"name": "none", "filter": [{"function": "take_first"}]}]

    @property
    def generation(self) -> Settings:
        """`generation_kwargs` with the harness's defaults."""
        between = self.settings.get("fewshot_delimiter", "\n\n")
        given = dict(self.settings.get("generation_kwargs") or {"max_gen_toks": MAX_GEN_TOKENS})
        given.setdefault("until", [between])
        return given

    def shots(self, asked: int | None) -> int:
        """How many examples: as `asked`, unless the file says 0."""
        own = self.settings.get("num_fewshot")
        return int((own or 0) if asked is None or own == 0 else asked)

    # --- documents -----------------------------------------------------------------------------------------------

    def _split(self, name: str | None, *, own: bool = False, process: Any = None) -> Docs:
        if name is None or name not in self.splits:
            known = ", ".join(self.splits)
            raise UsageError(
                f"the task {self.name} reads the split {name}, and data_files names {known}; add it."
            )
        process = self.settings.get("process_docs") if own else process
        docs = self.splits[name]
        return Docs(process(docs)) if process is not None else docs

    def _pool(self) -> Sequence[Doc]:
        """What worked examples are drawn from."""
        if (split := self.shown.get("split")) is not None:
            return self._split(split, process=self.shown["process_docs"])
        samples = self.shown.get("samples")
        if samples is not None:
            found: Sequence[Doc] = samples() if callable(samples) else samples
            return found
        for name in ("training_split", "validation_split"):
            if self.settings.get(name) is not None:
                return self._split(self.settings[name], own=True)
        return self.docs

    # --- a document's fields -----------------------------------------------------------------------------------

    def _fill(self, template: str, doc: Doc) -> str:
        try:
            return _compiled(template).render(**doc)
        except Exception as error:  # an expression may raise anything
            raise DataError(
                f"the task {self.name}: the template {template!r:.60} cannot be filled in "
                f"({type(error).__name__}: {error}); correct the task file or the document.",
                path=self.folder,
            ) from None

    def _value(self, setting: Any, doc: Doc) -> Any:
        """A function's result, a field, or filled-in Jinja; anything else as it is."""
        if callable(setting):
            return setting(doc)
        if not isinstance(setting, str):
            return setting
        return doc[setting] if setting in self.fields else self._fill(setting, doc)

    def text(self, doc: Doc, setting: Any = None) -> str:
        found = self._value(self.settings.get("doc_to_text") if setting is None else setting, doc)
        digits = isinstance(found, str) and found.isdigit() and self.settings.get("doc_to_choice") is not None
        if not isinstance(found, str) or digits:
            raise UsageError(
                f"the task {self.name} has a prompt for each choice (doc_to_text is a number), which is not read here."
            )
        return found

    def target(self, doc: Doc, setting: Any = None) -> Any:
        setting = self.settings.get("doc_to_target") if setting is None else setting
        found = self._value(setting, doc)
        if not isinstance(setting, str) or setting in self.fields:
            return found
        if found.isdigit() and self.settings.get("doc_to_choice") is not None:
            return ast.literal_eval(found)
        if len(found) >= 2 and found[0] == "[" and found[-1] == "]":
            try:
                return ast.literal_eval(found)
            except (SyntaxError, ValueError):
                return found
        return found

    def choices(self, doc: Doc, setting: Any = None) -> list[str]:
        setting = self.settings.get("doc_to_choice") if setting is None else setting
        found = self._value(setting, doc)
        if isinstance(setting, str) and setting not in self.fields:
            found = ast.literal_eval(found)
        return list(found.values()) if isinstance(found, Mapping) else list(found)

    # --- prompts ----------------------------------------------------------------------------------------------------

    def prompts(self, shots: int, limit: int | None, seed: int = 0) -> list[tuple[Doc, str]]:
        """Every document that is asked, and its prompt."""
        draw = _Draw(self._pool(), str(self.shown.get("sampler", "default")), SEED + seed, self.name)
        apart = self.shown.get("split") == self.settings.get("test_split")
        found = []
        for doc in self.docs[:limit]:
            shown = draw.take(shots, doc if apart else None) if shots else []
            found.append((doc, self._prompt(doc, shown)))
        return found

    def _prompt(self, doc: Doc, shown: Sequence[Doc]) -> str:
        description = self.settings.get("description") or ""
        parts = (
            [doc[description] if description in doc else self._fill(description, doc)] if description else []
        )
        parts += [self._example(each) for each in shown]
        parts.append(self._begun(self.text(doc), self._prefix(doc, self.settings), self.delimiter))
        return "".join(parts)

    def _prefix(self, doc: Doc, settings: Settings) -> str:
        written = settings.get("gen_prefix")
        return "" if written is None else str(self._value(written, doc))

    @staticmethod
    def _begun(question: str, prefix: str, delimiter: str) -> str:
        """A question and what its answer begins with."""
        if not prefix:
            return question
        apart = question and not (question[-1].isspace() or prefix[0].isspace())
        return question + (delimiter if apart else "") + prefix

    def _example(self, doc: Doc) -> str:
        shown = self.shown
        question, target = self.text(doc, shown["doc_to_text"]), self.target(doc, shown["doc_to_target"])
        if isinstance(target, list):
            target = target[0]
        elif shown["doc_to_choice"] is not None and isinstance(target, int):
            target = self.choices(doc, shown["doc_to_choice"])[target]
        if not isinstance(target, str):
            raise UsageError(f"the task {self.name} shows an example whose answer is {target!r}, not a text.")
        prefix, between = self._prefix(doc, shown), shown["target_delimiter"]
        if prefix:
            question = self._begun(question, prefix, " " if between is None else between)
            between = "" if prefix[-1].isspace() or target[:1].isspace() else " "
        after = shown["fewshot_delimiter"]
        return (
            question + (" " if between is None else between) + target + ("\n\n" if after is None else after)
        )


class _Draw:
    """Worked examples: drawn by one generator, or the first of the pool."""

    def __init__(self, pool: Sequence[Doc], sampler: str, seed: int, name: str) -> None:
        if sampler not in ("default", "first_n"):
            raise UsageError(
                f"the task {name} has the sampler {sampler!r}; default and first_n are read here."
            )
        self.pool, self.first, self.random, self.name = (
            list(pool),
            sampler == "first_n",
            random.Random(seed),
            name,
        )

    def take(self, count: int, asked: Doc | None) -> list[Doc]:
        """`count` documents, none of them equal to the one that is asked, where that is given."""
        if len([doc for doc in self.pool if doc != asked]) < count:
            raise UsageError(
                f"the task {self.name} shows {count} examples and has {len(self.pool)}; ask for fewer (--shots)."
            )
        if self.first:
            return [doc for doc in self.pool if doc != asked][:count]
        drawn = self.random.sample(self.pool, count + (asked is not None))
        found = [doc for doc in drawn if doc != asked][:count]
        if len(found) < count:  # several equal ones were drawn
            found = self.random.sample([doc for doc in self.pool if doc != asked], count)
        return found


def _checked(settings: Settings, name: str, trust_code: bool) -> Settings:
    """The settings with their functions imported, after a look at what is not read here."""
    for key in settings:
        if key in LEFT_OUT and settings[key] is not None:
            raise UsageError(f"the task {name} has {key}, which {LEFT_OUT[key]}; that is not read here.")
        if key not in READ | UNUSED | LEFT_OUT.keys():
            raise UsageError(f"the task {name} has the unknown setting {key}.{did_you_mean(key, READ)}")
    output = settings.get("output_type", "generate_until")
    if output not in METRICS:
        raise UsageError(f"the task {name} has output_type {output}; {', '.join(METRICS)} are read here.")
    found: Settings = _with_functions(settings, name, trust_code)
    if found.get("process_results") is None:
        for metric in found.get("metric_list") or []:
            average = metric.get("aggregation", "mean")
            if metric["metric"] not in METRICS[output] or average not in AVERAGES:
                raise UsageError(
                    f"the task {name} has the metric {metric['metric']} with aggregation {average}; for {output} "
                    f"{', '.join(METRICS[output])} are read here, with {', '.join(AVERAGES)}."
                )
    for pipeline in found.get("filter_list") or []:
        for step in pipeline["filter"]:
            if step["function"] not in FILTERS:
                raise UsageError(
                    f"the task {name} has the filter {step['function']}; {', '.join(FILTERS)} are read here."
                )
    return found


def _with_functions(value: Any, name: str, trust_code: bool) -> Any:
    if isinstance(value, Function):
        if not trust_code:
            raise UsageError(
                f"the task {name} runs Python of its own (!function {value.written} in {value.folder}); read it, and "
                "run the command again with --trust-code."
            )
        loaded: Callable[..., Any] = value.load()
        return loaded
    if isinstance(value, dict):
        return {key: _with_functions(each, name, trust_code) for key, each in value.items()}
    return [_with_functions(each, name, trust_code) for each in value] if isinstance(value, list) else value
