"""Stage 2: a model that answers, from demonstrations.

    conversations -> chat template -> ids and mask -> rows packed with several conversations -> loss on the mask
    + a share of stage-1 text in every batch, so that what was known is not unlearned

Starts from any base: a run of ours or a folder in Hugging Face layout. Training settings are inherited from the base's
run (learning rates times LR_SHARE) unless they are given; each is printed with its source.

The loss of a step is Σ w·nll / Σ w over all its targets: w is 1 on the assistant's words and the end of its turn,
`text_weight` on stage-1 text, 0 elsewhere. `text_share` says how much of the *compute* goes to text, `text_weight` how
much of the *gradient*: with a third of the conversations' tokens trained, 0.4 and 0.5 let both pull about equally.

Many small steps of about 1,100 tokens keep knowledge better than few large ones (docs/log/town.md).
Left out: dropout; tools and system prompts get no loss of their own. Source: InstructGPT, arXiv:2203.02155, 3.5.

    ziggurat sft --base town/pretrain --data demonstrations.jsonl --text annals.jsonl
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.bits import score_texts
from ziggurat.evaluation.demonstrations import score_demonstrations
from ziggurat.evaluation.report import Sample
from ziggurat.model.hub import save_model
from ziggurat.records import Demonstration, Document
from ziggurat.settings import Resolved
from ziggurat.stages.losses import batch_loss, split_rows
from ziggurat.stages.sft_config import Prepared, SftConfig, prepare, sft_config, split_demonstrations
from ziggurat.stages.stage import begin, finish
from ziggurat.tokenizer.template import Rendered
from ziggurat.training import train
from ziggurat.training.trainable import load_to_train

__all__ = [
    "Prepared",
    "SftConfig",
    "answers",
    "prepare",
    "sft",
    "sft_config",
    "split_demonstrations",
]

SAMPLE_TOKENS = 96


def sft(
    resolved: Resolved[SftConfig],
    base: str | Path,
    demonstrations: Sequence[Demonstration],
    run_path: Path,
    *,
    text: Sequence[Document] = (),
    held_out: Sequence[Demonstration] | None = None,
    held_out_text: Sequence[Document] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run stage 2 and return the run's folder. `data`: the files' manifest entries, where there are files."""

    ready = prepare(
        resolved, base, demonstrations, text=text, held_out=held_out, held_out_text=held_out_text, data=data
    )
    with begin("sft", ready, run_path, resume=resume, overwrite=overwrite) as run:
        learns = ready.config.train
        model = load_to_train(ready.base, learns, learns, seed=ready.seed)
        result = train(
            run,
            model,
            ready.batches,
            batch_loss,
            ready.config.train,
            split=split_rows,
            evaluate=_evaluator(ready) if ready.held_out or ready.held_out_text else None,
            sample=lambda m: next(
                (f"{one.prompt!r} -> {one.text!r}" for one in answers(m, ready, ready.questions[:1])),
                "(nothing to ask)",
            ),
            resume=resume,
            tokenizer=ready.tokenizer,
        )
        run.save_model(lambda folder: save_model(model, folder, ready.tokenizer))
        finish(
            run,
            ready,
            summary="A model that answers in the form of its demonstrations. It may answer what it does not know.",
            numbers=result.numbers(),
            samples=answers(model, ready, ready.questions),
        )
    return run_path


def answers(model: nn.Module, ready: Prepared, questions: Sequence[Demonstration]) -> list[Any]:
    """The model's greedy answers to the last user messages, beside what the demonstration says."""

    decoder: Any = model
    greedy = SamplingParams(temperature=0.0, max_tokens=SAMPLE_TOKENS)
    chat = Chat(decoder, ready.tokenizer, template=ready.template, as_trained=True, defaults=greedy)
    asked = [d for d in questions if d.messages[-1].role == "assistant" and len(d.messages) > 1]
    prompts = ready.template.try_many([(d.messages[:-1], d.tools) for d in asked], add_generation_prompt=True)
    asked = [
        d
        for d, one in zip(asked, prompts, strict=True)
        if isinstance(one, Rendered) and len(one.ids) < chat.context
    ]
    texts = chat.complete_many([d.messages[:-1] for d in asked], tools=[d.tools for d in asked])
    return [
        Sample(
            prompt="\n".join(f"{m.role}: {m.content}" for m in d.messages[:-1]),
            text=text.strip(),
            expected=str(d.messages[-1].content),
        )
        for d, text in zip(asked, texts, strict=True)
    ]


def _evaluator(ready: Prepared) -> Callable[[nn.Module], dict[str, float]]:

    def evaluate(model: Any) -> dict[str, float]:
        row: dict[str, float] = {}
        if ready.held_out:
            score = score_demonstrations(model, ready.held_out)
            row["val_loss"] = score.loss
            row["val_token_accuracy"] = score.token_accuracy
            row["val_exact_match"] = score.exact_match
        if ready.held_out_text:
            row["val_bits_per_byte"] = score_texts(model, ready.tokenizer, ready.held_out_text).bits_per_byte
        return row

    return evaluate
