"""`ziggurat town`: the embedded town as files, for the commands that take a person's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import out, table

app = typer.Typer(no_args_is_help=True, help="The embedded little world: its files and its people.")


@app.command()
def write(
    folder: Annotated[Path, typer.Argument(help="Where to write the files.")],
    town: options.Town = 1,
    documents: Annotated[int, typer.Option(help="Documents of stage 1.", min=1)] = 20_000,
    demonstrations: Annotated[int, typer.Option(help="Demonstrations of stage 2.", min=1)] = 6_000,
    prompts: Annotated[int, typer.Option(help="Prompts of stages 3 and 4.", min=1)] = 4_000,
) -> None:
    """Write documents, demonstrations and prompts of a town as JSON Lines; the same seed gives the same bytes.

    \b
    ziggurat town write town-files
    ziggurat town write town-files --town 7 --documents 50000
    """
    from ziggurat.files import check_folder
    from ziggurat.records import Prompt, write_records
    from ziggurat.town.demonstrations import Teacher, write_demonstrations
    from ziggurat.town.documents import held_out_documents, write_documents
    from ziggurat.town.people import build_town
    from ziggurat.town.tokens import town_tokenizer
    from ziggurat.town.world import load_recipe

    check_folder(folder)
    made = build_town(town)
    teacher = Teacher(made)
    folder.mkdir(parents=True, exist_ok=True)
    asked = (Prompt(prompt=list(teacher.prompt(i).messages)) for i in range(prompts))
    written = list(write_documents(made, documents))
    write_records(folder / "documents.jsonl", written)
    town_tokenizer(made, written, int(load_recipe()["vocabulary"])).save(folder / "tokenizer")
    write_records(folder / "held-out.jsonl", held_out_documents(made, 300))
    write_records(folder / "demonstrations.jsonl", write_demonstrations(made, demonstrations))
    write_records(folder / "prompts.jsonl", asked)
    out.print(
        f"{documents:,} documents, {demonstrations:,} demonstrations and {prompts:,} prompts in {folder}, "
        "and the tokenizer."
    )


@app.command()
def people(
    town: options.Town = 1,
    count: Annotated[int, typer.Option(help="So many residents of each split.", min=1)] = 5,
) -> None:
    """Show some residents and their facts, which the exam asks for; withheld facts are in brackets."""
    from ziggurat.town.people import SPLIT_SIZES, build_town
    from ziggurat.town.phrases import attributes

    made = build_town(town)
    rows = []
    for split in SPLIT_SIZES:
        for resident in made.split(split)[:count]:
            values = [resident.value(a, "en") for a in range(len(attributes()))]
            shown = [v if resident.knows(a) else f"({v})" for a, v in enumerate(values)]
            rows.append([split, resident.name("en"), resident.name("zh"), *shown])
    out.print(table(f"Town {town}", ["split", "en", "zh", *(kind.name for kind in attributes())], rows))
