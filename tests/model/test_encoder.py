"""Our encoder computes what transformers' BertModel computes, padding or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.model.worlds import reinitialise
from transformers import BertConfig, BertForMaskedLM, BertModel

from ziggurat.errors import ModelFolderError
from ziggurat.model.encoder import is_encoder, load_encoder
from ziggurat.model.hub import save_model
from ziggurat.model.presets import OURS
from ziggurat.model.transformer import Transformer

CONFIG = BertConfig(
    vocab_size=97, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
    max_position_embeddings=64,
)  # fmt: skip


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_hidden_states_equal_theirs(kind: type, tmp_path: Path) -> None:
    """With and without the prefix that a model with a head has."""
    model = kind(CONFIG).eval()
    reinitialise(model)
    model.save_pretrained(tmp_path)
    ids, lengths = torch.randint(5, 97, (3, 20)), torch.tensor([20, 11, 1])
    mask = (torch.arange(20) < lengths[:, None]).long()
    body = model if kind is BertModel else model.bert
    with torch.no_grad():
        expected = body(ids, attention_mask=mask).last_hidden_state
        found = load_encoder(tmp_path)(ids, lengths)
    assert is_encoder(tmp_path)
    for row, length in enumerate(lengths.tolist()):
        assert (found[row, :length] - expected[row, :length]).abs().max() <= 1e-4


def test_padding_changes_no_embedding(tmp_path: Path) -> None:
    model = BertModel(CONFIG).eval()
    reinitialise(model)
    model.save_pretrained(tmp_path)
    encoder, ids = load_encoder(tmp_path), torch.randint(5, 97, (1, 9))
    padded = torch.nn.functional.pad(ids, (0, 11), value=3)
    alone, beside = encoder.embed(ids, torch.tensor([9])), encoder.embed(padded, torch.tensor([9]))
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.norm(dim=-1), torch.ones(1))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    save_model(Transformer(OURS["tiny"]), tmp_path)
    with pytest.raises(ModelFolderError, match="holds a 'qwen3' model, not an encoder"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    with pytest.raises(ModelFolderError, match="num_hidden_layers is missing"):
        load_encoder(tmp_path)
