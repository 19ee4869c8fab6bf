"""`ziggurat moderation`: train and try the layers of `/v1/moderations`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ziggurat.console import err, out, table
from ziggurat.errors import UsageError
from ziggurat.files import to_json

app = typer.Typer(help="Train and try the layers of `/v1/moderations`.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Train and try the layers of `/v1/moderations`."""


@app.command()
def train(
    labelled: Annotated[
        Path,
        typer.Argument(
            help='JSON Lines of {"text": ..., "categories": [...]}; no category: a harmless text.'
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="The folder to write the classifier to.")],
) -> None:
    """Train a small classifier on your own labels, and measure it on a held-out fifth of them.

    \b
    ziggurat moderation train labelled.jsonl --out moderation/mine
    """
    from ziggurat.files import check_folder
    from ziggurat.safety import training

    check_folder(folder)
    made, measured, left_out = training.train(training.read_labelled(labelled))
    made.save(folder)
    for category, count in left_out.items():
        err.print(
            f"Left out {category}: {count} positive texts; {training.MIN_TEXTS} positive and negative ones are needed."
        )
    rows = [
        [
            category,
            m.texts,
            m.positives,
            m.flagged,
            _share(m.precision),
            _share(m.recall),
            f"{m.threshold:.2f}",
        ]
        for category, m in measured.items()
    ]
    names = ["category", "held out", "labelled", "flagged", "precision", "recall", "threshold"]
    out.print(table(None, names, rows, right=names[1:]))
    err.print(f"Written to {folder}; serve it with --moderation-classifier {folder}.")


@app.command()
def check(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without any, the lines of standard input.")
    ] = None,
    patterns: Annotated[Path | None, typer.Option("--patterns", help="YAML file of patterns.")] = None,
    classifier: Annotated[Path | None, typer.Option("--classifier", help="Folder of a classifier.")] = None,
) -> None:
    """Judge texts as `serve` does, one JSON result a line; a broken file is reported before a server reads it.

    \b
    ziggurat moderation check "How do I pick a lock?" --patterns moderation.yaml --classifier moderation/mine
    """
    from ziggurat.safety.moderator import moderator_of

    moderator = moderator_of(patterns, classifier)
    if not moderator.layers:
        raise UsageError("No layer is given; add --patterns FILE, --classifier FOLDER, or both.")
    asked = list(texts or ()) or [line.rstrip("\n") for line in sys.stdin]
    for text, result in zip(asked, moderator.classify(asked)[0], strict=True):
        flagged = {c: round(s, 4) for c, s in result["category_scores"].items() if result["categories"][c]}
        out.out(to_json({"text": text, "flagged": flagged}))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
