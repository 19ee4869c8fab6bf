"""A model or run of ours for other programs: a Hugging Face folder, a GGUF file for llama.cpp, an adapter for PEFT."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ziggurat.cards import CARD, Card, read_card
from ziggurat.errors import ModelFolderError, UsageError
from ziggurat.files import atomic_write_text, check_folder
from ziggurat.models.bring import LICENCES, TAKEN
from ziggurat.places import ADAPTER_CONFIG, base_named, model_folder

FORMS = ("hf", "gguf", "peft")
KINDS = ("f16", "q8_0")


def export(name: str, to: str, out: Path, *, kind: str = "f16", overwrite: bool = False) -> Path:
    """Write the model that `name` means to `out`: a folder (hf, peft) or a file (gguf, or a folder to put it in).

    `peft` writes an adapter alone; the other forms work it into its base's weights.

    Raises UsageError for a form or place that does not fit, ModelFolderError for a model that the form cannot hold.
    """
    if to not in FORMS:
        raise UsageError(f"--to is {to!r}; it must be {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    if kind not in KINDS:
        raise UsageError(f"--type is {kind!r}; it must be {' or '.join(KINDS)}.")
    if to == "peft":
        source = model_folder(name)
        if not (source / ADAPTER_CONFIG).is_file():
            raise UsageError(f"{name} is a whole model and no adapter; export it with --to hf or --to gguf.")
        return _to_folder(source, out, overwrite)
    with _whole_model(name) as source:
        if to == "hf":
            return _to_folder(source, out, overwrite)
        return _to_gguf(source, name, out, kind, overwrite)


@contextmanager
def _whole_model(name: str) -> Iterator[Path]:
    """The folder of a model; of an adapter, or of a checkpoint in shards, a temporary one of the whole."""
    from ziggurat.training.sharded_checkpoints import gather_module, module_in_shards

    if shards := module_in_shards(name):
        with tempfile.TemporaryDirectory() as gathered:
            gather_module(*shards, Path(gathered))
            yield Path(gathered)
        return
    source = model_folder(name)
    if not (source / ADAPTER_CONFIG).is_file():
        yield source
        return
    from ziggurat.model.hub import load_model, save_model, stored_dtype
    from ziggurat.tokenizer.bpe import Tokenizer

    model = load_model(source, dtype=stored_dtype(source), base=base_named(name))
    if model.prefix is not None:
        raise ModelFolderError(
            f"{source} holds virtual tokens, which cannot be worked into the weights of a model; its folder is a PEFT "
            "folder, which other programs read as it is."
        )
    with tempfile.TemporaryDirectory() as whole:
        save_model(model, Path(whole), Tokenizer.load(source))
        yield Path(whole)


def _to_folder(source: Path, out: Path, overwrite: bool) -> Path:
    """The files that other programs read, and the card as README.md, which the Hub shows."""
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not overwrite:
        raise UsageError(f"{out} is not empty; name another folder, or add --overwrite.")
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    names = [source / one for one in (*TAKEN, ADAPTER_CONFIG) if (source / one).is_file()]
    names += [*sorted(source.glob("*.safetensors"))]
    names += [path for pattern in LICENCES for path in sorted(source.glob(pattern))]
    if (source / CARD).is_file():
        names.append(source / CARD)
    for path in names:
        shutil.copyfile(path, out / path.name)
    card = read_card(source)
    if card is not None and not (out / "README.md").exists():
        atomic_write_text(out / "README.md", as_markdown(card))
    return out


def _to_gguf(source: Path, name: str, out: Path, kind: str, overwrite: bool) -> Path:
    from ziggurat.model.hub import load_config
    from ziggurat.model.hub.gguf_write import write_gguf
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.gguf import metadata_of

    short = name.strip("/").replace("/", "-").rpartition("~")[2]
    target = out if out.suffix == ".gguf" else out / f"{Path(short).name}-{kind}.gguf"
    if target.exists() and not overwrite:
        raise UsageError(f"{target} is there already; name another file, or add --overwrite.")
    check_folder(target.parent)
    config = load_config(source)
    metadata = metadata_of(Tokenizer.load(source), config.vocab_size, str(source))
    card = read_card(source)
    if card is not None and card.licence != "unknown":
        metadata["general.license"] = card.licence
    write_gguf(source, target, metadata, "q8_0" if kind == "q8_0" else "f16", name=short)
    return target


def as_markdown(card: Card) -> str:
    """The card as the README.md of a Hugging Face folder, its facts in the head that the Hub reads."""
    head = [f"license: {card.licence}"] if card.licence not in ("", "unknown") else []
    head += [f"base_model: {card.parent}"] if card.parent and "/" in card.parent else []
    rows = [
        ("Made by", f"{card.source} {card.revision}".strip()),
        ("Began from", card.parent),
        ("Licence", card.licence),
        ("Licence of its parent", card.parent_licence),
        (
            "Learned from",
            "; ".join(f"{Path(one['path']).name} ({one.get('records')} records)" for one in card.data),
        ),
        ("Of other data", card.data_note),
        ("Weights went through", card.quantisation),
    ]
    facts = [f"- **{label}**: {text}" for label, text in rows if text]
    scores = [f"- {name}: {value:g}" for name, value in card.scores.items()]
    limits = [f"- {sentence}" for sentence in card.limits]
    parts = ["---", *head, "---", "", f"# {card.name}", "", *facts]
    for title, lines in (("Figures", scores), ("Limits", limits)):
        parts += ["", f"## {title}", "", *lines] if lines else []
    return "\n".join(parts) + "\n"
