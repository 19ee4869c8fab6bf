"""What `models list` and `models show` say of a model: sizes, memory, templates, and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ziggurat.cards import Card, read_card
from ziggurat.errors import ZigguratError
from ziggurat.models.bring import BLOCKS


def row(folder: Path) -> dict[str, Any]:
    """One line of the list; reads no weights."""
    try:
        card = read_card(folder)
    except ZigguratError:
        card = None
    return {
        "name": folder.name,
        "kind": card.kind if card else "",
        "parameters": _stored_numbers(folder),
        "bytes": sum(path.stat().st_size for name in ("*.safetensors", BLOCKS) for path in folder.glob(name)),
        "licence": card.licence if card else "",
        "source": card.source if card else "",
    }


def facts(folder: Path) -> dict[str, Any]:
    """All that is known of a model without computing with it."""
    card = read_card(folder) or Card(name=folder.name)
    known: dict[str, Any] = {**row(folder), "path": str(folder), "card": card.model_dump(mode="json")}
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    known["model_type"] = raw.get("model_type")
    if card.kind == "embedding model":
        return known
    from ziggurat.model import accounting
    from ziggurat.model.hub import load_config, stored_dtype
    from ziggurat.training.precision import choose_dtype

    config, serving = load_config(folder), choose_dtype()[0]
    weights = accounting.total_parameters(config) * serving.itemsize
    return {
        **known,
        "parameters": accounting.total_parameters(config),
        "active_parameters": accounting.active_parameters(config),
        "flops_per_token": 2 * accounting.active_matrix_parameters(config),
        "context": config.context,
        "stored_as": str(stored_dtype(folder)).removeprefix("torch."),
        "serving_dtype": str(serving).removeprefix("torch."),
        "serving_weight_bytes": weights,
        "cache_bytes_per_token": accounting.cache_bytes_per_token(config, serving),
        **_words(folder),
    }


def _words(folder: Path) -> dict[str, Any]:
    from ziggurat.tokenizer.bpe import Tokenizer
    from ziggurat.tokenizer.template import ChatTemplate

    tokenizer = Tokenizer.load(folder)
    template = ChatTemplate(tokenizer)
    program = template._program
    return {
        "vocabulary": tokenizer.vocab_size,
        "chat_template": not template.is_plain,
        "template_shows_tools": not template.is_plain and program.shows_calls,
        "template_shows_reasoning": not template.is_plain and program.shows_reasoning,
        "answers_end_with": [tokenizer.piece(id) for id in sorted(template.stop_ids)],
    }


def _stored_numbers(folder: Path) -> int:
    """Numbers in the weight files, by their headers."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with open(path, "rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(size, 100_000_000)))
        except (OSError, ValueError):
            continue
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for length in tensor["shape"]:
                    count *= length
                total += count
    return total
