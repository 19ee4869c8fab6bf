"""Stage 1: a base model that continues any text, from documents.

    documents -> (held out | learned) -> tokenizer -> rows (N, T+1) -> next-token loss -> model/

Works on any text, from nothing or from a model in Hugging Face layout (`base`: continued pre-training).
Every number that is not given is derived once by `prepare` (pretrain_config.py), printed with its formula and frozen
in config.yaml. Left out: text larger than memory.

    ziggurat pretrain --data annals.jsonl --set train.steps=500 --out runs/mine/pretrain-1

Sources: next-token pre-training, Radford et al. 2019 and arXiv:2005.14165.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.bits import score_texts
from ziggurat.evaluation.report import Sample
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.processes import processes, writes
from ziggurat.records import Document
from ziggurat.settings import Resolved
from ziggurat.stages.batches import TextBatches
from ziggurat.stages.losses import batch_loss, split_rows
from ziggurat.stages.pretrain_config import Prepared, PretrainConfig, prepare, pretrain_config
from ziggurat.stages.stage import begin, finish
from ziggurat.training import parallel, train
from ziggurat.training.device import choose_device, place
from ziggurat.training.trainable import compute_dtype, load_to_train

__all__ = ["Prepared", "PretrainConfig", "prepare", "pretrain", "pretrain_config"]

SAMPLE_TOKENS = 60


def pretrain(
    resolved: Resolved[PretrainConfig],
    documents: Sequence[Document],
    run_path: Path,
    *,
    held_out: Sequence[Document] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run stage 1 and return the run's folder. `data`: the files' manifest entries, where there are files."""

    ready = prepare(resolved, documents, held_out=held_out, data=data, run_path=run_path if resume else None)
    config, tokenizer = ready.config, ready.tokenizer
    shape = {"model": ready.model_config.model_dump()}
    with begin("pretrain", ready, run_path, resume=resume, overwrite=overwrite, manifest=shape) as run:
        if writes():
            tokenizer.save(run_path / "tokenizer")  # a resumed run reads it back instead of training it again
        model = _model(ready)
        chat = Chat(model, tokenizer, is_base=True)
        result = train(
            run,
            model,
            TextBatches(ready.rows, ready.batch_rows, ready.seed),
            batch_loss,
            config.train,
            split=split_rows,
            evaluate=_evaluator(ready) if ready.held_out else None,
            sample=lambda _: _continue(chat, ""),
            resume=resume,
            tokenizer=tokenizer,
        )
        run.save_model(lambda folder: save_model(model, folder, tokenizer))
        samples = [Sample("", _continue(chat, "", seed=seed)) for seed in range(3)]
        samples += [Sample(text[:120], _continue(chat, text[:120])) for text in ready.held_out[:3]]
        finish(
            run,
            ready,
            summary="A base model: it continues text. It is not trained to answer.",
            numbers=result.numbers(),
            samples=samples,
        )
    return run_path


def _continue(chat: Chat, text: str, *, seed: int = 0) -> str:
    """What the model writes after `text` (or as a new document), at temperature 0.8."""

    params = SamplingParams(temperature=0.8, seed=seed, max_tokens=SAMPLE_TOKENS)
    return chat.continue_many([text], params, last=max(1, chat.context - SAMPLE_TOKENS))[0].text


def _evaluator(ready: Prepared) -> Callable[[nn.Module], dict[str, float]]:

    def evaluate(model: Any) -> dict[str, float]:
        score = score_texts(model, ready.tokenizer, ready.held_out, context=ready.rows.shape[1] - 1)
        return {"val_loss": score.loss, "val_bits_per_byte": score.bits_per_byte}

    return evaluate


def _model(ready: Prepared) -> Transformer:
    learns = ready.config.train
    if ready.parent is not None:
        return load_to_train(ready.parent, learns, learns, seed=ready.seed)
    if processes() > 1:
        device, dtype = choose_device(learns.device)[0], compute_dtype(learns)
        return parallel.new_in_shards(ready.model_config, ready.seed, dtype, device)
    model = Transformer(ready.model_config, seed=None)
    model.init_weights(ready.seed, quiet=True)
    return place(model, learns.device)
