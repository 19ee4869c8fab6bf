"""Teach a small model what a larger one knows: by the teacher's distributions, by its answers, or both.

    loss of a token = (1 - a) · -log q(token)  +  a · t² · KL(p_t || q_t)

p is the teacher's distribution, q the student's, both divided by the temperature t in the KL term; a is logits_weight.
`hidden_weight` and `attention_weight` add what `inner_losses` compares inside the models.
With `sequences` the teacher answers the prompts first, and its answers (teacher.jsonl) take the place of the data's.
Teacher and student share the tokenizer; their shapes may differ in everything else. The last answer of each
conversation is learned. Left out: answers sampled by the student.
Sources: arXiv:1503.02531 (logits); arXiv:1606.07947 (sequences); arXiv:2306.08543 (the reverse KL).

    ziggurat distill --base small/sft --teacher town/sft --data demonstrations.jsonl
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ziggurat.console import err
from ziggurat.data_files import load_json
from ziggurat.files import atomic_write_text, to_json
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Demonstration
from ziggurat.settings import Resolved
from ziggurat.stages import method, setup
from ziggurat.stages.comparison_batches import ComparisonBatches, Ranked, RankedBatch, collate, split_batch
from ziggurat.stages.distill_config import DistillConfig, Prepared, distill_config, prepare
from ziggurat.stages.inner_losses import Inside, Projections, attention_loss, hidden_loss, look_inside
from ziggurat.stages.likelihood import load_policy, load_reference
from ziggurat.stages.rollouts import roll_out
from ziggurat.stages.stage import begin, finish
from ziggurat.training import train
from ziggurat.training.cost import LOGITS_AT_ONCE

__all__ = ["DistillConfig", "distill", "distill_config", "prepare"]

TEACHER = "teacher.jsonl"
EVAL_ROWS = 32
"""Held-out answers that are read at a time."""


def distill(
    resolved: Resolved[DistillConfig],
    base: str | Path,
    teacher: str | Path,
    demonstrations: Sequence[Demonstration],
    run_path: Path,
    *,
    held_out: Sequence[Demonstration] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train the student, save it, write the report; returns the run's folder."""
    ready = prepare(resolved, base, teacher, demonstrations, held_out=held_out, data=data)
    config = ready.config
    with begin(
        "distill", ready, run_path, resume=resume, overwrite=overwrite, manifest=ready.manifest
    ) as run:
        student = load_policy(ready.base, config.train, ready.seed)
        master = load_reference(ready.reference_folder, config.train)
        rows = answers_of(ready, master, run.path / TEACHER) if config.sequences else ready.rows
        held = ready.held_out
        before, ceiling = (
            measure(model, master, held, ready.tokenizer.pad_id) for model in (student, master)
        )
        compared = config.hidden_weight or config.attention_weight
        projections = Projections(student.config, master.config, seed=ready.seed) if compared else None
        result = train(
            run,
            student,
            ComparisonBatches(
                rows,
                config.batch_answers,
                ready.tokenizer.pad_id,
                ready.seed,
                student.embedding.weight.device,
            ),
            loss_of(config, master, projections),
            config.train,
            split=split_batch,
            evaluate=(lambda model: measure(model, master, held, ready.tokenizer.pad_id)) if held else None,
            resume=resume,
            tokenizer=ready.tokenizer,
            beside=projections if projections and len(projections.levels) else None,
        )
        run.save_model(lambda folder: save_model(student, folder, ready.tokenizer))
        after = measure(student, master, held, ready.tokenizer.pad_id)
        numbers = {
            **result.numbers(),
            **{f"{name}_before": value for name, value in before.items()},
            **{f"{name}_of_teacher": value for name, value in ceiling.items()},
            **{f"{name}_after": value for name, value in after.items()},
        }
        summary = verdict(before, after, ceiling)
        err.print(summary)
        samples = method.answers_before_and_after(run, ready.base, ready.chat, ready.prompts)
        finish(run, ready, summary=summary, numbers=numbers, samples=samples)
    return run_path


def verdict(before: Mapping[str, float], after: Mapping[str, float], ceiling: Mapping[str, float]) -> str:
    """The result in one sentence."""
    if not after:
        return "The student was trained; no demonstrations were held out."
    kept = after["val_token_accuracy"] / max(1e-9, ceiling["val_token_accuracy"])
    return (
        f"The student keeps {kept:.1%} of the teacher's token accuracy on held-out answers "
        f"({before['val_token_accuracy']:.1%} before, {after['val_token_accuracy']:.1%} after, teacher "
        f"{ceiling['val_token_accuracy']:.1%}); KL from the teacher {before['val_kl']:.3f} -> "
        f"{after['val_kl']:.3f} nats."
    )


# --- the loss --------------------------------------------------------------------------------------------------------


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, config: DistillConfig
) -> tuple[Tensor, Tensor]:
    """(loss, KL term) of each token (N,): logits of both (N, V) fp32, targets (N,).

    By hand, two tokens, equal logits of the student, the teacher's log 3 and 0, target 0, weight 1/2: -log q is log 2,
    the forward KL is 3/4 log(3/2) + 1/4 log(1/2) = 0.1308, so the loss is 0.4119; the reverse KL is
    1/2 log(2/3) + 1/2 log 2 = 0.1438.
    """
    nll = F.cross_entropy(student, targets, reduction="none")
    q = (student / config.temperature).log_softmax(-1)
    p = (teacher / config.temperature).log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1) if config.direction == "forward" else (q.exp() * (q - p)).sum(-1)
    kl = kl * config.temperature**2
    return (1.0 - config.logits_weight) * nll + config.logits_weight * kl, kl


def loss_of(
    config: DistillConfig, teacher: Transformer, projections: Projections | None = None
) -> Callable[[nn.Module, RankedBatch], tuple[Tensor, float, dict[str, Any]]]:
    """The loss of a microbatch, for the loop; logits are made in pieces, as in stages 1 and 2. `projections`: where the
    models are compared inside too."""

    def loss(model: nn.Module, batch: RankedBatch) -> tuple[Tensor, float, dict[str, Any]]:
        decoder: Any = model
        kept = _answer_states(batch)
        targets = batch.ids[:, 1:][kept]
        inside = None if projections is None else _inside(decoder, teacher, batch.ids[:, :-1])
        if inside:
            ours, theirs = (
                one.norm(found.levels[-1])[kept]
                for one, found in zip((decoder, teacher), inside, strict=True)
            )
        else:
            ours = decoder.hidden(batch.ids[:, :-1])[kept]  # (N, C)
            with torch.no_grad():
                theirs = teacher.hidden(batch.ids[:, :-1])[kept]

        def summed(states: Tensor, known: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                taught = teacher.logits(known)
            total, kl = distillation_loss(decoder.logits(states), taught, wanted, config)
            return total.sum(), kl.detach().sum()

        piece = max(1, LOGITS_AT_ONCE // (2 * decoder.config.vocab_size))
        total, kl = ours.new_zeros((), dtype=torch.float32), ours.new_zeros((), dtype=torch.float32)
        for i in range(0, len(targets), piece):
            parts = (ours[i : i + piece], theirs[i : i + piece], targets[i : i + piece])
            a, b = (
                summed(*parts) if len(targets) <= piece else checkpoint(summed, *parts, use_reentrant=False)
            )
            total, kl = total + a, kl + b
        extra = {"kl": kl}
        if inside and config.hidden_weight:
            assert projections is not None
            extra["hidden"] = hidden_loss(*inside, kept, config.layer_map, projections).sum()
            total = total + config.hidden_weight * extra["hidden"]
        if inside and config.attention_weight:
            extra["attention"] = attention_loss(*inside, kept, config.layer_map).sum()
            total = total + config.attention_weight * extra["attention"]
        return total, float(len(targets)), extra

    return loss


def _inside(student: Transformer, teacher: Transformer, ids: Tensor) -> tuple[Inside, Inside]:
    with torch.no_grad():
        known = look_inside(teacher, ids)
    return look_inside(student, ids), known


def _answer_states(batch: RankedBatch) -> Tensor:
    """(B, T-1) bool: the states that the answers' tokens are predicted from."""
    position = torch.arange(1, batch.ids.shape[1], device=batch.ids.device)
    return (position >= batch.starts[:, None]) & (position <= batch.ends[:, None])


@torch.no_grad()
def measure(model: Any, teacher: Transformer, rows: Sequence[Ranked], pad_id: int) -> dict[str, float]:
    """On held-out answers: loss, share of tokens that are the first choice, share on which both models' first choice is
    the same, and KL(teacher || model); {} without any."""
    sums, count = dict.fromkeys(("val_loss", "val_token_accuracy", "val_agreement", "val_kl"), 0.0), 0
    for i in range(0, len(rows), EVAL_ROWS):
        batch = collate(rows[i : i + EVAL_ROWS], pad_id, teacher.embedding.weight.device)
        kept = _answer_states(batch)
        targets = batch.ids[:, 1:][kept]
        ours, theirs = (one.hidden(batch.ids[:, :-1])[kept] for one in (model, teacher))
        piece = max(1, LOGITS_AT_ONCE // (2 * teacher.config.vocab_size))
        for k in range(0, len(targets), piece):
            q, p = model.logits(ours[k : k + piece]), teacher.logits(theirs[k : k + piece])
            wanted = targets[k : k + piece]
            sums["val_loss"] += float(F.cross_entropy(q, wanted, reduction="sum"))
            sums["val_token_accuracy"] += float((q.argmax(-1) == wanted).sum())
            sums["val_agreement"] += float((q.argmax(-1) == p.argmax(-1)).sum())
            p, q = p.log_softmax(-1), q.log_softmax(-1)
            sums["val_kl"] += float((p.exp() * (p - q)).sum())
        count += len(targets)
    return {name: value / count for name, value in sums.items()} if count else {}


def answers_of(ready: Prepared, teacher: Transformer, path: Path) -> list[Ranked]:
    """The teacher's answers to the prompts; written to `path` once, and read by a resumed run."""
    if not path.is_file():
        config = ready.config
        made = roll_out(
            teacher,
            ready.prompt_ids,
            max_new_tokens=config.max_new_tokens,
            temperature=config.sequence_temperature,
            stop_ids=ready.template.stop_ids,
            seed=ready.seed,
        )
        whole = [one for one in made if one.ended]
        setup.need(whole, "answers of the teacher that end by themselves")
        err.print(f"the teacher ended {len(whole):,} of {len(made):,} answers by itself; these are learned.")
        lines = [
            {
                "text": ready.tokenizer.decode(one.completion),
                "row": one.prompt + one.completion,
                "start": len(one.prompt),
            }
            for one in whole
        ]
        atomic_write_text(path, "".join(to_json(line) + "\n" for line in lines))
    kept = [
        load_json(line, path, number)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    ]
    return [Ranked([one["row"]], [1], [one["start"]]) for one in kept]
