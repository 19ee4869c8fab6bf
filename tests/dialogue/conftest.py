"""A real tokenizer and a tiny real model in a folder, as a run would leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.save import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TEXT = "你好，运河边的面包师。The baker by the canal says good morning, naïve café 🥐 owners! " * 20


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT], 300)


@pytest.fixture(scope="session")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = Transformer(
        ModelConfig(
            layers=2,
            d_model=32,
            heads=2,
            kv_heads=1,
            d_head=16,
            d_ff=48,
            vocab_size=tokenizer.vocab_size,
            context=96,
        )
    )
    model.init_weights(0)
    with torch.no_grad():
        model.norm.weight.mul_(20)  # lively logits
    path = tmp_path_factory.mktemp("run") / "model"
    save_model(model, path, tokenizer)
    return path


@pytest.fixture
def chat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Chat:
    monkeypatch.setattr("ziggurat.dialogue.loading.choose_dtype", lambda: (torch.float32, "exact in tests"))
    return Chat.load(folder)


@pytest.fixture
def base_folder(folder: Path) -> Path:
    """The same model in a run of stage 1."""
    run = folder.parent
    (run / "manifest.json").write_text(json.dumps({"stage": "pretrain", "parent": None}))
    yield folder
    (run / "manifest.json").unlink()
