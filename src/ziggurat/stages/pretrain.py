"""Stage 1: a base model that continues any text, from documents.

    documents -> (held out | learned) -> tokenizer -> rows (N, T+1) -> next-token loss -> model/

Works on any text, from nothing or from a model in Hugging Face layout (`base`: continued pre-training).
Every number that is not given is derived once by `prepare` (pretrain_config.py), printed with its formula and frozen
in config.yaml. Left out: text larger than memory, and more than one device.

    ziggurat pretrain --data annals.jsonl --set train.steps=500 --out runs/mine/pretrain-1

Sources: next-token pre-training, Radford et al. 2019 and arXiv:2005.14165.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ziggurat.lineage import base_manifest
from ziggurat.records import Document
from ziggurat.runs import Run
from ziggurat.settings import Resolved
from ziggurat.stages import setup
from ziggurat.stages.pretrain_config import Prepared, PretrainConfig, prepare, pretrain_config

if TYPE_CHECKING:
    from torch import nn

    from ziggurat.model.transformer import Transformer
    from ziggurat.tokenizer.bpe import Tokenizer

__all__ = ["Prepared", "PretrainConfig", "continue_text", "prepare", "pretrain", "pretrain_config"]

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
    from ziggurat.evaluation.report import Sample, write_run_report
    from ziggurat.model.hub import save_model
    from ziggurat.stages.batches import TextBatches
    from ziggurat.stages.losses import split_rows, text_loss
    from ziggurat.training.loop import train

    ready = prepare(resolved, documents, held_out=held_out, data=data, run_path=run_path if resume else None)
    config, tokenizer = ready.resolved.config, ready.tokenizer
    if resume:
        setup.check_same_data(run_path, ready.data)
    loss = text_loss(ready.model_config.layers, config.early_exit)
    manifest = base_manifest("pretrain", parent=ready.base_folder, data=ready.data, seed=config.train.seed)
    with Run.create(
        run_path,
        stage="pretrain",
        config_yaml=ready.resolved.to_yaml(),
        manifest=manifest | {"tokenizer": tokenizer.fingerprint, "model": ready.model_config.model_dump()},
        resume=resume,
        overwrite=overwrite,
    ) as run:
        tokenizer.save(run_path / "tokenizer")  # a resumed run reads it back instead of training it again
        setup.print_sources(ready.resolved)
        setup.print_derived("pretrain", ready.derived)
        model = _model(ready)
        result = train(
            run,
            model,
            TextBatches(ready.rows, ready.batch_rows, config.train.seed),
            loss,
            config.train,
            split=split_rows,
            evaluate=_evaluator(ready) if ready.held_out else None,
            sample=lambda m: continue_text(m, tokenizer, ""),
            resume=resume,
            stage_label="pretrain",
            tokenizer=tokenizer,
        )
        run.save_model(lambda folder: save_model(model, folder, tokenizer))
        samples = [Sample("", continue_text(model, tokenizer, "", seed=seed)) for seed in range(3)]
        samples += [
            Sample(text[:120], continue_text(model, tokenizer, text[:120])) for text in ready.held_out[:3]
        ]
        report = write_run_report(
            run,
            summary="A base model: it continues text, and has not yet learned to answer.",
            numbers={
                "steps": result.steps,
                "tokens": result.counted,
                "loss": result.loss,
                **result.evaluation,
            },
            derived=[(d.name, d.value, d.why) for d in ready.derived],
            samples=samples,
        )
        run.finish(report)
    return run_path


def continue_text(
    model: nn.Module, tokenizer: Tokenizer, text: str, *, tokens: int = SAMPLE_TOKENS, seed: int = 0
) -> str:
    """What the model writes after `text` (or as a new document), at temperature 0.8; the end of a document ends it."""
    from ziggurat.engine.generate import generate
    from ziggurat.engine.params import SamplingParams

    decoder: Any = model
    room = max(1, decoder.config.context - tokens)
    ids = [tokenizer.endoftext_id, *tokenizer.encode(text)][-room:]
    limit = min(tokens, decoder.config.context - len(ids))
    params = SamplingParams(
        temperature=0.8, seed=seed, max_tokens=max(1, limit), stop_ids=frozenset({tokenizer.endoftext_id})
    )
    return tokenizer.decode(generate(decoder, [ids], params)[0].ids)


def _evaluator(ready: Prepared) -> Callable[[nn.Module], dict[str, float]]:
    from ziggurat.evaluation.bits import score_texts

    def evaluate(model: Any) -> dict[str, float]:
        score = score_texts(model, ready.tokenizer, ready.held_out, context=ready.rows.shape[1] - 1)
        return {"val_loss": score.loss, "val_bits_per_byte": score.bits_per_byte}

    return evaluate


def _model(ready: Prepared) -> Transformer:
    from ziggurat.model.hub import load_model
    from ziggurat.model.transformer import Transformer

    if ready.base_folder is not None:
        return load_model(ready.base_folder)
    model = Transformer(ready.model_config, seed=None)
    model.init_weights(ready.resolved.config.train.seed, quiet=True)
    return model
