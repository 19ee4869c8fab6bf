"""A tokenizer's files in Hugging Face layout: tokenizer.json, tokenizer_config.json, chat_template.jinja."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers as hf

from ziggurat.errors import ModelFolderError
from ziggurat.files import atomic_write_text
from ziggurat.tokenizer.making import ENDOFTEXT
from ziggurat.tokenizer.merges import byte_level, files_of

_SPECIAL_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


def read_folder(folder: Path) -> tuple[hf.Tokenizer, dict[str, Any], str | None]:
    """(tokenizer, configuration, chat template) of `tokenizer.json` and what is beside it.

    Without tokenizer.json, a vocabulary and merges as GPT-2 was published with (merges.py).
    """
    path = folder if folder.is_file() else folder / "tokenizer.json"
    if not path.is_file() and (pair := files_of(folder)) is not None:
        config = {"eos_token": ENDOFTEXT} | _read_json(folder / "tokenizer_config.json")
        return byte_level(*pair, ENDOFTEXT), config, None
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} has no tokenizer.json; give a run, a folder made by `ziggurat tokenizer train`, "
            "or a Hugging Face folder with a fast tokenizer."
        )
    try:
        full = hf.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ModelFolderError(
            f"{path} is not a tokenizer that can be read ({error}); fetch or write the file again."
        ) from None
    named = _read_json(path.parent / "special_tokens_map.json")
    config = {name: content_of(named[name]) for name in _SPECIAL_NAMES if named.get(name)}
    config |= _read_json(path.parent / "tokenizer_config.json")
    jinja = path.parent / "chat_template.jinja"
    template = jinja.read_text(encoding="utf-8") if jinja.is_file() else config.get("chat_template")
    if isinstance(template, list):  # several named templates: [{"name": "default", "template": ...}, ...]
        by_name = {entry["name"]: entry["template"] for entry in template}
        template = by_name.get("default") or next(iter(by_name.values()), None)
    return full, config, template


def write_folder(
    folder: Path, full: hf.Tokenizer, config: Mapping[str, Any], chat_template: str | None
) -> None:
    """Write the files that transformers.AutoTokenizer, vLLM and llama.cpp's converter read."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / "tokenizer.json", full.to_str(pretty=True))
    written = dict(config)
    if chat_template is not None:
        written["chat_template"] = chat_template  # for readers older than chat_template.jinja
        atomic_write_text(folder / "chat_template.jinja", chat_template)
    atomic_write_text(
        folder / "tokenizer_config.json", json.dumps(written, ensure_ascii=False, indent=2) + "\n"
    )


def content_of(token: Any) -> Any:
    """The text of a special token, which a configuration writes as a string or as an object."""
    return token.get("content") if isinstance(token, dict) else token


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{path} is not valid JSON: {error}") from None
    return found if isinstance(found, dict) else {}
