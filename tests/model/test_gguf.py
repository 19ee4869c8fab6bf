"""GGUF both ways: transformers reads what we write and computes the same; every quantisation is read; mistakes show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.model.worlds import theirs
from tests.needs import needs
from torch import Tensor

from ziggurat.errors import ModelFolderError
from ziggurat.model.hub import gguf_layout, load_config, load_gguf, load_model, save_model
from ziggurat.model.hub.gguf_write import write_gguf
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.gguf import metadata_of, tokenizer_of

gguf: Any = needs("gguf", reason="the package is not installed")
TEXTS = [
    "In 1984, 3.14159 people!",
    "渡口边有一家面包店。",
    "  two  spaces\n\n\tand a tab",
    "don't we'll I'M",
    "é́ ＡＢＣ 🙂",
]
# What both sides can: (name in worlds, whether transformers reads this architecture from GGUF).
CASES = {
    "llama": True,
    "llama3": False,
    "llama2": False,
    "llama-biases": False,
    "mistral-window": False,
    "qwen2": True,
    "qwen3": True,
    "qwen3-tied": True,
    "smollm3": False,
    "neox": False,
    "gpt2": False,
}


def written(name: str, folder: Path, kind: Any = "f16") -> tuple[Tensor, Tensor, Path]:
    """Ids, logits of the original and the GGUF file, which rounded it to f16 or int8."""
    _, ids, expected = theirs(name, folder / "theirs")
    model = load_model(folder / "theirs")
    save_model(model, folder / "ours")
    path = folder / "model.gguf"
    write_gguf(
        folder / "ours", path, metadata_of(small_tokenizer(), model.config.vocab_size + 0, "here"), kind
    )
    return ids, expected, path


def small_tokenizer() -> Tokenizer:
    """Of fewer ids than the models of `worlds` embed: characters cannot be written, so bytes of a tiny alphabet."""
    import tokenizers as hf

    full = hf.Tokenizer(
        hf.models.BPE(vocab={chr(97 + i): i for i in range(26)} | {"ab": 26}, merges=[("a", "b")])
    )
    full.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    full.decoder = hf.decoders.ByteLevel()
    full.add_special_tokens(["<|endoftext|>"])
    return Tokenizer(full, {"eos_token": "<|endoftext|>"})


@torch.no_grad()
def away(model: Transformer, ids: Tensor, expected: Tensor) -> float:
    return float((model(ids) - expected).abs().mean() / expected.std())


@pytest.mark.parametrize("name", CASES)
def test_a_written_file_is_read_again_as_the_same_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = gguf_layout.LLAMA31.model_copy(update={"original_context": 16})  # as in `worlds`
    monkeypatch.setattr(gguf_layout, "LLAMA31", small)
    ids, expected, path = written(name, tmp_path)
    again = load_gguf(path, dtype=torch.float32)
    before = load_config(tmp_path / "ours")
    if name == "mistral-window":  # llama.cpp would attend to more, so the file ends at the window
        before = before.model_copy(update={"context": before.window})
        ids, expected = ids[:, : before.context], expected[:, : before.context]
    assert again.config == before.model_copy(
        update={"norm_eps": pytest.approx(before.norm_eps), **_read_as(again)}
    )
    assert away(again, ids, expected) <= 5e-3


def test_other_rotary_frequencies_than_llama_3s_are_refused(tmp_path: Path) -> None:
    path = written("llama3", tmp_path)[2]
    with pytest.raises(ModelFolderError, match="its rotary frequencies are none of LLaMA 3's"):
        load_gguf(path)


def _read_as(again: Transformer) -> dict[str, Any]:
    """GGUF holds numbers of 32 bits."""
    return {"norm_eps": again.config.norm_eps, "rope_theta": again.config.rope_theta}


@pytest.mark.parametrize("name", [name for name, known in CASES.items() if known])
def test_transformers_reads_the_same_model(name: str, tmp_path: Path) -> None:
    ids, expected, path = written(name, tmp_path)
    config = transformers.AutoConfig.from_pretrained(
        tmp_path / "ours"
    )  # of a GGUF it does not read the head's width
    reference: Any = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=config
    )
    with torch.no_grad():
        found = reference(ids).logits
    assert (found - expected).abs().mean() / expected.std() <= 5e-3


@pytest.mark.parametrize("name", ["llama", "qwen3", "smollm3"])
def test_q8_0_is_near(name: str, tmp_path: Path) -> None:
    ids, expected, path = written(name, tmp_path, "q8_0")
    assert away(load_gguf(path, dtype=torch.float32), ids, expected) <= 0.1
    assert path.stat().st_size < 0.7 * written(name, tmp_path / "f16")[2].stat().st_size


@pytest.mark.parametrize("name", ["llama", "smollm3", "neox", "gpt2"])
def test_a_forgotten_arrangement_is_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of q and k interleaved, q k v head by head, transposed matrices: each forgotten on reading."""
    ids, expected, path = written(name, tmp_path)
    if name == "gpt2":
        monkeypatch.setattr(
            gguf_layout.Layout, "from_gguf", lambda self, name, x: x.T.reshape(x.shape[::-1]).T
        )
        with pytest.raises((RuntimeError, AssertionError)):
            assert away(load_gguf(path, dtype=torch.float32), ids, expected) <= 0.1
        return
    monkeypatch.setattr(gguf_layout.Layout, "from_gguf", lambda self, name, x: x)
    assert away(load_gguf(path, dtype=torch.float32), ids, expected) > 0.1


KINDS = [kind for kind in gguf.quants._type_traits if kind.name not in ("F32", "F16")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_quantisation_is_read(kind: Any, tmp_path: Path) -> None:
    """A matrix of random blocks, whose numbers are those that the gguf library gives."""
    _, _, plain = written("llama", tmp_path)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    width = max(block, 32)
    random = np.random.default_rng(0).integers(0, 256, (97, width // block * size), dtype=np.uint8)
    random &= 0xBF  # no f16 scale is infinite
    model = Transformer(
        load_config(tmp_path / "ours").model_copy(
            update={"d_model": width, "heads": 4, "kv_heads": 2, "d_head": 8, "layers": 1}
        )
    )
    save_model(model, tmp_path / "wide")
    metadata = metadata_of(small_tokenizer(), 97, "here")
    path = tmp_path / "wide.gguf"
    original = gguf.GGUFWriter.add_tensor

    def quantised(self: Any, name: str, tensor: Any, *more: Any, **named: Any) -> None:
        if name == "token_embd.weight":
            original(self, name, random, raw_dtype=kind)
        else:
            original(self, name, tensor, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_tensor", quantised)
        write_gguf(tmp_path / "wide", path, metadata)
    expected = torch.from_numpy(gguf.quants.dequantize(random, kind).astype(np.float32))
    assert torch.equal(load_gguf(path, dtype=torch.float32).embedding.weight, expected)
    assert plain.is_file()


def test_the_dtype_kept_is_that_of_the_file(tmp_path: Path) -> None:
    assert load_gguf(written("llama", tmp_path)[2]).embedding.weight.dtype == torch.float16
    assert load_gguf(written("llama", tmp_path / "q", "q8_0")[2]).embedding.weight.dtype == torch.bfloat16


# --- tokenizers -------------------------------------------------------------------------------------------------


def bytes_vocabulary() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize(("pre", "pieces"), [
    ("smollm", ["1", "9", "8", "4"]),
    ("gpt-2", ["1984"]),
    ("qwen2", ["1", "9", "8", "4"]),
    ("llama-bpe", ["198", "4"]),
])  # fmt: skip
def test_pre_decides_how_digits_are_split(pre: str, pieces: list[str]) -> None:
    merges = ["1 9", "19 8", "198 4"]
    tokens = [*bytes_vocabulary(), "19", "198", "1984"]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": [1] * len(tokens),
    }
    found = tokenizer_of(metadata, "here")
    assert [found.piece(id) for id in found.encode("1984")] == pieces


def test_an_unknown_splitting_is_refused() -> None:
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "klingon",
        "tokenizer.ggml.tokens": ["a"],
    }
    with pytest.raises(
        ModelFolderError, match=r"split as 'klingon' \(tokenizer.ggml.pre\), which is not one of"
    ):
        tokenizer_of(metadata, "m.gguf")


def test_merges_of_other_tokens_are_refused() -> None:
    """The tokenizers library panics at them, which no `except Exception` catches."""
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["a", "b"],
        "tokenizer.ggml.merges": ["a b"],
    }
    with pytest.raises(ModelFolderError, match="the merge 'a b' has tokens that the vocabulary lacks"):
        tokenizer_of(metadata, "m.gguf")


def test_our_tokenizer_comes_back_with_the_same_ids() -> None:
    own = Tokenizer.train(TEXTS * 5, 400)
    again = tokenizer_of(metadata_of(own, own.vocab_size, "here"), "here")
    for text in TEXTS:
        assert again.encode(text) == own.encode(text)
        assert again.decode(again.encode(text)) == text
    assert again.encode_with_specials("<|user|>hi<|end|>") == own.encode_with_specials("<|user|>hi<|end|>")
    assert again.encode("<|user|>") == own.encode("<|user|>"), "typed text is never a special token"
    assert again.chat_template == own.chat_template
    assert again.endoftext_id == own.endoftext_id


def test_a_sentencepiece_vocabulary_gives_the_ids_of_sentencepiece(tmp_path: Path) -> None:
    """LLaMA 2's kind, whose merges GGUF does not hold: they follow from the scores."""
    sentencepiece = needs("sentencepiece", reason="the package sentencepiece is not installed")
    text = tmp_path / "text.txt"
    text.write_text(
        "\n".join([*TEXTS, "the lighthouse and the harbour of the little town"] * 30), encoding="utf-8"
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "sp"), vocab_size=420, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        hard_vocab_limit=False, split_digits=True,
    )  # fmt: skip
    judge = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    ids = range(judge.get_piece_size())
    kinds = [
        6 if judge.is_byte(i) else 2 if judge.is_unknown(i) else 3 if judge.is_control(i) else 1 for i in ids
    ]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [judge.id_to_piece(i) for i in ids],
        "tokenizer.ggml.scores": [judge.get_score(i) for i in ids],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": judge.bos_id(),
        "tokenizer.ggml.eos_token_id": judge.eos_id(),
    }
    found = tokenizer_of(metadata, "here")
    assert found.adds_bos
    again = tokenizer_of(metadata_of(found, len(kinds), "here"), "here")
    for text in [*TEXTS, "unseen words: zyzzyva 2718"]:
        expected = judge.encode(text)
        assert found.encode(text) == expected
        assert again.encode(text) == expected
        assert found.decode(expected) == text


# --- bad files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.97])
def test_a_file_cut_short_is_refused_in_one_sentence(share: float, tmp_path: Path) -> None:
    path = written("llama", tmp_path)[2]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelFolderError, match="is no whole GGUF file") as caught:
        load_gguf(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("hello" * 100)
    with pytest.raises(ModelFolderError, match="is no whole GGUF file"):
        load_gguf(tmp_path / "a.gguf")
    with pytest.raises(ModelFolderError, match="does not exist"):
        load_gguf(tmp_path / "b.gguf")


def test_what_llama_cpp_would_compute_otherwise_is_not_written(tmp_path: Path) -> None:
    theirs("gemma3", tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "ours")
    with pytest.raises(ModelFolderError, match="llama.cpp would compute another model, since its layers"):
        write_gguf(tmp_path / "ours", tmp_path / "m.gguf", metadata_of(small_tokenizer(), 97, "here"))
    assert not (tmp_path / "m.gguf").exists()
