"""A model on held-out data: how well it predicts text, and how well it imitates demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ziggurat.console import err
from ziggurat.corpus.files import load_kind
from ziggurat.evaluation.bits import score_texts
from ziggurat.evaluation.demonstrations import score_demonstrations
from ziggurat.model.hub import load_model
from ziggurat.places import base_named, model_folder, reasoning_of
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.rendering import render_all
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.device import place


def measure(
    model: str | Path,
    text: Sequence[Path],
    demonstrations: Sequence[Path],
    *,
    context: int = 0,
    stride: int = 0,
    skip: bool = False,
) -> dict[str, Any]:
    """The numbers by kind of data (`text`, `demonstrations`), with the files they were measured on (`data`).

    context: tokens of a window; 0: the model's context. stride: tokens scored in each window; 0: all.
    Raises DataError for a file that cannot be used, RunError or ModelFolderError for a model that cannot be loaded.
    """
    folder = model_folder(model)
    documents = load_kind("documents", text, role="text", skip=skip)
    talks = load_kind("demonstrations", demonstrations, role="demonstrations", skip=skip)
    tokenizer = Tokenizer.load(folder)
    loaded = place(load_model(folder, tokenizer_ids=tokenizer.vocab_size, base=base_named(model)))
    result: dict[str, Any] = {"model": str(folder), "data": documents.entries + talks.entries}
    if documents:
        result["text"] = score_texts(
            loaded,
            tokenizer,
            [d.text for d in documents.records],
            context=context or None,
            stride=stride or None,
        ).to_dict()
    if talks:
        given = len(talks.records)
        usable = render_all(
            ChatTemplate(tokenizer, reasoning=reasoning_of(folder)),
            talks.records,
            longest=loaded.config.context + 1,
            skip=skip,
            what="demonstration",
        )
        if usable.left_out:
            err.print(usable.left_out.summary(given))
        score = score_demonstrations(loaded, usable.flat)
        result["demonstrations"] = {**score.to_dict(), "left_out": given - len(usable.records)}
    return result
