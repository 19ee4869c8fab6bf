"""Stage 4 on the world of four letters: it learns to emit b, keeps its promises on metrics, and is stopped in time."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import ModelFolderError, RunError, TrainingError
from ziggurat.model.hub import load_model, load_scalar, save_model, save_scalar
from ziggurat.runs import Run
from ziggurat.stages.ppo import ppo, ppo_config
from ziggurat.stages.ppo_networks import load_networks
from ziggurat.stages.ppo_prepare import prepare

SMALL: dict[str, Any] = {
    "train": {"steps": 16, "threads": 1, "dtype": "fp32", "eval_every_steps": 4, "checkpoint_every_steps": 4},
    "rollouts_per_step": 64,
    "max_new_tokens": 6,
    "minibatches": 2,
    "critic_warmup_steps": 2,
    "kl_target": 0.0,
    "stop_when_fatal": False,  # a world of four letters in which only b is liked cannot stay diverse
    "policy": {"lr_adam": 3e-3},
    "critic": {"lr_adam": 3e-3},
    "ptx_rows": 1,
    "ptx_row_tokens": 16,
    "ptx_weight": 0.05,
}


def taste(policy: Chat) -> float:
    """The gold check: the share of b in greedy answers, which no reward model has a part in."""
    answers = policy.complete_many([one.prompt for one in alphabet.prompts()])
    return statistics.fmean(alphabet.likes(text) for text in answers)


def run_ppo(sft: Path, reward: Path, out: Path, settings: dict[str, Any] | None = None, **more: Any) -> Run:
    config = ppo_config(sft, ("test", SMALL), ("--set", settings or {}))
    more.setdefault("ptx_documents", alphabet.documents())
    return Run.open(ppo(config, sft, reward, alphabet.prompts(), out, **more))


@pytest.fixture(scope="module")
def learned(letters_sft: Path, letters_reward: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_ppo(letters_sft, letters_reward, tmp_path_factory.mktemp("ppo") / "ppo-1", gold=taste)


def test_it_learns_to_emit_b(learned: Run, letters_sft: Path) -> None:
    """The stage-2 model writes b in a quarter of its letters; the reward model likes it, the gold check sees it."""
    rows = learned.read_metrics()
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.5
    after = taste(Chat.load(learned.model_path, as_trained=True))
    before = taste(Chat.load(letters_sft, as_trained=True))
    assert after > max(0.6, before)


def test_row_0_is_the_policy_it_started_from(learned: Run) -> None:
    rows = learned.read_metrics()
    assert [row["step"] for row in rows] == list(range(17))
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert all(row["kl"] >= 0 for row in rows)
    assert rows[-1]["kl"] > rows[0]["kl"]


def test_the_critic_warms_up_while_the_policy_stands_still(learned: Run) -> None:
    rows = learned.read_metrics()
    assert [row["policy_trained"] for row in rows[:4]] == [False, False, True, True]
    assert rows[2]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert rows[1]["critic_grad_norm"] > 0 == rows[1]["grad_norm"]


def test_every_row_has_the_promised_fields(learned: Run) -> None:
    row = learned.read_metrics()[5]
    for name in [
        "grad_norm",
        "entropy",
        "clip_fraction",
        "explained_variance",
        "kl",
        "reward",
        "reward_kl",
        "reward_total",
        "length",
        "share_ended",
        "beta",
        "value_loss",
        "policy_loss",
        "ptx_loss",
        "engine_gap",
        "first_ratio_gap",
        "elapsed_s",
    ]:
        assert isinstance(row[name], float), name
    assert row["first_ratio_gap"] == 0.0
    assert (
        row["engine_gap_max"] < 1e-3
    )  # fp32: the engine's cache and the trainer's batches differ by rounding
    assert row["reward_total"] == pytest.approx(row["reward"] + row["reward_kl"], abs=1e-5)


def test_the_best_checkpoint_by_gold_becomes_the_model(learned: Run) -> None:
    report = learned.report
    assert report is not None
    golds = {row["step"]: row["gold"] for row in learned.read_metrics() if "gold" in row}
    assert sorted(golds) == [0, 4, 8, 12, 16]
    chosen = report["numbers"]["chosen_step"]
    assert golds[chosen] == max(golds.values())
    weights = "model.safetensors"
    best = learned.checkpoints_path / f"step-{chosen:06d}" / "policy" / weights
    assert (learned.model_path / weights).read_bytes() == best.read_bytes()
    assert report["samples"]


@pytest.mark.parametrize(("tolerance", "chosen"), [(0.0, 4), (0.02, 8), (0.05, 12)])
def test_a_later_checkpoint_is_preferred_within_the_gold_checks_tolerance(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, tolerance: float, chosen: int
) -> None:
    golds = iter([0.50, 0.60, 0.59, 0.56])  # at steps 0, 4, 8, 12
    changes = {"train": {"steps": 12}, "gold_tolerance": tolerance}
    run = run_ppo(letters_sft, letters_reward, tmp_path / "ppo-1", changes, gold=lambda _: next(golds))
    best = run.best_checkpoint()
    assert best is not None
    assert best.name == f"step-{chosen:06d}"


def test_a_fatal_diagnosis_stops_at_the_best_point(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    """Limits so tight that ordinary learning is 'mode collapse': the run ends early and keeps an earlier policy."""
    run = run_ppo(
        letters_sft,
        letters_reward,
        tmp_path / "ppo-1",
        {"doctor": {"distinct_factor": 0.9}, "train": {"steps": 30}, "stop_when_fatal": True},
    )
    report = run.report
    assert report is not None
    assert report["numbers"]["stopped_by_doctor"] == "mode collapse"
    assert report["numbers"]["chosen_step"] < report["numbers"]["steps"] < 30
    assert report["diagnoses"][0]["cure"]


def test_muon_epochs_and_no_documents(letters_sft: Path, letters_reward: Path, tmp_path: Path) -> None:
    settings = {"train": {"steps": 2}, "epochs": 2, "critic_warmup_steps": 0, "policy": {"optimizer": "muon"}}
    run = run_ppo(letters_sft, letters_reward, tmp_path / "ppo-1", settings, ptx_documents=[])
    rows = run.read_metrics()
    assert rows[0]["ptx_loss"] is None
    assert rows[1]["kl"] > 0


def test_a_reward_model_that_failed_its_card_is_refused(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    failed = tmp_path / "reward-1"
    shutil.copytree(letters_reward, failed)
    text = (failed / "report.json").read_text().replace('"passed": true', '"passed": false')
    (failed / "report.json").write_text(text)
    with pytest.raises(RunError, match="weak reward model"):
        prepare(ppo_config(letters_sft, ("test", SMALL)), letters_sft, failed, alphabet.prompts())
    allowed = ppo_config(letters_sft, ("test", SMALL), ("--set", {"allow_weak_reward_model": True}))
    prepare(allowed, letters_sft, failed, alphabet.prompts())


def test_a_reward_model_with_another_tokenizer_is_refused(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    from ziggurat.tokenizer.bpe import Tokenizer

    other = tmp_path / "other"
    shutil.copytree(letters_reward / "model", other)
    Tokenizer.characters("abc", byte_fallback=False).save(other)
    with pytest.raises(ModelFolderError, match="another tokenizer"):
        prepare(ppo_config(letters_sft, ("test", SMALL)), letters_sft, other, alphabet.prompts())


def test_a_non_finite_gradient_moves_nothing(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Returns that are not numbers are refused by step, before the policy (whose gradient is fine) moves either."""
    from ziggurat.stages import ppo as module

    whole = module.assess

    def broken(*arguments: Any, **named: Any) -> Any:
        experience = whole(*arguments, **named)
        experience.returns.fill_(float("nan"))
        return experience

    monkeypatch.setattr(module, "assess", broken)
    before = module.update
    seen: list[Any] = []

    def watched(nets: Any, *arguments: Any) -> Any:
        weights = [p.clone() for p in (*nets.policy.parameters(), *nets.critic.parameters())]
        try:
            return before(nets, *arguments)
        finally:
            after = (*nets.policy.parameters(), *nets.critic.parameters())
            seen.append(all(bool((a == b).all()) for a, b in zip(weights, after, strict=True)))

    monkeypatch.setattr(module, "update", watched)
    with pytest.raises(TrainingError, match="step 0: the critic's gradient is not finite"):
        run_ppo(letters_sft, letters_reward, tmp_path / "ppo-1", {"critic_warmup_steps": 0})
    assert seen == [True]


def test_frozen_bodies_with_equal_weights_are_one(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    """Reference, reward model and critic share a body where neither stage 3 nor the critic trains it."""
    scorer = load_scalar(letters_reward / "model")
    still = tmp_path / "reward"
    shutil.copytree(letters_reward / "model", still)
    scorer.body = load_model(letters_sft)
    save_scalar(scorer, still)

    def networks(reward: Path, trainable: str) -> Any:
        changes = {"critic": {"trainable": trainable}}
        config = ppo_config(letters_sft, ("test", SMALL), ("--set", changes))
        return load_networks(prepare(config, letters_sft, reward, alphabet.prompts(), ptx_documents=[]))

    nets = networks(still, "head")
    assert nets.reward.body is nets.critic.body is nets.reference
    assert not any(p.requires_grad for p in nets.critic.body.parameters())
    nets = networks(still, "all")
    assert nets.reward.body is nets.reference
    assert nets.critic.body is not nets.reference
    assert all(p.requires_grad for p in nets.critic.parameters())
    assert networks(letters_reward, "head").reward.body is not nets.reference


def test_a_critic_with_a_frozen_body_learns_with_its_head_alone(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    changes = {"train": {"steps": 3}, "critic": {"trainable": "head", "lr_adam": 3e-3}}
    run = run_ppo(letters_sft, letters_reward, tmp_path / "ppo-1", changes)
    rows = run.read_metrics()
    assert all(row["critic_grad_norm"] > 0 for row in rows[:-1])
    last = max((run.path / "checkpoints").iterdir())
    before, after = load_scalar(letters_reward / "model"), load_scalar(last / "critic")
    pairs = zip(before.body.parameters(), after.body.parameters(), strict=True)
    assert all(bool((a == b).all()) for a, b in pairs)
    assert not bool((before.head.weight == after.head.weight).all())


def test_with_one_trained_block_all_below_it_stays_and_the_first_ratio_is_one(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    changes = {
        "train": {"steps": 3},
        "policy": {"trainable": "last:1", "optimizer": "muon", "lr_matrix": 0.01},
    }
    run = run_ppo(letters_sft, letters_reward, tmp_path / "ppo-1", changes)
    rows = run.read_metrics()
    assert all(row["first_ratio_gap"] == 0.0 for row in rows if row.get("policy_trained"))
    last = max((run.path / "checkpoints").iterdir())
    before, after = load_model(letters_sft).state_dict(), load_model(last / "policy").state_dict()
    moved = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    top = f"blocks.{load_model(letters_sft).config.layers - 1}."
    assert moved
    assert all(name.startswith((top, "norm.")) for name in moved)


def test_states_read_from_the_trunk_are_the_whole_bodys(
    letters_sft: Path, letters_reward: Path, tmp_path: Path
) -> None:
    def networks(policy: Path) -> Any:
        changes = {"policy": {"trainable": "last:1"}}
        config = ppo_config(letters_sft, ("test", SMALL), ("--set", changes))
        ready = prepare(
            config, policy, letters_reward, alphabet.prompts(), reference=letters_sft, ptx_documents=[]
        )
        return load_networks(ready)

    ids = torch.randint(0, 20, (3, 9))
    nets = networks(letters_sft)
    trunk = nets.trunk(ids)
    assert nets.trunk_is_shared
    torch.testing.assert_close(nets.policy_hidden(ids, trunk), nets.policy.hidden(ids))
    torch.testing.assert_close(nets.reference_hidden(ids, trunk), nets.reference.hidden(ids))

    # a policy whose lower blocks are not the reference's: the reference reads for itself
    other, model = tmp_path / "other", load_model(letters_sft)
    shutil.copytree(letters_sft, other)
    with torch.no_grad():
        model.blocks[0].norm1.weight.add_(0.5)
    save_model(model, other)
    nets = networks(other)
    assert not nets.trunk_is_shared
    torch.testing.assert_close(nets.reference_hidden(ids, nets.trunk(ids)), nets.reference.hidden(ids))
