"""`ziggurat data`: what is in a file, whether it is sound, and how its conversations look to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ziggurat.cli import options
from ziggurat.console import err, out
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.records import Message
    from ziggurat.tokenizer.template import ChatTemplate

app = typer.Typer(help="Check and show data files.", no_args_is_help=True)

_TRAINED, _SPECIAL, _SEEN = "bold green", "magenta", "default"


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Data files of any format, or folders of text.")],
    skip_bad_rows: Annotated[
        bool, typer.Option(help="Count bad rows instead of stopping at the first.")
    ] = False,
    as_json: options.AsJsonList = False,
) -> None:
    """Recognise each file, read it to its end, and count records and reasons.

    Every file is read as each kind of record it can give, so this is what the stages would see.

    \b
    ziggurat data check alpaca_en_demo.json
    ziggurat data check corpus/ demonstrations.jsonl votes.jsonl.gz
    ziggurat data check scraped.jsonl --skip-bad-rows --json
    """
    from ziggurat.corpus.check import check_file
    from ziggurat.errors import DataError

    found, wrong = [], []
    for file in files:
        try:
            found.append(check_file(file, skip_bad_rows=skip_bad_rows))
        except DataError as error:
            wrong.append(error)
            continue
        if not as_json:
            for kind in found[-1]["kinds"]:
                out.print(f"{file}: {kind['summary']}", soft_wrap=True)
    if as_json:
        typer.echo(to_json(found, indent=2))
    for earlier in wrong[:-1]:
        err.print(f"Error: {earlier}", soft_wrap=True)
    if wrong:
        raise wrong[-1]


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A data file of any format.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Which record, counted from 1.")] = 1,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Use the tokenizer and template of this run or folder."),
    ] = None,
    ids: Annotated[bool, typer.Option(help="Print the ids as well.")] = False,
) -> None:
    """Show one record as the model sees it: trained tokens green, special tokens magenta.

    Without --model the conversation is shown in our own template, cut into characters.

    \b
    ziggurat data show demonstrations.jsonl
    ziggurat data show dpo_en_demo.json --number 7
    ziggurat data show chats.jsonl --model town/sft --ids
    """
    from ziggurat.corpus.check import nth_record
    from ziggurat.records import Document

    record = nth_record(file, number)
    if isinstance(record, Document):
        out.print(Text(record.text), soft_wrap=True)
        return
    template = _template(model, to_json(record.to_json()))
    for title, messages, tools in _conversations(record):
        if title:
            out.print(Text(title, style="bold"))
        _print(template, messages, tools, ids)


def _conversations(record: Any) -> list[tuple[str, list[Message], Any]]:
    """(title, messages, tools) of each conversation in a record: the completions of a comparison best first."""
    from ziggurat.records import Comparison, Prompt, Rating
    from ziggurat.tokenizer.rendering import conversations_of

    found = conversations_of(record)
    if isinstance(record, Comparison):
        ranked = sorted(zip(record.ranks, found, strict=True), key=lambda pair: pair[0])
        return [(f"rank {rank}", *one) for rank, one in ranked]
    title = "prompt" if isinstance(record, Prompt) else ""
    if isinstance(record, Rating):
        title = "liked" if record.label else "not liked"
    return [(title, *one) for one in found]


def _template(model: str | None, text: str) -> ChatTemplate:
    from ziggurat.places import model_folder, reasoning_of
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate

    if model is None:
        return ChatTemplate(Tokenizer.characters(text))
    folder = Path(model)
    if not (folder / "tokenizer.json").is_file():
        folder = model_folder(model)
    template = ChatTemplate(Tokenizer.load(folder), reasoning=reasoning_of(folder))
    if template.is_plain:
        err.print(f"{model} has no chat template; the conversation is written as User: and Assistant: lines.")
    return template


def _print(template: ChatTemplate, messages: list[Message], tools: Any, ids: bool) -> None:
    tokenizer = template.tokenizer
    rendered = template.render(messages, tools=tools, add_generation_prompt=messages[-1].role != "assistant")
    coloured, waiting, style = Text(), b"", _SEEN
    for id, trained in zip(rendered.ids, rendered.mask, strict=True):
        own = _TRAINED if trained else _SPECIAL if id in tokenizer.special_ids else _SEEN
        if own != style:
            coloured.append(waiting.decode("utf-8", "replace"), style=style)
            waiting, style = b"", own
        waiting += tokenizer.token_bytes(id)
    coloured.append(waiting.decode("utf-8", "replace"), style=style)
    out.print(coloured, soft_wrap=True)
    if ids:
        out.print(" ".join(map(str, rendered.ids)), soft_wrap=True)
    err.print(f"{len(rendered.ids):,} tokens, {sum(rendered.mask):,} of them trained (green)")
