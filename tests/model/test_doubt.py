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
        model.doubt.look.weight.normal_(std=0.3)  # or attention comes to its floor
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


@torch.no_grad()
def test_as_a_critic_it_hears_the_words_so_far_and_expects_the_next():
    """Before each word: attention over the words so far and the one to come, of which the average is heard."""
    model = hearing()
    model.calibrate(reward_shift=0.5, reward_scale=2.0)
    answers = ([1, OPENS, 8, 9, 6], [OPENS, 3, 6])
    states, words, rows, expected = [], [], [], []
    for row, ids in enumerate(answers):
        start = ids.index(OPENS) + 1
        hidden = model.body.hidden(torch.tensor([ids]))[0]
        logp = model.body.logits(hidden).log_softmax(-1)
        for end in range(start, len(ids)):
            score = float(model.scores(hidden[end - 1]))
            look = torch.stack([LOOK_GAIN * model.doubt.look(hidden[t - 1]) for t in range(start, end + 1)])
            for head in range(HEADS):
                share = look[:, head].softmax(0)
                for i, t in enumerate(range(start, end + 1)):
                    log, chances = logp[t - 1], logp[t - 1].exp()
                    entropy = -(chances * log).sum()
                    each = torch.stack(
                        (log.clamp(min=-SURPRISE_FLOOR_NATS), chances, entropy * chances / chances.max())
                    )  # (3, V): what would be heard of every word
                    heard = each @ chances if t == end else each[:, ids[t]]
                    score += WEIGH_GAIN * float(share[i] * (model.doubt.weigh[head] @ heard))
            expected.append((score - 0.5) * 2.0)
            states.append(hidden[end - 1])
            words.append(ids[end])
            rows.append(row)
    foresight = model.foresee(torch.stack(states), torch.tensor(words))
    values = model.values(foresight, torch.tensor(rows), len(answers))
    torch.testing.assert_close(
        values.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-4
    )


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
