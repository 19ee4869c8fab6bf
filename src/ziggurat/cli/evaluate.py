"""`ziggurat eval`: how well a model predicts text, and how well it imitates demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import out, table
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
    from ziggurat.evaluation.measure import measure

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
