"""The Python API: `import ziggurat; ziggurat.sft("talks.jsonl", base="own/pretrain")`. docs/python.md has examples.

Each function of a stage does what the command of that name does. Data are files, or records in memory; settings are a
dictionary of dotted names; the result is the folder of the run, which the next function takes as its model. Every
error is one sentence, a subclass of `ziggurat.errors.ZigguratError`.

The names and signatures are kept: tests/api/signatures.txt lists them. Importing this module imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ziggurat.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ziggurat.corpus.formats.common import Format
    from ziggurat.dialogue.chat import Chat
    from ziggurat.engine.params import SamplingParams
    from ziggurat.ladder.world import Options, World, WorldFactory
    from ziggurat.model.hub.family import Family
    from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt, Rating, Record
    from ziggurat.stages.sample import Sampled
    from ziggurat.stages.stage import Stage

PathLike = str | Path
Files = PathLike | Sequence[PathLike]


class RunOptions(TypedDict, total=False):
    """What every function of a stage takes by keyword."""

    settings: Mapping[str, Any]
    """Dotted names to values, such as {"train.steps": 300}; sections may also be nested."""
    recipe: PathLike
    """A YAML file of settings, or the name of one in recipes/; `settings` are stronger."""
    out: PathLike
    """The run's folder; default: the next one of the ladder."""
    ladder: str
    """The ladder's name; default: that of the model the run starts from, or "own"."""
    resume: bool
    """Continue the run where it stopped; models and files need not be given again."""
    overwrite: bool
    """Replace a run that is there."""
    skip_bad_rows: bool
    """Count and leave out broken rows of files."""


# --- the stages ------------------------------------------------------------------------------------------------------


def pretrain(
    data: Files | Sequence[Document] | None = None,
    *,
    base: PathLike | None = None,
    held_out: Files | Sequence[Document] | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Stage 1: learn to continue raw text. Returns the run's folder.

    base: a model to continue from; default: a new one. held_out: text to evaluate on; default: a share of `data`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    return run_stage("pretrain", data, {"base": base}, {"held_out": held_out}, **options)


def sft(
    data: Files | Sequence[Demonstration] | None = None,
    *,
    base: PathLike | None = None,
    text: Files | Sequence[Document] | None = None,
    held_out: Files | Sequence[Demonstration] | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Stage 2: learn to answer, from demonstrations. Returns the run's folder.

    base: the model to start from; only a resumed run may leave it out. text: stage-1 text to mix in; default: that of
    the base's run. held_out: demonstrations to evaluate on; default: a share of `data`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    return run_stage("sft", data, {"base": base}, {"text": text, "held_out": held_out}, **options)


def reward(
    data: Files | Sequence[Comparison] | None = None,
    *,
    sft: PathLike | None = None,
    held_out: Files | Sequence[Comparison] | None = None,
    demonstrations: Files | Sequence[Demonstration] | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Stage 3: learn what people prefer, from comparisons. Returns the folder of the reward model's run.

    sft: the stage-2 model to start from; only a resumed run may leave it out. demonstrations: their mean reward
    becomes 0. held_out: comparisons to evaluate on; default: a share of `data`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    inputs = {"held_out": held_out, "demonstrations": demonstrations}
    return run_stage("reward", data, {"sft": sft}, inputs, **options)


def ppo(
    data: Files | Sequence[Prompt] | None = None,
    *,
    policy: PathLike | None = None,
    reward_model: PathLike | None = None,
    reference: PathLike | None = None,
    text: Files | Sequence[Document] | None = None,
    gold: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Stage 4: improve a policy against a reward model. Returns the run's folder.

    policy, reward_model: only a resumed run may leave them out. reference: where KL is measured to; default: the
    policy's start. text: stage-1 text to mix in. gold: a second reward model that checks and never rewards.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    models = {"policy": policy, "reward_model": reward_model, "reference": reference}
    return run_stage("ppo", data, models, {"ptx_documents": text}, gold=gold, **options)


def dpo(
    data: Files | Sequence[Comparison] | None = None,
    *,
    base: PathLike | None = None,
    reference: PathLike | None = None,
    held_out: Files | Sequence[Comparison] | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Learn from comparisons directly, without a reward model. Returns the run's folder.

    base: the model to improve; only a resumed run may leave it out. reference: the model that it is held to; default:
    its own start. held_out: comparisons to evaluate on; default: a share of `data`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    return run_stage("dpo", data, {"base": base, "reference": reference}, {"held_out": held_out}, **options)


def kto(
    data: Files | Sequence[Rating] | None = None,
    *,
    base: PathLike | None = None,
    reference: PathLike | None = None,
    held_out: Files | Sequence[Rating] | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Learn from thumbs up and down, without pairs. Returns the run's folder. Files of comparisons are taken too.

    base: the model to improve; only a resumed run may leave it out. reference: the model that it is held to; default:
    its own start. held_out: ratings to evaluate on; default: a share of `data`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    return run_stage("kto", data, {"base": base, "reference": reference}, {"held_out": held_out}, **options)


def grpo(
    data: Files | Sequence[Prompt] | None = None,
    *,
    policy: PathLike | None = None,
    reward_model: PathLike | None = None,
    reference: PathLike | None = None,
    gold: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Improve a policy by comparing its own completions of a prompt, without a critic. Returns the run's folder.

    policy: only a resumed run may leave it out. The reward is settings={"reward_function": "module:function"},
    reward_model, or both. reference: where KL is measured to; default: the policy's start. gold: a second reward model
    that checks and never rewards.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    models = {"policy": policy, "reward_model": reward_model, "reference": reference}
    return run_stage("grpo", data, models, gold=gold, **options)


def raft(
    data: Files | Sequence[Prompt] | None = None,
    *,
    policy: PathLike | None = None,
    reward_model: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Imitate the best of n answers. Returns the run's folder.

    policy: only a resumed run may leave it out. The reward is settings={"reward_function": "module:function"},
    reward_model, or both.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    return run_stage("raft", data, {"policy": policy, "reward_model": reward_model}, **options)


def rlaif(
    data: Files | Sequence[Prompt] | None = None,
    *,
    policy: PathLike | None = None,
    judge: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Rank a model's answers by written principles, with a judge model. Returns the run's folder, with ranked.jsonl.

    The principles are settings={"principles": ["The answer is polite."]}.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError.
    """
    return run_stage("rlaif", data, {"policy": policy, "judge": judge}, **options)


def distill(
    data: Files | Sequence[Demonstration] | None = None,
    *,
    base: PathLike | None = None,
    teacher: PathLike | None = None,
    held_out: Files | Sequence[Demonstration] | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Teach a small model what a larger one knows. Returns the run's folder.

    base, teacher: the model that learns and the one that it learns from; only a resumed run may leave them out.
    held_out: demonstrations to evaluate on; default: a share of `data`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    return run_stage("distill", data, {"base": base, "teacher": teacher}, {"held_out": held_out}, **options)


def selfinstruct(
    data: Files | Sequence[Demonstration] | None = None,
    *,
    base: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Let a model write demonstrations itself, from a few seed tasks. Returns the run's folder, with tasks.jsonl.

    base: the model that writes; only a resumed run may leave it out.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError.
    """
    return run_stage("selfinstruct", data, {"base": base}, **options)


def align(
    data: Files | Sequence[Prompt] | None = None,
    *,
    sft: PathLike | None = None,
    comparisons: Files | Sequence[Comparison] | None = None,
    held_out: Files | Sequence[Comparison] | None = None,
    demonstrations: Files | Sequence[Demonstration] | None = None,
    text: Files | Sequence[Document] | None = None,
    gold: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Sample, rank and learn in rounds. Returns the last policy's run folder.

    Each round writes round-<n>/to_rank.jsonl and stops; put the ranked file beside it as ranked.jsonl and call again
    with resume=True. comparisons: rankings that are there already. The rest is as for `reward` and `ppo`.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError, TrainingError.
    """
    inputs = {
        "comparisons": comparisons,
        "held_out": held_out,
        "demonstrations": demonstrations,
        "ptx_documents": text,
    }
    return run_stage("align", data, {"sft": sft}, inputs, gold=gold, **options)


def run_stage(
    name: str,
    data: Files | Sequence[Record] | None = None,
    models: Mapping[str, PathLike | None] | None = None,
    inputs: Mapping[str, Files | Sequence[Record] | None] | None = None,
    *,
    gold: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Run a stage by its name, also one of another package. Returns the run's folder.

    data: the first input. models, inputs: by the names that the stage declares (`available_stages()[name]`).
    Raises UsageError for a name that the stage does not declare, and what the stage raises.
    """
    from ziggurat.stages.launch import Order, assemble, layers, run_path

    known = available_stages()
    if name not in known:
        raise UsageError(f'There is no stage "{name}".{_hint(name, known)}')
    stage = known[name]
    first, *further = (item.argument for item in stage.inputs)
    chosen = _only([one.argument for one in stage.models], models, f"{name} has no model")
    rest = _only(further, inputs, f"{name} has no input")
    _only(RunOptions.__annotations__, options, f"{name} has no option")
    if gold is not None and not stage.gold:
        raise UsageError(f"The stage {name} has no gold check; leave out gold.")
    order = Order(
        stage,
        models={key: str(value) for key, value in chosen.items()},
        data={key: _data(value) for key, value in {first: data, **rest}.items() if value is not None},
        settings=[
            *layers(name, options.get("recipe"), None),
            *([("settings", _nested(options["settings"]))] if options.get("settings") else []),
        ],
        gold=None if gold is None else str(gold),
        resume=options.get("resume", False),
        overwrite=options.get("overwrite", False),
        skip_bad_rows=options.get("skip_bad_rows", False),
    )
    out = None if options.get("out") is None else Path(options["out"])
    path = run_path(out, name, ladder=options.get("ladder"), base=order.base, resume=order.resume)
    return assemble(order, path).run()


# --- models at work --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ChatModel:
    """A loaded model that answers."""

    chat: Chat
    """The model with its tokenizer and template, for what is not here."""

    def complete(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """The answer to a question, or to a conversation of messages. temperature: 0 is greedy.

        Raises UsageError for messages or numbers that are not valid, ContextError for a prompt that is too long.
        """
        params = _params(temperature, top_p, max_tokens, seed)
        return self.chat.complete(_messages(messages), params, stop=stop)

    def stream(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """As `complete`, piece by piece; closing the iterator frees the model."""
        params = _params(temperature, top_p, max_tokens, seed)
        for delta in self.chat.stream(_messages(messages), params, stop=stop):
            yield delta.text


def chat(model: PathLike, *, weights: str = "auto") -> ChatModel:
    """Load a model to talk to: a run by its name or folder, a checkpoint, or a Hugging Face folder.

    weights: "auto", or "int8" for a byte a weight. Raises RunError or ModelFolderError where there is no such model.
    """
    from ziggurat.dialogue.chat import Chat

    return ChatModel(Chat.load(str(model), weights=weights))


def sample(
    policy: PathLike,
    data: Files | Sequence[Prompt],
    *,
    k: int = 4,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 128,
    seed: int = 0,
    greedy: bool = True,
    out: PathLike | None = None,
) -> list[Sampled]:
    """k completions for each prompt; with `greedy` the first one is greedy.

    out: also write them to this file, which lacks only the ranks.
    Raises UsageError for k outside 2 to 9 or an `out` that exists, DataError, RunError, ModelFolderError.
    """
    from ziggurat.corpus.files import load_kind
    from ziggurat.stages import sample as stage

    if out is not None and Path(out).exists():
        raise UsageError(f"{out} is there already; name another file.")
    given = _data(data)
    files = [one for one in given if isinstance(one, Path)]
    prompts = load_kind("prompts", files).records if files else list(given)
    params = _params(temperature, top_p, max_tokens, seed)
    sampled = stage.sample(policy, prompts, k, params, greedy=greedy)
    if out is not None:
        stage.write_to_rank(Path(out), sampled, policy=str(policy), params=params)
    return sampled


def evaluate(
    model: PathLike,
    *,
    text: Files | None = None,
    demonstrations: Files | None = None,
    context: int = 0,
    stride: int = 0,
    skip_bad_rows: bool = False,
) -> dict[str, Any]:
    """Measure a model on held-out files: bits per byte and perplexity of `text`, accuracy on `demonstrations`.

    context: tokens of a window; 0: the model's context. stride: tokens scored in each window; 0: all.
    Raises UsageError without files, DataError, RunError, ModelFolderError.
    """
    from ziggurat.evaluation.measure import measure

    if text is None and demonstrations is None:
        raise UsageError("evaluate needs text or demonstrations, or both; give the path of a file.")
    files = [[] if given is None else _paths(given) for given in (text, demonstrations)]
    return measure(str(model), *files, context=context, stride=stride, skip=skip_bad_rows)


def climb(
    world: PathLike = "town",
    budget: str = "9m",
    *,
    data: PathLike | None = None,
    base: PathLike | None = None,
    town: int = 1,
    seed: int = 0,
    name: str | None = None,
    fixed_plan: bool = False,
    controls: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Climb all stages of a world within a time, hold the exam, write the report: `ziggurat ladder` without the server.

    world: a name of `available_worlds()`, or a folder of files. budget: such as "90s", "10m" or "1h". The other
    parameters are the options of `ziggurat ladder`. Returns the climb's folder; exam/report.json is in it.
    Raises UsageError, DataError, RunError, ModelFolderError, TrainingError.
    """
    from ziggurat.ladder.climb import begin
    from ziggurat.ladder.complete import complete
    from ziggurat.ladder.plan import parse_budget
    from ziggurat.ladder.world import Options

    as_text = [None if one is None else str(one) for one in (data, base)]
    chosen = Options(str(world), data=as_text[0], town=town, base=as_text[1])
    budget_s = parse_budget(budget)
    opened = open_world(chosen, name=name, resume=resume)
    if controls:
        opened.need_controls()
    plan = begin(
        opened, budget_s, seed=seed, name=name, fixed_plan=fixed_plan, resume=resume, overwrite=overwrite
    )
    complete(plan, resume=resume, controls=controls)
    return plan.folder


def open_world(chosen: Options, *, name: str | None = None, resume: bool = False) -> World:
    """The world that was chosen; to resume, the world that the climb of this name began with.

    Raises UsageError for a world that is neither known nor a folder, RunError for a name that cannot be a folder's, or
    where there is nothing to resume.
    """
    from ziggurat.ladder import world
    from ziggurat.ladder.climb import read_plan
    from ziggurat.places import ladder_folder

    if name is not None:
        ladder_folder(name)
    if resume:
        plan = read_plan(ladder_folder(world.default_name(chosen) if name is None else name))
        begun = world.Options(**plan["world"])
        chosen = dataclasses.replace(begun, data=chosen.data or begun.data)
    return world.open_world(chosen, available_worlds())


# --- what is there ---------------------------------------------------------------------------------------------------


def available_stages() -> dict[str, Stage]:
    """Every stage by its name, those of other packages included."""
    from ziggurat.stages.stage import declared

    return dict(declared())


def available_worlds() -> dict[str, WorldFactory]:
    """Every world by its name, those of other packages included; a built-in name wins. Each takes `Options`."""
    from ziggurat.ladder.world import installed_worlds
    from ziggurat.town.world import open_world as open_town
    from ziggurat.verse.world import open_world as open_verse

    return {**installed_worlds(), "town": open_town, "verse": open_verse}


def available_families() -> dict[str, Family]:
    """The model family of each `model_type` in config.json, those of other packages included."""
    from ziggurat.model.hub.families import by_model_type

    return by_model_type()


def available_formats() -> dict[str, Format]:
    """Every format of data files by its name, those of other packages included. docs/data.md shows each."""
    from ziggurat.corpus.sniff import formats

    return {format.name: format for format in formats()}


# --- arguments -------------------------------------------------------------------------------------------------------


def _params(temperature: float, top_p: float, max_tokens: int, seed: int | None) -> SamplingParams:
    from ziggurat.engine.params import SamplingParams

    return SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)


def _messages(given: str | Sequence[Message | Mapping[str, Any]]) -> list[Message]:
    """A question as one message of the user; dictionaries as messages."""
    from pydantic import ValidationError

    from ziggurat.records import Message

    if isinstance(given, str):
        return [Message(role="user", content=given)]
    try:
        return [one if isinstance(one, Message) else Message.model_validate(one) for one in given]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"A message is not valid ({where}: {first['msg']}); give role and content."
        ) from error


def _paths(given: Files) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def _data(given: Files | Sequence[Any]) -> list[Any]:
    """Paths as `Path`, records as they are."""
    if isinstance(given, str | Path):
        return [Path(given)]
    return [Path(one) if isinstance(one, str) else one for one in given]


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`{"train.steps": 3}` -> `{"train": {"steps": 3}}`."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = node.get(last, {}) | _nested(value) if isinstance(value, Mapping) else value
    return tree


def _only(known: Any, given: Mapping[str, Any] | None, problem: str) -> dict[str, Any]:
    """The arguments that are given; each must be known."""
    for key in given or {}:
        if key not in known:
            raise UsageError(f'The stage {problem} "{key}".{_hint(key, known)}')
    return {key: value for key, value in (given or {}).items() if value is not None}


def _hint(name: str, known: Any) -> str:
    return did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."
