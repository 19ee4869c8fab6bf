"""Imitate the best of n: sample n completions of each prompt, keep the best by a reward, learn to write them (RAFT).

    prompts -> n completions each -> score -> the best of each prompt, if it is good enough -> supervised learning

The reward is a Python function, a reward model, or both, as in `grpo`. Without any, `vote` trains on what most of a
prompt's completions agree on (self-improvement, arXiv:2210.11610): no labels are needed. What was chosen is written to
chosen.jsonl, with the curve of best-of-k for k = 1 ... n. One run is one round; `align --rounds N --set method=raft`
samples anew each time. Left out: a KL term in the score.
Sources: RAFT, arXiv:2304.06767; best-of-n, arXiv:2112.09332; rejection sampling in LLaMA 2, arXiv:2307.09288, 3.2.3.

    ziggurat raft --policy town/sft --data prompts.jsonl --set reward_function=rules.py:score
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.errors import DataError, ModelFolderError, UsageError
from ziggurat.files import atomic_write_text, to_json
from ziggurat.lineage import parent_entry
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import check_model, load_scalar, save_model
from ziggurat.model.transformer import Transformer
from ziggurat.places import find_run
from ziggurat.records import Prompt, load_json
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import method, setup
from ziggurat.stages.answer_length import longest_answer
from ziggurat.stages.comparison_batches import ComparisonBatches, Ranked, RankedBatch, split_batch
from ziggurat.stages.dpo_config import FOREIGN_TRAIN, LR_SHARE
from ziggurat.stages.likelihood import completion_logp, drift_of, load_policy
from ziggurat.stages.rollouts import roll_out
from ziggurat.stages.scorer import RewardFunction, Scorer, load_function, reward_folder_of
from ziggurat.stages.setup import Derived
from ziggurat.stages.stage import begin, finish
from ziggurat.training import train
from ziggurat.training.config import TrainConfig
from ziggurat.training.cost import microbatch_tokens

CHOSEN = "chosen.jsonl"


class RAFTConfig(setup.RecordsConfig):
    """Settings of `raft`. 0 means "computed" where a field says so; what came out is in config.yaml."""

    n: int = Field(default=8, ge=2, le=256)
    """Completions of each prompt."""

    temperature: float = Field(default=1.0, gt=0)
    max_new_tokens: int = Field(default=-1, ge=-1)
    """Longest completion; one that does not end by then is never chosen. -1: computed from measured answers."""

    reward_function: str = ""
    """`module:function` or `file.py:function`: (prompt, completion, row) -> float (stages/scorer.py)."""

    function_weight: float = 1.0
    model_weight: float = 1.0

    vote: str = ""
    """What completions vote on: `last_number`, `whole` (the text), or `module:function` from text to str (None: no
    vote). A completion scores the share of its prompt's completions with the same value, added to its reward."""

    min_score: float | None = None
    """A prompt whose best completion scores less is left out; null: none is."""

    batch_answers: int = Field(default=16, ge=1)
    """Chosen completions in one optimizer step."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over as many completions as there are prompts; only read to compute train.steps where that is 0."""

    allow_weak_reward_model: bool = False
    """Go on although the reward model failed its report card."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.001, lr_adam=0.00015)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True, kw_only=True)
class Prepared(method.Prepared[RAFTConfig]):
    """`raft` before its first step."""

    reward_folder: Path | None
    function: RewardFunction | None
    ballot: Callable[[str], str | None] | None
    """The value that a completion votes for."""

    @property
    def max_new_tokens(self) -> int:
        return self.config.max_new_tokens

    @property
    def manifest(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        if self.reward_folder is not None:
            found["reward_model"] = parent_entry(self.reward_folder)
        if self.function is not None:
            found["reward_function"] = {"name": self.function.name, "sha256": self.function.sha256}
        return found


def raft_config(policy: str | Path, *layers: tuple[str, Any]) -> Resolved[RAFTConfig]:
    """The configuration from its layers, with the training settings of the policy's run inherited."""
    inherited = setup.inherited(find_run(str(policy)), lr_share=LR_SHARE, foreign=FOREIGN_TRAIN)
    return resolve(RAFTConfig, ("inherited", inherited), *layers)


def prepare(
    resolved: Resolved[RAFTConfig],
    policy: str | Path,
    prompts: Sequence[Prompt],
    *,
    reward_model: str | Path | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Check models and function, render the prompts, derive every number; nothing is written."""
    config = resolved.config
    setup.need(prompts, "prompts")
    start = method.open_policy(policy)
    function = RewardFunction.load(config.reward_function) if config.reward_function else None
    folder = reward_folder_of(
        start.tokenizer, start.folder, reward_model, allow_weak=config.allow_weak_reward_model
    )
    ballot = ballot_of(config.vote) if config.vote else None
    if function is None and folder is None and ballot is None:
        raise UsageError(
            "raft needs a reward: --set reward_function=module:function, --reward RUN of a reward model, or "
            "--set vote=last_number."
        )
    room = start.shape.context
    if folder is not None:
        room = min(room, check_model(folder, start.tokenizer.vocab_size).context)
    usable = setup.usable(start.template, prompts, longest=room - 1, skip=config.skip_bad_rows, what="prompt")
    ids = [one.ids for one in usable.flat]
    longest, why = config.max_new_tokens, "max_new_tokens"
    if longest < 0:
        longest, why = longest_answer(
            [start.folder], start.template, ids, context=room, seed=config.train.seed
        )
    one_epoch = math.ceil(len(ids) / config.batch_answers)
    steps = config.train.steps or max(1, round(one_epoch * config.epochs))
    budget = config.train.microbatch_tokens or microbatch_tokens(start.shape)
    settled = {"max_new_tokens": longest, "train.steps": steps, "train.microbatch_tokens": budget}
    frozen = setup.freeze(resolved, settled)
    derived = [
        Derived("prompts", len(ids), f"{config.n} completions each"),
        Derived("longest completion", longest, why),
        Derived(
            "steps",
            steps,
            "train.steps" if config.train.steps else f"{config.epochs:g} epochs × {one_epoch:,}",
        ),
        setup.microbatch_line(config.train, budget),
    ]
    return Prepared(
        resolved=frozen,
        parent=start.folder,
        reference_folder=start.folder,
        reward_folder=folder,
        function=function,
        ballot=ballot,
        tokenizer=start.tokenizer,
        template=start.template,
        prompts=usable.records,
        prompt_ids=ids,
        derived=derived,
        data=list(data) if data else [setup.memory_entry("prompts", list(prompts))],
        cost=method.rows_cost(
            start.shape, frozen.config.train, [len(one) + longest for one in ids], config.batch_answers
        ),
    )


def raft(
    resolved: Resolved[RAFTConfig],
    policy: str | Path,
    prompts: Sequence[Prompt],
    run_path: Path,
    *,
    reward_model: str | Path | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Sample, choose, train, save the model, write the report; returns the run's folder."""
    ready = prepare(resolved, policy, prompts, reward_model=reward_model, data=data)
    config = ready.config
    with begin("raft", ready, run_path, resume=resume, overwrite=overwrite, manifest=ready.manifest) as run:
        model = load_policy(ready.base, config.train.dtype)
        chosen = read_chosen(run.path / CHOSEN) or choose(ready, model, run.path / CHOSEN)
        ranked = [Ranked([one["row"]], [1], [one["start"]]) for one in chosen["answers"]]
        result = train(
            run,
            model,
            ComparisonBatches(
                ranked,
                config.batch_answers,
                ready.tokenizer.pad_id,
                ready.seed,
                model.embedding.weight.device,
            ),
            imitation_loss,
            config.train,
            split=split_batch,
            resume=resume,
            tokenizer=ready.tokenizer,
        )
        run.save_model(lambda folder: save_model(model, folder, ready.tokenizer))
        curve = chosen["curve"]
        numbers = {
            **result.numbers(),
            "chosen": len(ranked),
            "reward_of_one": curve[0],
            f"reward_of_best_of_{config.n}": curve[-1],
            "drift_nats": drift_of(ready, model),
        }
        summary = (
            f"Learned {len(ranked):,} of {len(ready.prompts):,} answers, each the best of {config.n}: a mean reward of "
            f"{curve[-1]:.2f}, where one sample has {curve[0]:.2f}; {numbers['drift_nats']:.1f} nats from the start."
        )
        err.print(summary)
        samples = method.answers_before_and_after(run, ready.base, ready.chat, ready.prompts)
        finish(run, ready, summary=summary, numbers=numbers, samples=samples, more={"best_of_n": curve})
    return run_path


def imitation_loss(model: nn.Module, batch: RankedBatch) -> tuple[Tensor, float]:
    """(sum of -log p of the completions' tokens, how many they are)."""
    total = -completion_logp(model, batch.ids, batch.starts, batch.ends).sum()
    return total, float((batch.ends - batch.starts + 1).sum())


def choose(ready: Prepared, policy: Transformer, path: Path) -> dict[str, Any]:
    """Sample, score, keep the best of each prompt; written to `path`, whole or not at all."""
    config = ready.config
    model: RewardModel | None = None
    if ready.reward_folder is not None:
        found = load_scalar(ready.reward_folder)
        if not isinstance(found, RewardModel):
            raise ModelFolderError(f"{ready.reward_folder} is a critic; name a run of stage 3.")
        model = found
    scorer = Scorer(
        ready.function, model, config.function_weight, config.model_weight, ready.tokenizer.pad_id
    )
    made = roll_out(
        policy.eval(),
        ready.prompt_ids,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        stop_ids=ready.template.stop_ids,
        seed=ready.seed,
        n=config.n,
    )
    rows = [one.prompt + one.completion for one in made]
    texts = [ready.tokenizer.decode(one.completion[:-1] if one.ended else one.completion) for one in made]
    asked = [prompt for prompt in ready.prompts for _ in range(config.n)]
    scores, _ = scorer.score(asked, texts, rows, [one.ended for one in made], unended=-math.inf)
    if ready.ballot is not None:
        for i in range(0, len(made), config.n):
            shares = votes([ready.ballot(text) for text in texts[i : i + config.n]])
            scores[i : i + config.n] = [a + b for a, b in zip(scores[i : i + config.n], shares, strict=True)]
    answers, groups = [], []
    for i in range(0, len(made), config.n):
        ended = [j for j in range(i, i + config.n) if made[j].ended]
        if not ended:
            continue
        groups.append([scores[j] for j in ended])
        best = max(ended, key=lambda j: scores[j])
        if config.min_score is None or scores[best] >= config.min_score:
            answers.append(
                {
                    "row": rows[best],
                    "start": len(made[best].prompt),
                    "text": texts[best],
                    "score": scores[best],
                }
            )
    if not answers:
        raise DataError(
            f"no completion of {len(ready.prompts):,} prompts ended by itself and scored min_score or more; lower "
            "min_score, or raise n or max_new_tokens."
        )
    lines = [{"curve": best_of_curve(groups, config.n)}, *answers]
    atomic_write_text(path, "".join(to_json(line) + "\n" for line in lines))
    written = read_chosen(path)
    assert written is not None, "a line above"
    return written


def ballot_of(name: str) -> Callable[[str], str | None]:
    """The function that a setting `vote` names. Raises ConfigError."""
    if name == "whole":
        return lambda text: text.strip()
    if name == "last_number":
        return lambda text: number if (number := _last_number(text)) else None
    return load_function(name, "vote")


def _last_number(text: str) -> str:
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return found[-1].replace(",", "").rstrip(".") if found else ""


def votes(values: Sequence[str | None]) -> list[float]:
    """The share of all that vote for each one's value; 0 without a value. By hand: 4 4 5 None gives 1/2 1/2 1/4 0."""
    counts = Counter(value for value in values if value is not None)
    return [counts[value] / len(values) if value is not None else 0.0 for value in values]


def best_of_curve(groups: Sequence[Sequence[float]], n: int) -> list[float]:
    """The mean reward of the best of k random ones of a group, for k = 1 ... n, exactly; a group with fewer than k has
    its best. By hand, a group 0 1 2: means 1, 5/3, 2."""
    curve = []
    for k in range(1, n + 1):
        each = []
        for group in groups:
            ordered, m = sorted(group), len(group)
            size = min(k, m)
            ways = [math.comb(below, size - 1) / math.comb(m, size) for below in range(m)]
            each.append(sum(w * x for w, x in zip(ways, ordered, strict=True)))
        curve.append(sum(each) / len(each))
    return curve


def read_chosen(path: Path) -> dict[str, Any] | None:
    """What `choose` wrote; None where there is nothing yet."""
    if not path.is_file():
        return None
    first, *rest = [
        load_json(line, path, number)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    ]
    return {"curve": first["curve"], "answers": rest}
