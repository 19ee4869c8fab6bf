"""Loading takes the memory of what is served: no fp32 copy is built on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ziggurat.model.accounting import total_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer

CONFIG = ModelConfig(  # 49M parameters, half of them the embedding, as in small models from elsewhere
    layers=6, d_model=512, heads=8, kv_heads=8, d_head=64, d_ff=1536, vocab_size=49_152, context=512
)
PROGRAM = """
import sys
from pathlib import Path
import torch
from ziggurat.model.cpu.quantized import load_to_serve
from ziggurat.model.hub import load_model, load_scalar

def kib(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

folder, dtype, weights = Path(sys.argv[1]), getattr(torch, sys.argv[2]), sys.argv[3]
torch.ones(64, 64).bfloat16() @ torch.ones(64, 64).bfloat16()
before = kib("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
model = load_to_serve(folder, dtype, weights)
print((kib("VmHWM:") - before) * 1024)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, Path]:
    where = tmp_path_factory.mktemp("models")
    made = {}
    for dtype in (torch.float32, torch.bfloat16):
        made[dtype] = where / str(dtype)
        save_model(Transformer(CONFIG).to(dtype), made[dtype])
    return made


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("served", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_loading_peaks_near_the_size_in_the_served_dtype(
    stored: torch.dtype, served: torch.dtype, folders: dict[torch.dtype, Path]
) -> None:
    order = [sys.executable, "-c", PROGRAM, str(folders[stored]), str(served).removeprefix("torch."), "auto"]
    peak = int(subprocess.run(order, capture_output=True, text=True, check=True).stdout)
    size = total_parameters(CONFIG) * served.itemsize
    assert 0.9 * size < peak <= 1.3 * size, f"{peak / size:.2f} times the size"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_few_bits_are_rounded_a_matrix_at_a_time(weights: str, folders: dict[torch.dtype, Path]) -> None:
    order = [sys.executable, "-c", PROGRAM, str(folders[torch.bfloat16]), "bfloat16", weights]
    peak = int(subprocess.run(order, capture_output=True, text=True, check=True).stdout)
    embedding = CONFIG.vocab_size * CONFIG.d_model  # 8 bits either way, and once as it is stored
    held = 1.07 * embedding + (1.07 if weights == "int8" else 0.63) * (total_parameters(CONFIG) - embedding)
    assert held < peak <= held + 2 * embedding + 120e6, f"{peak / 1e6:.0f} MB for {held / 1e6:.0f}"
