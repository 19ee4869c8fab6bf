"""The stages as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ziggurat.api.available import available_stages
from ziggurat.errors import UsageError, did_you_mean
from ziggurat.records import Comparison, Demonstration, Document, Prompt, Rating, Record
from ziggurat.settings import flatten, nest

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


def promptsearch(
    data: Files | Sequence[Demonstration] | None = None,
    *,
    base: PathLike | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Search a text around the question with which a frozen model answers better. Returns the run's folder, with
    template.json.

    base: the model that answers, which stays as it is; only a resumed run may leave it out.
    Raises UsageError, ConfigError, DataError, RunError, ModelFolderError.
    """
    return run_stage("promptsearch", data, {"base": base}, **options)


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
        data={
            key: records_or_paths(value) for key, value in {first: data, **rest}.items() if value is not None
        },
        settings=[
            *layers(name, options.get("recipe"), None),
            *([("settings", nest(flatten(options["settings"])))] if options.get("settings") else []),
        ],
        gold=None if gold is None else str(gold),
        resume=options.get("resume", False),
        overwrite=options.get("overwrite", False),
        skip_bad_rows=options.get("skip_bad_rows", False),
    )
    out = None if options.get("out") is None else Path(options["out"])
    path = run_path(out, name, ladder=options.get("ladder"), base=order.base, resume=order.resume)
    return assemble(order, path).run()


def _only(known: Any, given: Mapping[str, Any] | None, problem: str) -> dict[str, Any]:
    """The arguments that are given; each must be known."""
    for key in given or {}:
        if key not in known:
            raise UsageError(f'The stage {problem} "{key}".{_hint(key, known)}')
    return {key: value for key, value in (given or {}).items() if value is not None}


def _hint(name: str, known: Any) -> str:
    return did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."


def paths(given: Files) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def records_or_paths(given: Files | Sequence[Any]) -> list[Any]:
    """Paths as `Path`, records as they are."""
    if isinstance(given, str | Path):
        return [Path(given)]
    return [Path(one) if isinstance(one, str) else one for one in given]
