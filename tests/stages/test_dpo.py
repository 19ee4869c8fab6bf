"""DPO on the world of four letters: it learns the labellers' taste from rankings alone, and says how far it went."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import DataError, ModelFolderError
from ziggurat.model.hub import load_model
from ziggurat.runs import Run
from ziggurat.stages import likelihood
from ziggurat.stages.comparison_batches import Ranked, collate, split_batch
from ziggurat.stages.dpo import dpo, dpo_config, loss_of, prepare, scores_of, with_reference
from ziggurat.stages.likelihood import completion_logp, measure_drift

SMALL: dict[str, Any] = {
    "held_out_share": 0.2,
    "train": {"lr_adam": 3e-3, "dtype": "fp32", "threads": 1, "eval_every_steps": 20},
}


def taste(policy: Chat) -> float:
    """The share of b in greedy answers."""
    answers = policy.complete_many([one.prompt for one in alphabet.prompts()])
    return statistics.fmean(alphabet.likes(text) for text in answers)


def run_dpo(sft: Path, out: Path, settings: dict[str, Any] | None = None, count: int = 400) -> Run:
    config = dpo_config(sft, ("test", SMALL), ("--set", settings or {}))
    return Run.open(dpo(config, sft, alphabet.comparisons(count), out))


@pytest.fixture(scope="module")
def learned(letters_sft: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_dpo(letters_sft, tmp_path_factory.mktemp("dpo") / "dpo-1")


def test_it_learns_what_people_like_and_reports_how_surely(learned: Run, letters_sft: Path) -> None:
    rows, report = learned.read_metrics(), learned.report
    assert report is not None
    assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-4)  # the policy is still the reference
    assert rows[0]["accuracy"] < 0.6 < rows[-1]["val_accuracy"]
    numbers = report["numbers"]
    assert numbers["held_out_accuracy_low"] > 0.7
    assert numbers["likelihood_accuracy_after"] > numbers["likelihood_accuracy_before"] + 0.1
    assert numbers["drift_nats"] > 0.1
    before, after = (taste(Chat.load(path, as_trained=True)) for path in (letters_sft, learned.model_path))
    assert after > max(0.6, before)
    assert report["samples"][0]["note"].startswith("before: ")


def test_an_adapter_learns_it_beside_its_reference(
    letters_sft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved alone; the reference is the adapter's own base, so the drift needs no second model."""
    read: list[Path] = []
    monkeypatch.setattr(likelihood, "load_model", lambda folder: read.append(folder))
    settings = {"trainable": "lora", "lora": {"rank": 4}}
    run = run_dpo(letters_sft, tmp_path / "dpo-1", settings, 240)
    assert not read
    assert [p.name for p in run.model_path.glob("*.safetensors")] == ["adapter_model.safetensors"]
    assert run.read_metrics()[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    numbers = (run.report or {})["numbers"]
    assert numbers["held_out_accuracy"] > 0.65
    assert numbers["drift_nats"] > 0.01
    answering = {one: taste(Chat.load(one, as_trained=True)) for one in (letters_sft, run.model_path)}
    assert answering[run.model_path] > answering[letters_sft]


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "ipo", "beta": 0.3},
        {"loss": "hinge"},
        {"reference_free": True, "length_normalised": True, "beta": 2.0, "margin": 0.5},
        {"loss": "odds_ratio", "nll_weight": 1.0, "beta": 1.0},
    ],
)
def test_every_loss_learns_it(letters_sft: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    numbers = (run_dpo(letters_sft, tmp_path / "dpo-1", settings, 240).report or {})["numbers"]
    assert numbers["held_out_accuracy"] > 0.65
    assert numbers["likelihood_accuracy_after"] > numbers["likelihood_accuracy_before"] + 0.05


def test_the_log_probability_of_a_completion_is_the_sum_over_its_tokens(letters_sft: Path) -> None:
    """Against the plain way: logits of the whole row, log-softmax, the chosen entries from `starts` to `ends`."""
    model = load_model(letters_sft)
    ready = prepare(dpo_config(letters_sft), letters_sft, alphabet.comparisons(30))
    batch = collate(ready.ranked[:5], ready.tokenizer.pad_id, torch.device("cpu"))
    with torch.no_grad():
        got = completion_logp(model, batch.ids, batch.starts, batch.ends)
        logp = model(batch.ids).log_softmax(-1)
    for row, (start, end) in enumerate(zip(batch.starts.tolist(), batch.ends.tolist(), strict=True)):
        by_hand = sum(float(logp[row, t - 1, batch.ids[row, t]]) for t in range(start, end + 1))
        assert float(got[row]) == pytest.approx(by_hand, abs=1e-4)


def test_microbatches_add_up_to_the_whole(letters_sft: Path) -> None:
    policy = load_model(letters_sft)
    ready = prepare(dpo_config(letters_sft), letters_sft, alphabet.comparisons(30))
    ranked, _ = with_reference(ready, policy)
    with torch.no_grad():
        policy.blocks[0].mlp.down.weight.mul_(1.5)  # away from the reference
    whole = collate(ranked[:7], ready.tokenizer.pad_id, torch.device("cpu"))
    loss = loss_of(ready.config)
    total, count, _ = loss(policy, whole)
    parts = [loss(policy, piece) for piece in split_batch(whole, 3)]
    assert (len(parts), sum(n for _, n, _ in parts)) == (3, count)
    assert sum(x.item() for x, _, _ in parts) == pytest.approx(total.item(), rel=1e-5)


def test_another_reference_is_what_the_policy_is_held_to(
    letters_sft: Path, learned: Run, tmp_path: Path
) -> None:
    config = dpo_config(letters_sft, ("test", SMALL), ("--set", {"train": {"steps": 1}}))
    out = dpo(config, letters_sft, alphabet.comparisons(60), tmp_path / "dpo-1", reference=learned.model_path)
    run = Run.open(out)
    assert run.manifest["reference"]["path"] == str(learned.model_path.resolve())
    assert abs(run.read_metrics()[0]["loss"] - 0.6931) > 0.01
    assert (run.report or {})["numbers"]["drift_nats"] > 0.1


def test_a_model_has_not_drifted_from_itself(letters_sft: Path) -> None:
    model = load_model(letters_sft)
    ready = prepare(dpo_config(letters_sft), letters_sft, alphabet.comparisons(30))
    drift = measure_drift(
        model,
        load_model(letters_sft),
        ready.prompt_ids,
        max_new_tokens=8,
        stop_ids=ready.template.stop_ids,
        pad_id=ready.tokenizer.pad_id,
        seed=1,
    )
    assert drift == pytest.approx(0.0, abs=1e-6)
    assert scores_of(model, ready.ranked[:1], ready.tokenizer.pad_id)[0][0] < 0


def test_long_completions_are_asked_of_fewer_prompts(
    letters_sft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(letters_sft)
    ready = prepare(dpo_config(letters_sft), letters_sft, alphabet.comparisons(30))
    asked: list[int] = []
    plain = likelihood.roll_out

    def counted(policy: Any, prompts: list[list[int]], **named: Any) -> Any:
        asked.append(len(prompts))
        return plain(policy, prompts, **named | {"max_new_tokens": 4})

    monkeypatch.setattr(likelihood, "roll_out", counted)
    for longest in (8, 1_000):
        measure_drift(
            model,
            model,
            ready.prompt_ids * 100,
            max_new_tokens=longest,
            stop_ids=ready.template.stop_ids,
            pad_id=ready.tokenizer.pad_id,
            seed=1,
        )
    assert asked == [64, 8]


def test_what_cannot_be_learned_from_is_refused(letters_sft: Path, letters_reward: Path) -> None:
    tied = [one.model_copy(update={"ranks": [1] * 4}) for one in alphabet.comparisons(4)]
    with pytest.raises(DataError, match="all 4 comparisons are tied throughout"):
        prepare(dpo_config(letters_sft), letters_sft, tied)
    with pytest.raises(DataError, match="there are no comparisons"):
        prepare(dpo_config(letters_sft), letters_sft, [])
    with pytest.raises(ModelFolderError, match="is a reward model; name a run of a model that answers"):
        prepare(dpo_config(letters_reward), letters_reward, alphabet.comparisons(4))


def test_short_answers_in_one_row_have_the_log_probabilities_of_rows_of_their_own(
    letters_sft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_model(letters_sft)
    lengths = (20, 5, 6, 4, 9, 5)
    rows = [[2 + (i * 7 + n) % 17 for i in range(length)] for n, length in enumerate(lengths)]
    batch = collate([Ranked(rows, list(range(1, 7)), [2] * 6)], 0, torch.device("cpu"))
    seen: list[int] = []
    plain = type(policy).hidden

    def hidden(self: Any, ids: torch.Tensor, **named: Any) -> torch.Tensor:
        seen.append(ids.numel())
        return plain(self, ids, **named)

    monkeypatch.setattr(type(policy), "hidden", hidden)
    apart = completion_logp(policy, batch.ids, batch.starts, batch.ends)
    monkeypatch.setattr("ziggurat.model.padding.WORTH_TOKENS", 1)
    together = completion_logp(policy, batch.ids, batch.starts, batch.ends)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)
    assert seen[1] < 0.9 * seen[0]
