"""`ziggurat eval`: how well a model predicts text, and how well it imitates demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ziggurat.cli import inputs, options
from ziggurat.console import err, out, table
from ziggurat.errors import UsageError
from ziggurat.files import to_json


def evaluate(
    model: Annotated[str, typer.Argument(help="A run, a checkpoint or a Hugging Face folder.")],
    text: Annotated[list[Path] | None, typer.Option("--text", help="Raw text to predict.")] = None,
    demonstrations: Annotated[
        list[Path] | None, typer.Option("--demonstrations", help="Conversations to imitate.")
    ] = None,
    context: Annotated[int, typer.Option(help="Tokens of a window; 0: the model's context.", min=0)] = 0,
    stride: Annotated[int, typer.Option(help="Tokens scored in each window; 0: all, fastest.", min=0)] = 0,
    as_json: options.AsJson = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Measure a model on held-out data: bits per byte and perplexity of text, accuracy on demonstrations.

    \b
    ziggurat eval town/pretrain --text held_out.jsonl
    ziggurat eval town/sft --text held_out.jsonl --demonstrations exam.jsonl --json
    ziggurat eval models/gpt2 --text wikitext2_test.txt --stride 512
    """
    if not text and not demonstrations:
        raise UsageError("`ziggurat eval` needs --text FILE or --demonstrations FILE, or both.")
    result = measure(
        model, text or [], demonstrations or [], context=context, stride=stride, skip=skip_bad_rows
    )
    if as_json:
        typer.echo(to_json(result, indent=2))
        return
    rows = [
        (part, name.replace("_", " "), f"{value:,.4f}" if isinstance(value, float) else f"{value:,}")
        for part in ("text", "demonstrations")
        for name, value in (result.get(part) or {}).items()
    ]
    out.print(table(result["model"], ("data", "number", "value"), rows, right=("value",)))


def measure(
    model: str, text: list[Path], demonstrations: list[Path], *, context: int, stride: int, skip: bool = False
) -> dict[str, Any]:
    """The numbers by kind of data, with the files they were measured on."""
    from ziggurat.corpus.load import load_demonstrations
    from ziggurat.evaluation.bits import score_texts
    from ziggurat.evaluation.demonstrations import score_demonstrations
    from ziggurat.model.hub import load_model
    from ziggurat.places import model_folder
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.rendering import render_all
    from ziggurat.tokenizer.template import ChatTemplate

    folder = model_folder(model)
    documents = inputs.documents(text, role="text", skip=skip)
    talks = inputs.records(demonstrations, load_demonstrations, role="demonstrations", skip=skip)
    tokenizer = Tokenizer.load(folder)
    loaded = load_model(folder, tokenizer_ids=tokenizer.vocab_size)
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
            ChatTemplate(tokenizer),
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
