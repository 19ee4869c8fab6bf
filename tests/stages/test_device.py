"""Every stage on a device that is not the CPU: no tensor stays behind in its steps, its engine, its loaders.

The probe (tests/probe.py) raises where a tensor on it meets one on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch
from tests.probe import off_the_probe, on_the_probe

from ziggurat.dialogue.chat import Chat
from ziggurat.records import Comparison, Message
from ziggurat.runs import Run
from ziggurat.stages.align import align, align_config
from ziggurat.stages.distill import distill, distill_config
from ziggurat.stages.dpo import dpo, dpo_config
from ziggurat.stages.grpo import grpo, grpo_config
from ziggurat.stages.judge import Judge
from ziggurat.stages.kto import kto, kto_config
from ziggurat.stages.ppo import ppo, ppo_config
from ziggurat.stages.pretrain import pretrain, pretrain_config
from ziggurat.stages.raft import raft, raft_config
from ziggurat.stages.report_card import score_rows
from ziggurat.stages.reward import reward, reward_config
from ziggurat.stages.sft import sft, sft_config

TRAIN: dict[str, Any] = {"dtype": "fp32", "threads": 1, "steps": 2, "eval_every_steps": 1}
LIKES = f"{Path(__file__).parent / 'alphabet.py'}:reward"
DOCUMENTS = alphabet.documents()
LORA = {"trainable": "lora", "lora": {"rank": 2}}
SMALL = {"train": TRAIN, "held_out_share": 0.2}
PPO: dict[str, Any] = {
    "train": TRAIN,
    "rollouts_per_step": 6,
    "max_new_tokens": 4,
    "minibatches": 2,
    "critic_warmup_steps": 1,
    "ptx_rows": 1,
    "ptx_row_tokens": 16,
    "stop_when_fatal": False,
    "allow_weak_reward_model": True,
}


def _pretrain(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    settings = {"model": "tiny", "tokenizer": 280, "context": 16, "batch_tokens": 64, "train": TRAIN}
    return pretrain(pretrain_config(None, ("--set", settings)), DOCUMENTS, out)


def _sft(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    settings = {"train": TRAIN, "batch_tokens": 64} | more
    config = sft_config(sft_, ("--set", settings))
    return sft(config, sft_, alphabet.demonstrations(20), out, text=DOCUMENTS)


def _reward(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    settings = {**SMALL, "batch_comparisons": 4, "scale_samples": 4} | more
    config = reward_config(sft_, ("--set", settings))
    return reward(config, sft_, alphabet.comparisons(20), out, demonstrations=alphabet.demonstrations(4))


def _dpo(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    return dpo(dpo_config(sft_, ("--set", SMALL | more)), sft_, alphabet.comparisons(20), out)


def _kto(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    return kto(kto_config(sft_, ("--set", SMALL)), sft_, alphabet.ratings(20), out)


def _ppo(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    config = ppo_config(sft_, ("--set", PPO | more))
    return ppo(config, sft_, scorer, alphabet.prompts(), out, ptx_documents=DOCUMENTS)


def _grpo(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    settings = {
        "train": TRAIN,
        "prompts_per_step": 2,
        "group": 3,
        "max_new_tokens": 4,
        "reward_function": LIKES,
    }
    config = grpo_config(sft_, ("--set", {**settings, "stop_when_fatal": False, "beta": 0.1}))
    return grpo(config, sft_, alphabet.prompts(), out, reward_model=scorer)


def _raft(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    settings = {"train": TRAIN, "n": 2, "max_new_tokens": 4, "batch_answers": 4}
    config = raft_config(sft_, ("--set", settings))
    return raft(config, sft_, alphabet.prompts()[:6], out, reward_model=scorer)


def _distill(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    config = distill_config(sft_, ("--set", SMALL | {"sequences": True}))
    return distill(config, sft_, sft_, alphabet.demonstrations(12), out)


def _rank(prompt: Sequence[Message], completions: list[str]) -> Comparison:
    ranks = [1 if text == max(completions, key=alphabet.likes) else 2 for text in completions]
    name = f"{prompt[-1].content} {completions}"
    return Comparison(id=name, prompt=list(prompt), completions=completions, ranks=ranks, labeller="rule")


def _align(out: Path, sft_: Path, scorer: Path, **more: Any) -> Path:
    settings = {"rounds": 1, "k": 2, "max_new_tokens": 4, "method": "dpo", "dpo": {"train": TRAIN}}
    config = align_config(sft_, ("--set", settings))
    return align(config, sft_, alphabet.prompts()[:8], out, rank=_rank)


RUNS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "pretrain": (_pretrain, {}),
    "sft": (_sft, {}),
    "sft with an adapter": (_sft, LORA),
    "reward": (_reward, {}),
    "reward, heads alone": (_reward, {"train": TRAIN | {"trainable": "head"}}),
    "dpo": (_dpo, {}),
    "dpo with an adapter": (_dpo, LORA),
    "kto": (_kto, {}),
    "ppo": (_ppo, {}),
    "ppo, the last block": (_ppo, {"policy": {"trainable": "last:1"}, "critic": {"trainable": "head"}}),
    "ppo with an adapter": (_ppo, LORA),
    "grpo": (_grpo, {}),
    "raft": (_raft, {}),
    "distill": (_distill, {}),
    "align": (_align, {}),
}


@pytest.mark.parametrize("name", RUNS)
def test_no_tensor_stays_behind(
    name: str, letters_sft: Path, letters_reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, more = RUNS[name]
    path = tmp_path / name.split()[0].strip(",") / "run-1"
    with on_the_probe(monkeypatch):
        run = Run.open(stage(path, letters_sft, letters_reward, **more))
    _went_well(run)


@pytest.mark.cuda
@pytest.mark.parametrize("name", RUNS)
def test_on_a_gpu(name: str, letters_sft: Path, letters_reward: Path, tmp_path: Path) -> None:
    stage, more = RUNS[name]
    path = tmp_path / name.split()[0].strip(",") / "run-1"
    _went_well(Run.open(stage(path, letters_sft, letters_reward, **more)))


def _went_well(run: Run) -> None:
    assert run.finished
    rows = run.read_metrics()
    assert len(rows) == 3
    assert torch.tensor([float(row.get("loss", row.get("reward"))) for row in rows]).isfinite().all()


def test_what_is_loaded_by_name_is_placed(
    letters_sft: Path, letters_reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service, `chat`, judges and labellers load by these two."""
    with on_the_probe(monkeypatch):
        chat = Chat.load(letters_sft, draft=str(letters_sft))
        assert chat.complete_many([alphabet.prompts()[0].prompt])
        judge = Judge.load(letters_reward)
        rows = judge.rows([one.messages for one in alphabet.demonstrations(3)])
        assert len(score_rows(judge.model, rows, judge.tokenizer.pad_id)) == 3
        assert not off_the_probe([*chat.model.named_parameters(), *judge.model.named_parameters()])
