"""`ziggurat tokenizer`: make one, see how it cuts a text, measure how well it fits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ziggurat.cli import options
from ziggurat.console import err, human_count, human_time, out, table
from ziggurat.errors import UsageError
from ziggurat.files import check_folder, to_json

if TYPE_CHECKING:
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.report import Fit

app = typer.Typer(help="Train, show and compare tokenizers.", no_args_is_help=True)

_SHADES = ("black on bright_cyan", "black on bright_yellow")  # neighbouring tokens apart


@app.command()
def train(
    texts: Annotated[
        list[Path], typer.Argument(help="Files or folders of text, in any format of docs/data.md.")
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="Folder for the new tokenizer.")],
    vocab: Annotated[int, typer.Option(help="Tokens, the seven special ones included.")] = 32_000,
    characters: Annotated[bool, typer.Option(help="One token per character instead of BPE.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a tokenizer that is already there.")] = False,
) -> None:
    """Train a byte-level BPE tokenizer on text.

    \b
    ziggurat tokenizer train corpus.txt --vocab 8000 --out my-tokenizer
    ziggurat tokenizer train notes/ pages.jsonl.gz --out my-tokenizer
    ziggurat tokenizer train shakespeare.txt --characters --out letters
    """
    from ziggurat.corpus.documents import read_documents
    from ziggurat.tokenizer.bpe import Tokenizer

    check_folder(to)
    if (to / "tokenizer.json").exists() and not overwrite:
        raise UsageError(f"{to} already holds a tokenizer; name another folder, or add --overwrite.")
    t0 = time.monotonic()
    documents = [document.text for document in read_documents(texts)]
    size = sum(map(len, documents))
    err.print(f"{len(documents):,} documents, {human_count(size)} characters")
    made = Tokenizer.characters("".join(documents)) if characters else Tokenizer.train(documents, vocab)
    made.save(to)
    if not characters and made.vocab_size < vocab:
        err.print(f"The text has no more pairs to merge: {made.vocab_size:,} tokens instead of {vocab:,}.")
    out.print(f"{to}: {made.vocab_size:,} tokens, in {human_time(time.monotonic() - t0)}")


@app.command()
def report(
    models: Annotated[list[str], typer.Argument(help="Tokenizer folders, runs, or Hugging Face folders.")],
    text: Annotated[list[Path] | None, typer.Option(help="Measure on this file; may be repeated.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Vocabulary size, tokens per character and word, bytes per token, beside published figures.

    \b
    ziggurat tokenizer report my-tokenizer
    ziggurat tokenizer report town/sft ./Qwen3-0.6B --text mine.txt
    ziggurat tokenizer report my-tokenizer --json
    """
    from ziggurat.corpus.documents import read_documents
    from ziggurat.tokenizer.report import PUBLISHED, SAMPLE, measure

    texts = [document.text for document in read_documents(text)] if text else [SAMPLE]
    fits = {name: measure(load(name), texts) for name in models}
    if as_json:
        typer.echo(to_json({name: fit.to_json() for name, fit in fits.items()}, indent=2))
        return
    rows = [_row(name, fit) for name, fit in fits.items()]
    rows += [(name, f"{size:,}", f"{zh:.2f}", f"{en:.3f}", "", "") for name, size, zh, en in PUBLISHED]
    columns = ["tokenizer", "vocabulary", "tokens/zh char", "tokens/en char", "tokens/en word", "bytes/token"]
    out.print(table(None, columns, rows, right=columns[1:]))
    where = (
        f"{human_count(sum(map(len, texts)))} characters of {', '.join(map(str, text))}"
        if text
        else "a sample"
    )
    err.print(f"Measured on {where}; the rows without words were published by their authors, on other texts.")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A tokenizer folder, a run, or a Hugging Face folder.")],
    text: Annotated[str, typer.Argument(help="What to cut into tokens; - reads standard input.")],
    specials: Annotated[bool, typer.Option(help="Read <|endoftext|> and its kin as special tokens.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show a text as pieces and as ids, with the count.

    \b
    ziggurat tokenizer show my-tokenizer "Four stages make a ziggurat."
    ziggurat tokenizer show town/pretrain "男儿何不带吴钩" --json
    cat letter.txt | ziggurat tokenizer show my-tokenizer -
    """
    import sys

    tokenizer = load(model)
    given = sys.stdin.read() if text == "-" else text
    ids = tokenizer.encode_with_specials(given) if specials else tokenizer.encode(given)
    pieces = [tokenizer.piece(id) for id in ids]
    if as_json:
        typer.echo(to_json({"tokens": len(ids), "characters": len(given), "ids": ids, "pieces": pieces}))
        return
    coloured = Text()
    for number, piece in enumerate(pieces):
        coloured.append(piece, style=_SHADES[number % 2])
    out.print(coloured, soft_wrap=True)
    out.print(" | ".join(piece.replace("\n", "\\n") for piece in pieces), soft_wrap=True)
    out.print(" ".join(map(str, ids)), soft_wrap=True)
    out.print(f"{len(ids):,} tokens, {len(given):,} characters")


def _row(name: str, fit: Fit) -> tuple[str, ...]:
    ratios = (
        (fit.tokens_per_chinese_character, 2),
        (fit.tokens_per_english_character, 3),
        (fit.tokens_per_english_word, 2),
        (fit.bytes_per_token, 2),
    )
    return (name, f"{fit.vocabulary:,}", *("" if r is None else f"{r:.{digits}f}" for r, digits in ratios))


def load(name: str) -> Tokenizer:
    """A tokenizer folder itself; otherwise the model that a name or path means."""
    from ziggurat.places import model_folder
    from ziggurat.tokenizer.bpe import Tokenizer

    folder = Path(name)
    return Tokenizer.load(folder if (folder / "tokenizer.json").is_file() else model_folder(name))
