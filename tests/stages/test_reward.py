"""Stage 3 on the world of four letters: what it learns, its units, its report card, and what it refuses."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch
from tests.training.tiny import new_run
from torch import nn

from ziggurat.errors import DataError
from ziggurat.model.confidence import ConfidenceHead
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model, load_scalar
from ziggurat.model.transformer import Transformer
from ziggurat.records import Comparison, Message
from ziggurat.runs import Run
from ziggurat.stages.comparison_batches import (
    ComparisonBatches,
    Ranked,
    RankedBatch,
    collate,
    read_once,
    render_comparisons,
    split_batch,
)
from ziggurat.stages.report_card import score_rows
from ziggurat.stages.reward import gold_from_reward_model, prepare, ranking_loss, reward_config
from ziggurat.stages.reward_config import split_comparisons
from ziggurat.tokenizer.rendering import render_all
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training import TrainConfig, train

CPU = torch.device("cpu")
TEMPLATE = ChatTemplate(alphabet.tokenizer())


def trained(letters_reward: Path) -> RewardModel:
    model = load_scalar(letters_reward / "model")
    assert isinstance(model, RewardModel)
    return model


def test_it_learned_the_labellers_taste(letters_reward: Path) -> None:
    """Rankings follow the share of b without noise, so 90 % of unseen pairs is little to ask; chance is 50 %."""
    card = (Run.open(letters_reward).report or {})["card"]
    assert card["passed"], card["reasons"]
    assert card["pairs"]["value"] > 0.9
    assert set(card["kinds"]) == {"clear", "close"}
    assert card["kinds"]["clear"]["value"] >= card["kinds"]["close"]["value"]
    assert card["best_of_n"][3]["wins"] > card["best_of_n"][0]["wins"] + 0.2


def test_demonstrations_average_zero(letters_reward: Path) -> None:
    """The fixture's own demonstrations: exactly the calibration's, so the mean is 0 up to rounding."""
    model = trained(letters_reward)
    shown = [one.messages for one in alphabet.demonstrations(60, seed=9)]
    rewards = score_rows(model, [one.ids for one in TEMPLATE.render_many(shown)], 1)
    assert statistics.fmean(rewards) == pytest.approx(0.0, abs=1e-4)


def test_samples_of_the_stage_2_model_have_deviation_one(letters_reward: Path, letters_sft: Path) -> None:
    """Fresh samples (another seed): 1 within sampling error, which is about 1/sqrt(2*512) = 0.03; odds of 5 sigma."""
    from ziggurat.stages.rollouts import roll_out

    prompts = [one.ids for one in render_all(TEMPLATE, alphabet.prompts() * 17).flat]
    made = roll_out(
        load_model(letters_sft),
        prompts,
        max_new_tokens=20,
        temperature=1.0,
        stop_ids=TEMPLATE.stop_ids,
        seed=77,
    )
    rewards = score_rows(
        trained(letters_reward), [one.prompt + one.completion for one in made if one.ended], 1
    )
    assert statistics.pstdev(rewards) == pytest.approx(1.0, abs=0.25)


def test_padding_does_not_change_a_score(letters_reward: Path) -> None:
    model = trained(letters_reward)
    _, (one,) = render_comparisons(
        [Comparison(id="1", prompt=alphabet.user("x1?"), completions=["b", "abcd"], ranks=[1, 2])],
        TEMPLATE,
        32,
    )
    batch = collate([one], 1, CPU)
    alone = [model.score(torch.tensor([row]), torch.tensor([len(row) - 1])).item() for row in one.rows]
    assert model.score(batch.ids, batch.ends).tolist() == pytest.approx(alone, abs=1e-5)


def test_a_completion_as_messages_is_the_same_as_text() -> None:
    text = Comparison(id="1", prompt=alphabet.user("x1?"), completions=["ab", "c"], ranks=[1, 2])
    messages = Comparison(
        id="1",
        prompt=alphabet.user("x1?"),
        completions=[[Message(role="assistant", content="ab")], [Message(role="assistant", content="c")]],
        ranks=[1, 2],
    )
    assert render_comparisons([text], TEMPLATE, 32)[1] == render_comparisons([messages], TEMPLATE, 32)[1]


def test_scores_are_read_at_the_end_of_turn() -> None:
    _, (one,) = render_comparisons(
        [Comparison(id="1", prompt=alphabet.user("x1?"), completions=["ab", "c"], ranks=[1, 2])], TEMPLATE, 32
    )
    end = alphabet.tokenizer().end_id
    assert [row[-1] for row in one.rows] == [end, end]


def test_splitting_a_batch_changes_nothing(letters_sft: Path) -> None:
    """Sums and counts of the pieces add up to those of the whole, all-tied comparisons among them."""
    model = RewardModel(load_model(letters_sft))
    torch.nn.init.normal_(model.head.weight)
    _, ranked = render_comparisons(alphabet.comparisons(10), TEMPLATE, 32)
    ranked[3] = Ranked(ranked[3].rows, [1] * 4, ranked[3].starts)
    whole = collate(ranked, 1, CPU)
    total, count = ranking_loss(model, whole)
    parts = [ranking_loss(model, piece) for piece in split_batch(whole, 3)]
    assert len(parts) == 3
    assert sum(n for _, n in parts) == count == sum(len(set(one.ranks)) > 1 for one in ranked)
    assert count < 10
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(total.item(), rel=1e-5)


def test_batches_hold_whole_comparisons_and_resume_where_they_were() -> None:
    _, ranked = render_comparisons(alphabet.comparisons(23), TEMPLATE, 32)
    batches = ComparisonBatches(ranked, 5, 1, seed=4, device=CPU)
    seen = [batches.next() for _ in range(batches.batches_per_epoch)]
    assert sorted(len(one.ranks) for one in seen) == [3, 5, 5, 5, 5]
    assert sum(one.ids.shape[0] for one in seen) == 23 * 4
    state = batches.state()
    ahead = batches.next()
    again = ComparisonBatches(ranked, 5, 1, seed=4, device=CPU)
    again.restore(state)
    assert torch.equal(again.next().ids, ahead.ids)


@pytest.mark.parametrize("confident", [False, True])
def test_what_a_still_body_read_once_teaches_what_reading_again_does(
    letters_sft: Path, confident: bool
) -> None:
    """Loss and gradients of a batch of readings are those of the batch of ids; the order is the same."""
    torch.manual_seed(0)
    body, opens = load_model(letters_sft), alphabet.tokenizer().id_of("<|assistant|>")
    assert opens is not None
    model = RewardModel(body, confidence=ConfidenceHead(body.config.d_model, opens) if confident else None)
    model.body.requires_grad_(False)
    heads = [p for p in model.parameters() if p.requires_grad]
    for p in heads:
        torch.nn.init.normal_(p, std=0.02)
    _, ranked = render_comparisons(alphabet.comparisons(23), TEMPLATE, 32)
    ranked[2:9:3] = [
        Ranked(one.rows[1:], one.ranks[1:], one.starts[1:]) for one in ranked[2:9:3]
    ]  # K is not the same everywhere
    readings = read_once(model, ranked, 1, batch_tokens=100)
    again = ComparisonBatches(ranked, 5, 1, seed=4, device=CPU)
    kept = ComparisonBatches(ranked, 5, 1, seed=4, device=CPU, readings=readings)
    for _ in range(kept.batches_per_epoch + 1):
        found = []
        for batch in (again.next(), kept.next()):
            loss, count = ranking_loss(model, batch)
            found.append([loss, torch.tensor(count), *torch.autograd.grad(loss, heads)])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert split_batch(batch, 3) == [batch]


def test_one_prompt_never_falls_on_both_sides() -> None:
    learn, held = split_comparisons(alphabet.comparisons(300), 0.3)
    assert held
    assert not {repr(one.prompt) for one in learn} & {repr(one.prompt) for one in held}


def test_a_dpo_loss_finds_the_completions_and_its_metrics_are_logged(
    letters_sft: Path, tmp_path: Path
) -> None:
    """The sum of log-probabilities from `starts` to `ends` equals the one computed token by token without a batch."""
    model, reference = load_model(letters_sft), load_model(letters_sft)
    _, ranked = render_comparisons(alphabet.comparisons(6), TEMPLATE, 32)

    def completion_logp(policy: Transformer, batch: RankedBatch) -> torch.Tensor:
        logp = policy(batch.ids[:, :-1]).float().log_softmax(-1).gather(2, batch.ids[:, 1:, None])[..., 0]
        at = torch.arange(1, batch.ids.shape[1])
        inside = (at >= batch.starts[:, None]) & (at <= batch.ends[:, None])
        return (logp * inside).sum(1)

    def by_hand(completion: str, prompt: list[Message]) -> float:
        ids = TEMPLATE.render(prompt, add_generation_prompt=True).ids
        total = 0.0
        for token in [*alphabet.tokenizer().encode(completion), alphabet.tokenizer().end_id]:
            total += model(torch.tensor([ids]))[0, -1].float().log_softmax(-1)[token].item()
            ids = [*ids, token]
        return total

    batch = collate(ranked, 1, CPU)
    expected = [by_hand(str(text), c.prompt) for c in alphabet.comparisons(6) for text in c.completions]
    assert completion_logp(model, batch).tolist() == pytest.approx(expected, abs=1e-3)
    pieces = [completion_logp(model, piece) for piece in split_batch(batch, 4)]
    assert torch.cat(pieces).tolist() == pytest.approx(expected, abs=1e-3)

    def dpo(policy: nn.Module, batch: RankedBatch) -> tuple[torch.Tensor, float, dict[str, Any]]:
        with torch.no_grad():
            base = completion_logp(reference, batch)
        margin, first, pairs = completion_logp(policy, batch) - base, 0, []
        for ranks in batch.ranks:
            pairs += [
                (first + i, first + j) for i, a in enumerate(ranks) for j, b in enumerate(ranks) if a < b
            ]
            first += len(ranks)
        gaps = torch.stack([margin[i] - margin[j] for i, j in pairs])
        losses = -torch.nn.functional.logsigmoid(gaps)
        return losses.sum(), len(pairs), {"accuracy": (gaps > 0).sum(), "rows": (margin.sum(), len(margin))}

    with new_run(tmp_path / "dpo-1") as run:
        config = TrainConfig(
            steps=20, optimizer="adamw", lr_adam=3e-3, dtype="fp32", threads=1, micro_batches=2
        )
        batches = ComparisonBatches(ranked, 6, 1, seed=0, device=CPU)
        train(run, model, batches, dpo, config, split=split_batch, unit="pairs")
        rows = run.read_metrics()
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert rows[0]["accuracy"] < 0.5 < 0.9 < rows[-1]["accuracy"]
    assert rows[0]["rows"] == pytest.approx(0.0, abs=1e-4)


def test_only_ties_are_refused(letters_sft: Path) -> None:
    tied = [one.model_copy(update={"ranks": [1] * 4}) for one in alphabet.comparisons(30)]
    with pytest.raises(DataError, match="tied throughout"):
        prepare(reward_config(letters_sft), letters_sft, tied)


def test_comparisons_that_all_do_not_fit_are_refused_with_both_numbers(letters_sft: Path) -> None:
    long = Comparison(id="1", prompt=alphabet.user("x1?"), completions=["a", "b" * 60], ranks=[1, 2])
    with pytest.raises(DataError, match=r"none of the 1 comparisons.* has 67 tokens, and at most 32 fit"):
        prepare(reward_config(letters_sft), letters_sft, [long])


def test_a_reward_model_can_be_the_gold_check(letters_reward: Path) -> None:
    class Says:
        def __init__(self, text: str) -> None:
            self.text = text

        def complete_many(self, conversations: list[list[Message]]) -> list[str]:
            return [self.text] * len(conversations)

    gold = gold_from_reward_model(letters_reward, [one.prompt for one in alphabet.prompts()])
    assert gold(Says("bbb")) > gold(Says("acd"))
