"""Looking inside a Hugging Face tokenizer: its twin that is blind to special tokens, and the bytes of its tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Mapping

import tokenizers as hf


def without(full: hf.Tokenizer, guarded: Mapping[str, int]) -> hf.Tokenizer:
    """The same tokenizer, blind to the guarded tokens."""
    state = json.loads(full.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in guarded]
    state["post_processor"] = None
    return hf.Tokenizer.from_str(json.dumps(state))


def escaping(plain: hf.Tokenizer, guarded: Mapping[str, int]) -> Callable[[str], str]:
    """For vocabularies that could still reach a guarded token by themselves (Unigram can): break its name in two.

    BPE cannot, because no merge leads there; for BPE this is the identity.
    """
    reached = [name for name, id in guarded.items() if id in plain.encode(name, add_special_tokens=False).ids]
    if not reached:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(name) for name in sorted(reached, key=len, reverse=True)))
    return lambda text: pattern.sub(lambda match: match[0][0] + "\u200b" + match[0][1:], text)


def is_byte_level(full: hf.Tokenizer) -> bool:
    state = json.loads(full.to_str())
    return '"ByteLevel"' in json.dumps([state["pre_tokenizer"], state["decoder"]])


def _byte_of_char() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return table | {chr(256 + n): byte for n, byte in enumerate(others)}


def bytes_of_tokens(full: hf.Tokenizer, size: int, added: Container[int], *, metaspace: bool) -> list[bytes]:
    """For every id the bytes it stands for; `metaspace`: U+2581 is a space, as SentencePiece writes it."""
    by_char = _byte_of_char() if is_byte_level(full) else None
    table = []
    for id in range(size):
        token = full.id_to_token(id)
        if token is None:  # a hole in a foreign vocabulary
            table.append(b"")
        elif id in added:
            table.append(token.encode())
        elif by_char is not None:
            table.append(bytes(by_char[char] for char in token))
        elif re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            table.append(bytes([int(token[3:5], 16)]))
        else:
            table.append((token.replace("\u2581", " ") if metaspace else token).encode())
    return table
