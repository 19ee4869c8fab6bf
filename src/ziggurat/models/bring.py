"""A model folder or a GGUF file from elsewhere becomes `$ZIGGURAT_HOME/models/<name>`, checked before it is in place.

A Hugging Face folder is copied: its safetensors (sharded or not), configs, tokenizer, and nothing else; what stays
behind is named in the card. A GGUF file is dequantised and written as such a folder, with tokenizer and chat template;
of one of 4 bits its own blocks are kept as well, to be served from (`model.hub.blocks`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ziggurat.cards import Card, write_card
from ziggurat.errors import ModelFolderError, UsageError
from ziggurat.files import sha256_file
from ziggurat.models.places import NAME, check_free, put
from ziggurat.runs import utc_now

TAKEN = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "model.safetensors.index.json",
)
BLOCKS = "model.blocks"
"""As in `model.hub.blocks`, which imports torch; for serving here, so exports leave it out."""
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "README.md")
"""Kept beside a model, since its terms are part of it."""


def name_for(path: Path) -> str:
    """The name of what a path holds: the folder's or the file's, without the suffix."""
    stem = path.stem if path.suffix == ".gguf" else path.resolve().name
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in stem).lstrip("._-")
    if not NAME.fullmatch(name):
        raise UsageError(f"{path} gives no name for a model; give one with --name.")
    return name


def bring(path: Path, name: str | None = None, *, overwrite: bool = False, card: Card | None = None) -> Path:
    """Import a folder or a GGUF file; returns the new folder.

    card: what is known of its source, completed here. Raises UsageError for a name that is taken, ModelFolderError for
    a model that cannot be loaded; nothing is in place then.
    """
    path = path.expanduser()
    name = name or name_for(path)
    folder = check_free(name, overwrite=overwrite)
    known = card or Card(name=name, source=str(path.resolve()))
    known = known.model_copy(update={"name": name, "made_utc": utc_now()})
    if path.is_dir():
        put(folder, lambda aside: write_card(_from_folder(path, aside, known), aside))
    elif path.is_file():
        put(folder, lambda aside: write_card(_from_gguf(path, aside, known), aside))
    else:
        raise UsageError(f"{path} does not exist; give a model folder or a GGUF file.")
    return folder


def _from_folder(source: Path, target: Path, card: Card) -> Card:
    weights = sorted(source.glob("*.safetensors"))
    taken = [source / name for name in (*TAKEN, BLOCKS) if (source / name).is_file()]
    taken += [path for pattern in LICENCES for path in sorted(source.glob(pattern)) if path.is_file()]
    for path in (*taken, *weights):
        shutil.copyfile(path, target / path.name)
    kind = check(target, source)
    left = sorted(p.name for p in source.iterdir() if p.is_file() and p not in taken and p not in weights)
    sums = card.sha256 or {path.name: sha256_file(target / path.name) for path in weights}
    found = {"kind": kind, "sha256": sums, "left_out": tuple(n for n in left if not n.startswith("."))}
    if card.licence == "unknown" and (licence := licence_of(source / "README.md")):
        found["licence"] = licence
    return card.model_copy(update=found)


def check(folder: Path, source: Path | None = None) -> str:
    """Load what can be loaded, keep nothing; returns the kind of model. Raises ModelFolderError about `source`."""
    from ziggurat.model.encoder import is_encoder, load_encoder
    from ziggurat.model.hub import check_model, is_scalar
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate

    try:
        if is_encoder(folder):
            load_encoder(folder)
            return "embedding model"
        tokenizer = Tokenizer.load(folder)
        ChatTemplate(tokenizer)
        check_model(folder, tokenizer.vocab_size)
        return "reward model" if is_scalar(folder) else "language model"
    except ModelFolderError as error:
        raise ModelFolderError(str(error).replace(str(folder), str(source or folder))) from error


def _from_gguf(source: Path, target: Path, card: Card) -> Card:
    from ziggurat.model.hub import load_gguf, save_model
    from ziggurat.model.hub.blocks import write_blocks
    from ziggurat.model.hub.gguf_read import GGUFFile
    from ziggurat.tokenizer.gguf import tokenizer_of
    from ziggurat.tokenizer.template import ChatTemplate

    file = GGUFFile(source)
    tokenizer = tokenizer_of(file.metadata, str(source))
    ChatTemplate(tokenizer)
    model = load_gguf(source)
    save_model(model, target, tokenizer)
    write_blocks(file, target)
    said = {key: file.metadata.get(f"general.{key}") for key in ("license", "name")}
    return card.model_copy(
        update={
            "licence": card.licence if card.licence != "unknown" else said["license"] or "unknown",
            "quantisation": file.quantisation,
            "sha256": card.sha256 or {source.name: sha256_file(source)},
            "limits": card.limits or _quantised(file.quantisation),
        }
    )


def _quantised(kind: str) -> tuple[str, ...]:
    if kind in ("F32", "F16", "BF16"):
        return ()
    return (f"Its weights were rounded to {kind} before they came here; the original may answer better.",)


def licence_of(readme: Path) -> str | None:
    """The `license:` of a Hugging Face model card's head (YAML between two lines of ---)."""
    import yaml

    try:
        text = readme.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if not text.startswith("---"):
        return None
    try:
        head: Any = yaml.safe_load(text[3:].partition("\n---")[0])
    except yaml.YAMLError:
        return None
    found = head.get("license") if isinstance(head, dict) else None
    if found == "other":
        found = head.get("license_name") or found
    return json.dumps(found) if isinstance(found, list) else str(found) if found else None
