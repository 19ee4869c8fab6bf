"""llama.cpp computes, from the GGUF files that we write, what the original computes.

Run where `llama_cpp` (the package llama-cpp-python, five minutes of compiling, so no part of the extra `dev`) can be
imported, or by the interpreter that $ZIGGURAT_LLAMA_PYTHON names. Elsewhere `test_gguf.py` reads the files back.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.test_gguf import CASES, written

from ziggurat.model.hub import load_gguf

SCRIPT = """
import sys
import numpy as np
from llama_cpp import Llama
path, ids, out = sys.argv[1], [int(i) for i in sys.argv[2].split(",")], sys.argv[3]
model = Llama(path, n_ctx=64, n_threads=1, logits_all=True, verbose=False)
model.eval(ids)
np.save(out, model.scores[: len(ids)])
"""
NOT_THERE = {
    "llama3": "the file's small rotary bands are none of LLaMA 3's",
    "llama-biases": "llama.cpp's `llama` has biases of q, k and v only",
}


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that imports llama_cpp."""
    if importlib.util.find_spec("llama_cpp") is not None:
        return sys.executable
    named = os.environ.get("ZIGGURAT_LLAMA_PYTHON")
    if not named:
        pytest.skip("llama.cpp did not judge our GGUF files: llama_cpp is not installed, and "
                    "ZIGGURAT_LLAMA_PYTHON names no interpreter that has it")  # fmt: skip
    return named


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_THERE])
def test_it_computes_the_same_logits(python: str, name: str, kind: str, tmp_path: Path) -> None:
    ids, expected, path = written(name, tmp_path, kind)
    context = load_gguf(path).config.context
    row, out = ids[0, :context].tolist(), tmp_path / "logits.npy"
    made = subprocess.run(
        [python, "-c", SCRIPT, str(path), ",".join(map(str, row)), str(out)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    found = torch.from_numpy(np.load(out))
    away = float((found - expected[0, :context]).abs().mean() / expected.std())
    assert away <= (0.01 if kind == "f16" else 0.1)
