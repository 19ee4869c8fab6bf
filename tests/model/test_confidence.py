"""The score head that reads how probable the language model finds each word of an answer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from ziggurat.model.confidence import (
    HEADS,
    LOGP_FLOOR_NATS,
    QUERY_GAIN,
    WEIGHT_GAIN,
    ConfidenceHead,
    current_name,
)
from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import accelerate
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_scalar, save_scalar
from ziggurat.model.transformer import Transformer
from ziggurat.settings import resolve
from ziggurat.stages.align import AlignConfig
from ziggurat.stages.reward_config import RewardConfig

CONFIG = ModelConfig(layers=2, d_model=16, heads=2, kv_heads=2, d_head=8, d_ff=24, vocab_size=13, context=16)
OPENS = 5  # the token that opens the assistant's turn


def head(model: RewardModel) -> ConfidenceHead:
    assert model.confidence is not None
    return model.confidence


def confident() -> RewardModel:
    torch.manual_seed(0)
    model = RewardModel(Transformer(CONFIG, seed=1), confidence=ConfidenceHead(CONFIG.d_model, OPENS))
    with torch.no_grad():
        model.head.weight.normal_()
        head(model).query.weight.normal_(std=0.3)  # or attention comes to its floor
        head(model).weights.normal_()
    return model


def test_a_fresh_head_adds_nothing():
    model = RewardModel(Transformer(CONFIG, seed=1), confidence=ConfidenceHead(CONFIG.d_model, OPENS))
    ids, ends = torch.randint(0, 13, (3, 8)), torch.tensor([7, 6, 5])
    assert torch.equal(model.raw(ids, ends), torch.zeros(3))


@torch.no_grad()
def test_it_reads_the_answer_alone_and_as_written_out_by_hand():
    """Two rows: in the first the last OPENS before the end stands at 3, so tokens 4..6 are read; padding is not."""
    model = confident()
    ids = torch.tensor([[1, OPENS, 2, OPENS, 8, 9, 6, 0, 0], [1, 2, OPENS, 3, 4, 8, 9, 10, 6]])
    ends = torch.tensor([6, 8])
    raw = model.raw(ids, ends)
    for row, (start, end) in enumerate(((4, 6), (3, 8))):
        hidden = model.body.hidden(ids[row : row + 1, : end + 1])
        logp = model.body.logits(hidden)[0].log_softmax(-1)
        expected = float(model.scores(hidden[0, end]))
        look = [QUERY_GAIN * head(model).query(hidden[0, t - 1]) for t in range(start, end + 1)]
        for h in range(HEADS):
            share = torch.tensor([float(at[h]) for at in look]).softmax(0)
            for i, t in enumerate(range(start, end + 1)):
                chances = logp[t - 1].exp()
                said, likeliest = float(logp[t - 1, ids[row, t]]), float(logp[t - 1].max())
                entropy = -float((chances * logp[t - 1]).sum())
                features = (
                    max(said, LOGP_FLOOR_NATS),
                    math.exp(said),
                    entropy * math.exp(said - likeliest),
                )
                weigh = head(model).weights[h].tolist()
                expected += (
                    WEIGHT_GAIN * float(share[i]) * sum(w * x for w, x in zip(weigh, features, strict=True))
                )
        assert abs(float(raw[row]) - expected) < 2e-6 * max(1.0, abs(expected))


@torch.no_grad()
def test_as_a_critic_it_reads_the_words_so_far_and_expects_the_next():
    """Before each word: attention over the words so far and the one to come, of which the mean is taken."""
    model = confident()
    model.calibrate(reward_shift=0.5, reward_scale=2.0)
    answers = ([1, OPENS, 8, 9, 6], [OPENS, 3, 6])
    states, words, rows, expected = [], [], [], []
    for row, ids in enumerate(answers):
        start = ids.index(OPENS) + 1
        hidden = model.body.hidden(torch.tensor([ids]))[0]
        logp = model.body.logits(hidden).log_softmax(-1)
        for end in range(start, len(ids)):
            score = float(model.scores(hidden[end - 1]))
            look = torch.stack([QUERY_GAIN * head(model).query(hidden[t - 1]) for t in range(start, end + 1)])
            for h in range(HEADS):
                share = look[:, h].softmax(0)
                for i, t in enumerate(range(start, end + 1)):
                    log, chances = logp[t - 1], logp[t - 1].exp()
                    entropy = -(chances * log).sum()
                    each = torch.stack(
                        (log.clamp(min=LOGP_FLOOR_NATS), chances, entropy * chances / chances.max())
                    )  # (3, V): the features of every word
                    features = each @ chances if t == end else each[:, ids[t]]
                    score += WEIGHT_GAIN * float(share[i] * (head(model).weights[h] @ features))
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
    model = confident()
    with torch.no_grad():
        model.head.weight.zero_()
        head(model).weights.zero_()
    ids, ends = torch.tensor([[1, OPENS, 2, 3, 6]]), torch.tensor([4])
    model.raw(ids, ends).sum().backward()
    assert head(model).weights.grad is not None
    assert float(head(model).weights.grad.abs().sum()) > 0
    assert all(p.grad is None or float(p.grad.abs().sum()) == 0 for p in model.body.parameters())


def test_saved_and_loaded_it_scores_alike(tmp_path: Path):
    model = confident()
    model.calibrate(reward_shift=0.5, reward_scale=2.0)
    save_scalar(model, tmp_path / "reward")
    again = load_scalar(tmp_path / "reward")
    assert isinstance(again, RewardModel)
    assert head(again).answer_after == OPENS
    ids, ends = torch.randint(0, 13, (4, 9)), torch.tensor([8, 8, 7, 6])
    assert torch.equal(accelerate(model).score(ids, ends), again.score(ids, ends))


def test_a_reward_model_saved_in_november_2026_scores_as_it_did():
    """Its tensors are called doubt.*, its config.json says doubt_after and claims to be a plain classifier."""
    model = load_scalar(Path(__file__).parent / "data" / "reward-2026-11")
    assert isinstance(model, RewardModel)
    assert (head(model).answer_after, head(model).heads) == (5, 4)
    ids = torch.tensor([[1, 5, 2, 5, 8, 9, 6, 0, 0], [1, 2, 5, 3, 4, 8, 9, 10, 6]])
    with torch.no_grad():
        scores = model.score(ids, torch.tensor([6, 8])).tolist()
    assert scores == pytest.approx([-292.29296875, -309.8304138183594], rel=1e-5)


def test_optimizer_states_of_old_checkpoints_are_found_under_the_present_names():
    assert (
        current_name("model.adam.exp_avg.doubt.look.weight") == "model.adam.exp_avg.confidence.query.weight"
    )
    assert current_name("model.adam.step.doubt.weigh") == "model.adam.step.confidence.weights"
    names = {name for name, _ in confident().named_parameters()}
    assert {"confidence.query.weight", "confidence.weights"} <= names


@pytest.mark.parametrize(("old", "new"), [(True, "confidence"), (False, "linear")])
def test_a_config_that_hears_doubt_is_still_read(old: bool, new: str):
    assert resolve(RewardConfig, ("run", {"hears_doubt": old, "epochs": 2})).config.score_head == new
    assert resolve(AlignConfig, ("recipe", {"reward": {"hears_doubt": old}})).config.reward.score_head == new
