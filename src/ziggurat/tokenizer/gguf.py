"""The tokenizer inside a GGUF file, both ways: its metadata to a Tokenizer, and a Tokenizer to such metadata.

GGUF keeps tokens, merges and types, and of the splitting only a name, `tokenizer.ggml.pre`. The name decides how digits
are split: read `smollm` as plain GPT-2 and "1984" becomes other tokens than the model was trained on. So `SPLITS` holds
the splitting of each name (llama.cpp, src/llama-vocab.cpp), and an unknown name is refused.

Two kinds are read and written: byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`). Left out: WordPiece and
Unigram, which no chat model here has; normalizers of Hugging Face folders (NFC), which llama.cpp does not apply either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers as hf
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from ziggurat.errors import ModelFolderError
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.making import SPLIT_PATTERN
from ziggurat.tokenizer.merges import misfit

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Token types of GGUF."""
GPT2, DIGITS = "gpt2", "digits"
"""Splits that are not one expression: GPT-2's own, and that after each digit is cut off."""

LLAMA3_PATTERN = SPLIT_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, str] = {
    "qwen2": SPLIT_PATTERN,
    "stablelm2": SPLIT_PATTERN,
    "deepseek-r1-qwen": SPLIT_PATTERN,
    "megrez": SPLIT_PATTERN,
    "hunyuan": SPLIT_PATTERN,
    "llama-bpe": LLAMA3_PATTERN,
    "llama3": LLAMA3_PATTERN,
    "llama-v3": LLAMA3_PATTERN,
    "falcon3": LLAMA3_PATTERN,
    "smaug-bpe": LLAMA3_PATTERN,
    "dbrx": LLAMA3_PATTERN,
    "tekken": TEKKEN_PATTERN,
    "smollm": DIGITS,
    "starcoder": DIGITS,
    "refact": DIGITS,
    "command-r": DIGITS,
    "codeshell": DIGITS,
    "exaone": DIGITS,
    "minerva-7b": DIGITS,
    "gpt-2": GPT2,
    "gpt2": GPT2,
    "olmo": GPT2,
    "mpt": GPT2,
    "jais": GPT2,
    "phi-2": GPT2,
}
"""Name in the file -> its splitting; of several names of one splitting the first is written."""
WHOLE_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "tekken"})
"""Names whose vocabularies take a piece that is a token as it is, without merging (`ignore_merges`)."""

PREFIX = "tokenizer.ggml."
NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
_PADDING = re.compile(r"\[PAD[0-9]+\]")  # rows of the embedding without a token


# --- reading ------------------------------------------------------------------------------------------------------


def tokenizer_of(metadata: Mapping[str, Any], where: str) -> Tokenizer:
    """The Tokenizer that GGUF metadata describes. `where`: the file, for messages.

    Raises ModelFolderError for a kind of tokenizer or a splitting that is not known.
    """
    kind, tokens = metadata.get(f"{PREFIX}model"), metadata.get(f"{PREFIX}tokens")
    if not tokens or kind not in ("gpt2", "llama"):
        raise ModelFolderError(
            f"{where}: its tokenizer is of the kind {kind!r}, where gpt2 (byte-level BPE) and llama (SentencePiece) "
            "can be read; convert the model from its Hugging Face folder instead."
        )
    types = list(metadata.get(f"{PREFIX}token_type") or [NORMAL] * len(tokens))
    kept = [
        (id, token)
        for id, token in enumerate(tokens)
        if not (types[id] == UNUSED and _PADDING.fullmatch(token))
    ]
    vocab = {token: id for id, token in kept}
    full = _byte_level(metadata, vocab, where) if kind == "gpt2" else _sentencepiece(metadata, vocab, types)
    marked = (CONTROL, UNKNOWN) if kind == "llama" else (CONTROL,)
    added = [
        AddedToken(token, special=types[id] in marked, normalized=False)
        for id, token in kept
        if types[id] in (*marked, USER_DEFINED)
    ]
    full.add_tokens(added)
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    for name, key in NAMED.items():
        id = metadata.get(f"{PREFIX}{key}")
        if isinstance(id, int) and 0 <= id < len(tokens):
            config[name] = tokens[id]
    _begin_with(full, metadata, config, vocab, kind)
    return Tokenizer(full, config, metadata.get("tokenizer.chat_template"))


def _byte_level(metadata: Mapping[str, Any], vocab: dict[str, int], where: str) -> hf.Tokenizer:
    name = metadata.get(f"{PREFIX}pre")
    if name not in SPLITS:
        raise ModelFolderError(
            f"{where}: its text is split as {name!r} (tokenizer.ggml.pre), which is not one of "
            f"{', '.join(SPLITS)}; convert the model from its Hugging Face folder instead."
        )
    halves = [merge.partition(" ") for merge in metadata.get(f"{PREFIX}merges") or []]
    merges = [(left, right) for left, _, right in halves]
    if problem := misfit(vocab, merges):
        raise ModelFolderError(f"{where}: {problem}, so the file is damaged; fetch it again.")
    full = hf.Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=name in WHOLE_FIRST))
    full.pre_tokenizer = pre_tokenizers.Sequence(_splitters(SPLITS[name]))
    full.decoder = decoders.ByteLevel()
    return full


def _splitters(split: str) -> list[Any]:
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in (GPT2, DIGITS))
    if split == GPT2:
        return [whole]
    first = (
        pre_tokenizers.Digits(individual_digits=True)
        if split == DIGITS
        else pre_tokenizers.Split(Regex(split), behavior="isolated")
    )
    return [first, whole]


def _sentencepiece(metadata: Mapping[str, Any], vocab: dict[str, int], types: Sequence[int]) -> hf.Tokenizer:
    """BPE whose merges are those pairs of tokens that make a token, in the order of that token's score."""
    scores = metadata.get(f"{PREFIX}scores") or [0.0] * len(types)
    unknown = next((token for token, id in vocab.items() if types[id] == UNKNOWN), None)
    full = hf.Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges_of(vocab, scores, types),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=any(kind == BYTE for kind in types),
        )
    )
    spaced = bool(metadata.get(f"{PREFIX}add_space_prefix", True))
    steps = [normalizers.Prepend("▁")] if spaced else []
    full.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    ends: list[Any] = [decoders.Strip(content=" ", left=1)] if spaced else []
    full.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )
    return full


def merges_of(
    vocab: Mapping[str, int], scores: Sequence[float], types: Sequence[int]
) -> list[tuple[str, str]]:
    """Every way to make a token of two, the token with the highest score first; at equal scores by the ids."""
    found = []
    for token, id in vocab.items():
        if types[id] not in (NORMAL, USER_DEFINED):
            continue
        for cut in range(1, len(token)):
            left, right = vocab.get(token[:cut]), vocab.get(token[cut:])
            if left is not None and right is not None:
                found.append((-scores[id], left, right, token[:cut], token[cut:]))
    return [(left, right) for *_, left, right in sorted(found)]


def _begin_with(
    full: hf.Tokenizer, metadata: Mapping[str, Any], config: dict[str, Any], vocab: dict[str, int], kind: str
) -> None:
    """Raw text begins with bos where the file says so; in files of LLaMA's two kinds unless it says otherwise."""
    bos = config.get("bos_token")
    usual = kind == "llama" or metadata.get(f"{PREFIX}pre") in ("llama-bpe", "llama3", "llama-v3")
    if bos and metadata.get(f"{PREFIX}add_bos_token", usual):
        full.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocab[bos])]
        )


# --- writing ------------------------------------------------------------------------------------------------------


def metadata_of(tokenizer: Tokenizer, rows: int, where: str) -> dict[str, Any]:
    """What a GGUF file of `rows` embedding rows holds of a tokenizer, by its keys.

    Raises ModelFolderError for a tokenizer that llama.cpp would read otherwise.
    """
    state = json.loads(tokenizer.to_json())
    model = state["model"]
    if model.get("type") != "BPE":
        raise ModelFolderError(
            f"{where}: a {model.get('type')} tokenizer cannot be written as GGUF, only BPE can; export to hf."
        )
    tokens, types = _listed(state, rows)
    found: dict[str, Any] = {f"{PREFIX}tokens": tokens, f"{PREFIX}token_type": types}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if '"ByteLevel"' in json.dumps(state["pre_tokenizer"]):
        found |= {
            f"{PREFIX}model": "gpt2",
            f"{PREFIX}pre": split_name(state["pre_tokenizer"], where),
            f"{PREFIX}merges": merges,
        }
    else:
        ranks = {merge.replace(" ", "", 1): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
        found |= {
            f"{PREFIX}model": "llama",
            f"{PREFIX}scores": [ranks.get(token, -1e6) for token in tokens],
            f"{PREFIX}add_space_prefix": '"Prepend"' in json.dumps(state["normalizer"]),
        }
        _must_be_sentencepiece(state, where)
    found[f"{PREFIX}add_bos_token"] = tokenizer.adds_bos
    for name, key in NAMED.items():
        text = tokenizer.special_text(name)
        id = tokenizer.id_of(text) if text else None
        if id is not None:
            found[f"{PREFIX}{key}"] = id
    if tokenizer.chat_template is not None:
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found


def _listed(state: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Tokens and types by id, rows of the embedding without a token filled."""
    tokens = [f"[PAD{id}]" for id in range(rows)]
    types = [UNUSED] * rows
    unknown = state["model"].get("unk_token")
    for token, id in state["model"]["vocab"].items():
        tokens[id] = token
        types[id] = BYTE if re.fullmatch(r"<0x[0-9A-F]{2}>", token) else NORMAL
    for added in state["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    if unknown is not None and unknown in tokens:
        types[tokens.index(unknown)] = UNKNOWN
    return tokens, types


def split_name(state: Any, where: str) -> str:
    """The name under which llama.cpp knows the splitting of a tokenizer.json. Raises ModelFolderError."""
    wanted = _signature(state)
    for name, split in SPLITS.items():
        full = hf.Tokenizer(models.BPE())
        full.pre_tokenizer = pre_tokenizers.Sequence(_splitters(split))
        if _signature(json.loads(full.to_str())["pre_tokenizer"]) == wanted:
            return name
    raise ModelFolderError(
        f"{where}: llama.cpp has no name for the way in which its tokenizer splits text; export to hf."
    )


def _signature(state: Any) -> list[tuple[str, str]]:
    """What decides the splitting, in order."""
    if state.get("type") == "Sequence":
        return [one for inner in state["pretokenizers"] for one in _signature(inner)]
    if state["type"] == "Split":
        return [("Split", next(iter(state["pattern"].values())) + state["behavior"])]
    decides = {key: state[key] for key in ("use_regex", "individual_digits") if key in state}
    return [(state["type"], json.dumps(decides))]


def _must_be_sentencepiece(state: dict[str, Any], where: str) -> None:
    if not state["model"].get("byte_fallback") or "▁" not in json.dumps(
        state["normalizer"], ensure_ascii=False
    ):
        raise ModelFolderError(
            f"{where}: its tokenizer is neither byte-level nor like SentencePiece, so llama.cpp has none like it; "
            "export to hf."
        )
