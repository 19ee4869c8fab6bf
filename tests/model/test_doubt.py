"""The reward model that hears how sure its own language model is of each word of an answer."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from ziggurat.model.config import ModelConfig
from ziggurat.model.doubt import HEADS, LOOK_GAIN, SURPRISE_FLOOR_NATS, WEIGH_GAIN
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_scalar, save_scalar
from ziggurat.model.transformer import Transformer

CONFIG = ModelConfig(layers=2, d_model=16, heads=2, kv_heads=2, d_head=8, d_ff=24, vocab_size=13, context=16)
OPENS = 5  # the token that opens the assistant's turn


def hearing() -> RewardModel:
    torch.manual_seed(0)
    model = RewardModel(Transformer(CONFIG, seed=1), doubt_after=OPENS)
    with torch.no_grad():
        model.head.weight.normal_()
        model.doubt.look.weight.normal_()
        model.doubt.weigh.normal_()
    return model


def test_fresh_it_hears_nothing():
    model = RewardModel(Transformer(CONFIG, seed=1), doubt_after=OPENS)
    ids, ends = torch.randint(0, 13, (3, 8)), torch.tensor([7, 6, 5])
    assert torch.equal(model.raw(ids, ends), torch.zeros(3))


@torch.no_grad()
def test_it_hears_the_answer_alone_and_as_written_out_by_hand():
    """Two rows: in the first the last OPENS before the end stands at 3, so tokens 4..6 are heard; padding is not."""
    model = hearing()
    ids = torch.tensor([[1, OPENS, 2, OPENS, 8, 9, 6, 0, 0], [1, 2, OPENS, 3, 4, 8, 9, 10, 6]])
    ends = torch.tensor([6, 8])
    raw = model.raw(ids, ends)
    for row, (start, end) in enumerate(((4, 6), (3, 8))):
        hidden = model.body.hidden(ids[row : row + 1, : end + 1])
        logp = model.body.logits(hidden)[0].log_softmax(-1)
        expected = float(model.scores(hidden[0, end]))
        look = [LOOK_GAIN * model.doubt.look(hidden[0, t - 1]) for t in range(start, end + 1)]
        for head in range(HEADS):
            share = torch.tensor([float(at[head]) for at in look]).softmax(0)
            for i, t in enumerate(range(start, end + 1)):
                chances = logp[t - 1].exp()
                said, likeliest = float(logp[t - 1, ids[row, t]]), float(logp[t - 1].max())
                entropy = -float((chances * logp[t - 1]).sum())
                heard = (
                    max(said, -SURPRISE_FLOOR_NATS),
                    math.exp(said),
                    entropy * math.exp(said - likeliest),
                )
                weigh = model.doubt.weigh[head].tolist()
                expected += (
                    WEIGH_GAIN * float(share[i]) * sum(w * x for w, x in zip(weigh, heard, strict=True))
                )
        assert abs(float(raw[row]) - expected) < 2e-6 * max(1.0, abs(expected))


def test_no_gradient_flows_into_the_probabilities():
    model = hearing()
    with torch.no_grad():
        model.head.weight.zero_()
        model.doubt.weigh.zero_()
    ids, ends = torch.tensor([[1, OPENS, 2, 3, 6]]), torch.tensor([4])
    model.raw(ids, ends).sum().backward()
    assert model.doubt.weigh.grad is not None
    assert float(model.doubt.weigh.grad.abs().sum()) > 0
    assert all(p.grad is None or float(p.grad.abs().sum()) == 0 for p in model.body.parameters())


def test_saved_and_loaded_it_scores_alike(tmp_path: Path):
    model = hearing()
    model.calibrate(reward_shift=0.5, reward_scale=2.0)
    save_scalar(model, tmp_path / "reward")
    again = load_scalar(tmp_path / "reward")
    assert isinstance(again, RewardModel)
    assert again.doubt_after == OPENS
    ids, ends = torch.randint(0, 13, (4, 9)), torch.tensor([8, 8, 7, 6])
    assert torch.equal(model.score(ids, ends), again.score(ids, ends))
