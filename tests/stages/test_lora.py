"""`trainable: lora` through the stages: what is saved, what is shared, what a resumed run ends with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch
from test_rlhf_resume import plain_rows

from ziggurat.cli.main import run as ziggurat
from ziggurat.errors import ConfigError
from ziggurat.files import sha256_file
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import is_scalar, load_config, load_model, load_scalar
from ziggurat.model.hub.adapter_names import layout_of
from ziggurat.model.lora import LoraConfig, adapt, adapters_of
from ziggurat.models.export import export
from ziggurat.places import model_folder
from ziggurat.records import write_records
from ziggurat.runs import Run
from ziggurat.stages.ppo import PPO, ppo, ppo_config
from ziggurat.stages.ppo_prepare import prepare as prepare_ppo
from ziggurat.stages.pretrain import prepare as prepare_pretrain
from ziggurat.stages.pretrain import pretrain_config
from ziggurat.stages.reward import reward, reward_config
from ziggurat.stages.sft import sft, sft_config
from ziggurat.training import TrainConfig, cost

LORA: dict[str, Any] = {"trainable": "lora", "lora": {"rank": 4, "dropout": 0.1}}
SFT: dict[str, Any] = {
    **LORA,
    "batch_tokens": 128,
    "text_share": 0.0,
    "train": {"steps": 6, "dtype": "fp32", "threads": 1, "lr_adam": 1e-3, "checkpoint_every_steps": 2},
}
STEPS: dict[str, Any] = {
    "train": {"steps": 4, "eval_every_steps": 2, "checkpoint_every_steps": 2, "dtype": "fp32", "threads": 1},
    "rollouts_per_step": 16,
    "max_new_tokens": 5,
    "minibatches": 2,
    "critic_warmup_steps": 1,
    "ptx_weight": 0.0,
}


def run_sft(base: Path, out: Path, *, resume: bool = False, settings: Any = None) -> Path:
    resolved = sft_config(base, ("--set", settings or SFT))
    return sft(resolved, base, alphabet.demonstrations(60), out, resume=resume)


@pytest.fixture(scope="module")
def lora_sft(letters_sft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_sft(letters_sft, tmp_path_factory.mktemp("lora") / "sft-1")


@pytest.fixture(scope="module")
def lora_reward(letters_sft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {**LORA, "train": {"lr_adam": 2e-3, "lr_head": 5e-3, "dtype": "fp32", "threads": 1}}
    return reward(
        reward_config(letters_sft, ("--set", settings | {"batch_comparisons": 8, "held_out_share": 0.25})),
        letters_sft,
        alphabet.comparisons(600),
        tmp_path_factory.mktemp("lora") / "reward-1",
        demonstrations=alphabet.demonstrations(60, seed=9),
    )


def test_a_run_saves_its_adapter_with_the_place_and_the_hash_of_its_base(
    lora_sft: Path, letters_sft: Path
) -> None:
    folder = model_folder(lora_sft)
    assert {p.name for p in folder.glob("*.safetensors")} == {"adapter_model.safetensors"}
    known = json.loads((folder / "ziggurat_adapter.json").read_text())["base"]
    assert known["path"] == str(letters_sft.resolve())
    assert len(known["weights"]) == 64
    with torch.no_grad():
        ids = torch.arange(8)[None]
        assert not torch.equal(load_model(folder)(ids), load_model(letters_sft)(ids))


def test_a_checkpoint_is_a_small_adapter_that_is_a_model_of_its_own(lora_sft: Path) -> None:
    folder = model_folder(Run.open(lora_sft).checkpoints()[-1])
    assert sum(p.stat().st_size for p in folder.glob("*.safetensors")) < 60_000
    load_model(folder)


def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bytes(
    letters_sft: Path, lora_sft: Path, tmp_path: Path
) -> None:
    with alphabet.stopped_at_update(4):
        run_sft(letters_sft, tmp_path / "sft-2")
    run_sft(letters_sft, tmp_path / "sft-2", resume=True)
    first, second = Run.open(lora_sft), Run.open(tmp_path / "sft-2")
    assert plain_rows(first) == plain_rows(second)
    last = first.checkpoints()[-1].name
    files = [p.relative_to(first.path) for p in (first.checkpoints_path / last).rglob("*.safetensors")]
    assert len(files) == 3  # adapter, optimizer, random states
    for file in files:
        assert sha256_file(first.path / file) == sha256_file(second.path / file), file


def test_recomputing_changes_no_step(letters_sft: Path, lora_sft: Path, tmp_path: Path) -> None:
    settings = {**SFT, "recompute": True}
    again = Run.open(run_sft(letters_sft, tmp_path / "sft-3", settings=settings))
    losses = [[row["loss"] for row in run.read_metrics()] for run in (Run.open(lora_sft), again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_an_adapter_is_exported_with_its_base_as_one_whole_model(lora_sft: Path, tmp_path: Path) -> None:
    whole = export(str(lora_sft), "hf", tmp_path / "whole")
    assert {p.name for p in whole.glob("*.safetensors")} == {"model.safetensors"}
    ids = torch.arange(4, 9)[None]
    with torch.no_grad():
        ours, theirs = (load_model(folder)(ids) for folder in (model_folder(lora_sft), whole))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_a_reward_model_that_is_an_adapter_learns_and_is_read_back(lora_reward: Path) -> None:
    card = (Run.open(lora_reward).report or {})["card"]
    assert card["pairs"]["value"] > 0.8
    folder = model_folder(lora_reward)
    assert is_scalar(folder)
    scorer = load_scalar(folder)
    assert float(scorer.reward_scale) != 1.0  # type: ignore[arg-type]


def test_ppo_has_one_body_for_policy_reference_reward_model_and_critic(
    letters_sft: Path, lora_reward: Path
) -> None:
    settings = {**LORA, **STEPS, "allow_weak_reward_model": True}
    resolved = ppo_config(letters_sft, ("--set", settings))
    assert resolved.config.critic.trainable == "head"
    learner = PPO(prepare_ppo(resolved, letters_sft, lora_reward, alphabet.prompts()))
    nets = learner.nets
    base = {p.data_ptr() for p in nets.reference.parameters()}
    for body in (nets.policy, nets.reward.body, nets.critic.body):
        own = {p.data_ptr() for layer in adapters_of(body).values() for p in (layer.lora_a, layer.lora_b)}
        assert {p.data_ptr() for p in body.parameters()} == base | own
    assert nets.critic.body is nets.reward.body
    row = learner.measure(0)
    assert row["kl"] == pytest.approx(0.0, abs=1e-4)  # a fresh adapter is the reference


def test_ppo_with_an_adapter_learns_what_people_like(
    letters_sft: Path, lora_reward: Path, tmp_path: Path
) -> None:
    settings = {**LORA, **STEPS, "allow_weak_reward_model": True, "rollouts_per_step": 48, "kl_target": 0.0}
    settings |= {"lora": {"rank": 4, "lr_factor": 5}, "policy": {"lr_adam": 1e-3}, "beta": 0.01}
    settings |= {"train": {**STEPS["train"], "steps": 40, "eval_every_steps": 10}}
    resolved = ppo_config(letters_sft, ("--set", settings))
    out = ppo(resolved, letters_sft, lora_reward, alphabet.prompts(), tmp_path / "ppo-1")
    rows = Run.open(out).read_metrics()
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.5
    assert rows[2]["first_ratio_gap"] < 1e-4
    assert (model_folder(out) / "adapter_config.json").is_file()
    again = ppo_config(out, ("--set", settings))  # round 2 starts from an adapter
    prepare_ppo(again, out, lora_reward, alphabet.prompts(), reference=letters_sft)


def test_an_adapter_needs_a_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no base for an adapter"):
        prepare_pretrain(pretrain_config(None, ("--set", LORA)), alphabet.documents())


def test_short_names_are_settings_of_the_optimizer_and_keep_their_source(letters_sft: Path) -> None:
    resolved = sft_config(letters_sft, ("--set", {"trainable": "lora", "lora": {"rank": 3}}))
    assert (resolved.config.train.trainable, resolved.config.train.lora.rank) == ("lora", 3)
    assert resolved.source("train.lora.rank") == "--set, as lora"
    with pytest.raises(ConfigError, match='Unknown setting "trainible".*Did you mean "trainable"'):
        sft_config(letters_sft, ("--set", {"trainible": "lora"}))


def test_with_a_large_vocabulary_ppo_makes_its_logits_in_pieces_and_learns_the_same(
    letters_sft: Path, lora_reward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ziggurat.stages import losses, ppo_networks

    def first_update(pieces: int) -> dict[str, Any]:
        monkeypatch.setattr(losses, "logits_at_once", lambda _: pieces)
        monkeypatch.setattr(ppo_networks, "LOGITS_AT_ONCE", pieces)
        monkeypatch.setattr(ppo_networks, "COMPARED_AT_ONCE", pieces)
        settings = {**LORA, **STEPS, "allow_weak_reward_model": True, "critic_warmup_steps": 0}
        resolved = ppo_config(letters_sft, ("--set", settings))
        learner = PPO(prepare_ppo(resolved, letters_sft, lora_reward, alphabet.prompts()))
        return learner.measure(0) | learner.update(0)

    whole, cut = first_update(1 << 25), first_update(64)
    for name in ("kl", "entropy", "policy_loss", "grad_norm", "first_ratio_gap"):
        assert cut[name] == pytest.approx(whole[name], abs=2e-4), name


def test_plan_says_in_a_sentence_what_a_run_takes(
    letters_sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "d.jsonl"
    write_records(data, alphabet.demonstrations(40))
    arguments = ["--base", str(letters_sft), "--data", str(data), "--set", "trainable=lora"]
    assert ziggurat(["plan", "sft", *arguments, "--out", str(tmp_path / "run")]) == 0
    assert re.search(r"sft: this takes \d+\.\d of \d+\.\d GiB and ", capsys.readouterr().out)
    assert not (tmp_path / "run").exists()


def test_a_run_that_does_not_fit_is_told_the_setting_with_which_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"layers": 30, "d_model": 576, "heads": 9, "kv_heads": 3, "d_head": 64, "d_ff": 1536}
    shape = ModelConfig(**sizes, vocab_size=49_152, context=2048, qk_norm=False)  # type: ignore[arg-type]
    train = TrainConfig(optimizer="adamw", dtype="bf16", microbatch_tokens=2048)
    monkeypatch.setattr(cost, "free_memory_bytes", lambda _: int(3.3 * 2**30))
    with pytest.raises(ConfigError, match=r"with --set recompute=true it needs 2\.\d GiB and fits"):
        cost.text_cost(shape, train, 512, 4).check("sft", allowed=False)
    monkeypatch.setattr(cost, "free_memory_bytes", lambda _: 2 << 30)
    with pytest.raises(ConfigError, match=r"with --set trainable=lora it needs 1\.\d GiB and fits"):
        cost.text_cost(shape, train, 256, 4).check("sft", allowed=False)


def test_the_estimate_of_an_adapter_is_the_number_of_what_learns(letters_sft: Path) -> None:
    config = load_config(letters_sft)
    for rank, blocks in ((4, 0), (3, 1)):
        lora = LoraConfig(rank=rank, last_blocks=blocks)
        view = adapt(load_model(letters_sft), lora, layout_of(config))
        own = sum(p.numel() for layer in adapters_of(view).values() for p in (layer.lora_a, layer.lora_b))
        optimizer = TrainConfig(trainable="lora", lora=lora)
        assert cost.adapter_parameters(config, optimizer) == own


def test_an_int8_base_says_what_it_costs(
    letters_sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SFT, "lora": {"rank": 4, "base": "int8"}}
    run = Run.open(run_sft(letters_sft, tmp_path / "sft-8", settings=settings))
    assert run.read_metrics()[-1]["loss"] < run.read_metrics()[0]["loss"] + 0.5
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"int8 base: weights take \S+ GiB instead of \S+; its predictions move by 0\.\d+ nats", said
    )
