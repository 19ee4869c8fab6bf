"""KTO: numbers worked by hand, the mismatched pairs, and the taste for b learned from thumbs."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.corpus.load import load_ratings
from ziggurat.dialogue.chat import Chat
from ziggurat.errors import DataError
from ziggurat.model.hub import load_model
from ziggurat.records import Comparison, write_records
from ziggurat.runs import Run
from ziggurat.stages.kto import (
    RatedBatches,
    kto,
    kto_config,
    kto_loss,
    loss_of,
    prepare,
    split_rated,
    with_reference,
)
from ziggurat.stages.kto_config import weights_of

SMALL: dict[str, Any] = {
    "held_out_share": 0.2,
    "train": {"lr_adam": 3e-3, "dtype": "fp32", "threads": 1, "eval_every_steps": 20},
}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_loss_is_the_hand_worked_number() -> None:
    ratio, liked = torch.tensor([2.0, 2.0, -1.0]), torch.tensor([True, False, False])
    got = kto_loss(ratio, liked, 1.0, beta=0.5, desirable=1.0, undesirable=3.0)
    by_hand = [1 - sigmoid(0.5), 3 * (1 - sigmoid(-0.5)), 3 * (1 - sigmoid(1.0))]
    assert got.tolist() == pytest.approx(by_hand)


def test_a_ranking_gives_thumbs_to_its_better_and_worse_half(tmp_path: Path) -> None:
    one = Comparison(
        id="1", prompt=alphabet.user("x1?"), completions=["a", "b", "c", "d"], ranks=[1, 2, 2, 4]
    )
    write_records(tmp_path / "votes.jsonl", [one])
    made = load_ratings(tmp_path / "votes.jsonl")
    assert [(r.completion, r.label) for r in made.records] == [("a", True), ("d", False)]
    assert "a thumb taken from a ranking (2)" in made.summary()


def test_the_rarer_side_weighs_more() -> None:
    assert weights_of([True, True, True, False], 0, 0) == (1.0, 3.0)
    assert weights_of([True, False, False], 0, 1.5) == (2.0, 1.5)


def test_a_mismatched_pair_is_this_prompt_with_another_examples_completion(letters_sft: Path) -> None:
    ready = prepare(kto_config(letters_sft), letters_sft, alphabet.ratings(30))
    completions = {tuple(one.row[one.start :]) for one in ready.rated}
    for one in ready.rated:
        assert one.mismatched[: one.start] == one.row[: one.start]
        assert tuple(one.mismatched[one.start :]) in completions
    assert (
        sum(one.mismatched == one.row for one in ready.rated) < len(ready.rated) / 4
    )  # equal by chance alone


def test_z_is_that_of_the_whole_step_in_every_microbatch(letters_sft: Path) -> None:
    """The policy moved away from its reference: z is above 0, and three microbatches give the loss of one."""
    policy = load_model(letters_sft)
    ready = prepare(kto_config(letters_sft), letters_sft, alphabet.ratings(40))
    rated, _ = with_reference(ready, policy)
    with torch.no_grad():
        for block in policy.blocks:
            block.mlp.down.weight.mul_(0.7)
    loss = loss_of(ready.config)
    whole = RatedBatches(rated, 24, ready, torch.device("cpu")).next()
    total, count, metrics = loss(policy, whole)
    by_hand = sum(
        float(
            policy(torch.tensor([row])).detach().log_softmax(-1)[0, range(s - 1, len(row) - 1), row[s:]].sum()
        )
        - known
        for row, s, known in zip(
            whole.mismatched.rows, whole.mismatched.starts, whole.mismatched.reference, strict=True
        )
    ) / len(whole.mismatched.rows)
    assert metrics["kl"] / count == pytest.approx(max(0.0, by_hand), abs=1e-4)
    again = RatedBatches(rated, 24, ready, torch.device("cpu")).next()
    parts = [loss(policy, piece) for piece in split_rated(again, 3)]
    assert len(parts) >= 3
    assert sum(n for _, n, _ in parts) == count
    assert sum(x.item() for x, _, _ in parts) == pytest.approx(total.item(), rel=1e-5)


def test_it_learns_what_people_like(letters_sft: Path, tmp_path: Path) -> None:
    config = kto_config(letters_sft, ("test", SMALL))
    run = Run.open(kto(config, letters_sft, alphabet.ratings(400), tmp_path / "kto-1"))
    rows, numbers = run.read_metrics(), (run.report or {})["numbers"]
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert rows[-1]["liked_reward"] > rows[-1]["disliked_reward"]
    assert numbers["held_out_auroc_low"] > 0.65
    assert numbers["likelihood_auroc_after"] > numbers["likelihood_auroc_before"] + 0.1
    assert numbers["drift_nats"] > 0.1
    answers = Chat.load(run.model_path, as_trained=True).complete_many(
        [one.prompt for one in alphabet.prompts()]
    )
    assert statistics.fmean(map(alphabet.likes, answers)) > 0.6


def test_thumbs_of_one_kind_are_refused(letters_sft: Path) -> None:
    liked = [one for one in alphabet.ratings(10) if one.label]
    with pytest.raises(
        DataError, match=r"all \d+ ratings are likes; give completions that are liked and others"
    ):
        prepare(kto_config(letters_sft), letters_sft, liked)
