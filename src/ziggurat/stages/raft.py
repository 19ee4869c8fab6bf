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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.data_files import load_json
from ziggurat.errors import DataError, ModelFolderError
from ziggurat.files import atomic_write_text, to_json
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_scalar, save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Prompt
from ziggurat.settings import Resolved
from ziggurat.stages import method
from ziggurat.stages.comparison_batches import ComparisonBatches, Ranked, RankedBatch, split_batch
from ziggurat.stages.likelihood import completion_logp, drift_of, load_policy
from ziggurat.stages.raft_config import Prepared, RAFTConfig, ballot_of, prepare, raft_config
from ziggurat.stages.rollouts import roll_out
from ziggurat.stages.scorer import Scorer
from ziggurat.stages.stage import begin, finish
from ziggurat.training import train
from ziggurat.training.device import device_of

__all__ = ["RAFTConfig", "ballot_of", "prepare", "raft", "raft_config"]

CHOSEN = "chosen.jsonl"


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
        model = load_policy(ready.base, config.train, ready.seed)
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
        found = load_scalar(ready.reward_folder).to(device_of(policy))
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
