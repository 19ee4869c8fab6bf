"""Adapters through KTO, RAFT, distillation and SFT: what is saved, what stays still, what a resumed run ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alphabet
import pytest
import torch
from test_rlhf_resume import plain_rows

from ziggurat.dialogue.chat import Chat
from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.files import sha256_file
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import load_model
from ziggurat.models.export import export
from ziggurat.places import model_folder
from ziggurat.runs import Run
from ziggurat.stages.distill import distill, distill_config
from ziggurat.stages.kto import kto, kto_config
from ziggurat.stages.raft import raft, raft_config
from ziggurat.stages.sft import sft, sft_config
from ziggurat.training import TrainConfig, cost

LIKES = f"{Path(__file__).parent / 'alphabet.py'}:reward"
TRAIN: dict[str, Any] = {
    "steps": 6,
    "optimizer": "adamw",
    "lr_adam": 1e-3,
    "dtype": "fp32",
    "threads": 1,
    "checkpoint_every_steps": 2,
}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"trainable": "lora", "lora": {"rank": 4}},
    "prefix": {"trainable": "prefix", "prefix": {"tokens": 4}},
    "prompt": {"trainable": "prompt", "prefix": {"tokens": 4}},
}


def of_sft(base: Path, out: Path, settings: dict[str, Any], resume: bool) -> Path:
    settings = {"batch_tokens": 128, "text_share": 0.0, **settings}
    config = sft_config(base, ("test", {"train": TRAIN}), ("--set", settings))
    return sft(config, base, alphabet.demonstrations(60), out, resume=resume)


def of_kto(base: Path, out: Path, settings: dict[str, Any], resume: bool) -> Path:
    config = kto_config(base, ("test", {"batch_ratings": 16, "train": TRAIN}), ("--set", settings))
    return kto(config, base, alphabet.ratings(120), out, resume=resume)


def of_raft(base: Path, out: Path, settings: dict[str, Any], resume: bool) -> Path:
    own = {"n": 3, "max_new_tokens": 5, "batch_answers": 8, "reward_function": LIKES, "train": TRAIN}
    config = raft_config(base, ("test", own), ("--set", settings))
    return raft(config, base, alphabet.prompts(), out, resume=resume)


def of_distill(base: Path, out: Path, settings: dict[str, Any], resume: bool) -> Path:
    config = distill_config(base, ("test", {"batch_answers": 8, "train": TRAIN}), ("--set", settings))
    return distill(config, base, base, alphabet.demonstrations(80, seed=4), out, resume=resume)


STAGES: dict[str, Callable[[Path, Path, dict[str, Any], bool], Path]] = {
    "sft": of_sft,
    "kto": of_kto,
    "raft": of_raft,
    "distill": of_distill,
}
BOTH = [
    ("kto", "lora"),
    ("raft", "lora"),
    ("distill", "lora"),
    ("sft", "prefix"),
    ("kto", "prompt"),
    ("raft", "prefix"),
]


@pytest.mark.parametrize(("stage", "kind"), BOTH)
def test_a_stopped_and_resumed_run_ends_with_the_same_small_adapter_and_the_base_stays_as_it_is(
    stage: str, kind: str, letters_sft: Path, tmp_path: Path
) -> None:
    run_it, before = STAGES[stage], sha256_file(model_folder(letters_sft) / "model.safetensors")
    whole = Run.open(run_it(letters_sft, tmp_path / "whole-1", KINDS[kind], False))
    with alphabet.stopped_at_update(4):
        run_it(letters_sft, tmp_path / "broken-1", KINDS[kind], False)
    broken = Run.open(run_it(letters_sft, tmp_path / "broken-1", KINDS[kind], True))
    assert plain_rows(whole) == plain_rows(broken)
    files = [p.relative_to(whole.path) for p in whole.path.rglob("*.safetensors") if "step-000006" in str(p)]
    files += [p.relative_to(whole.path) for p in whole.model_path.glob("*.safetensors")]
    assert len(files) == 4  # adapter, optimizer, random states; the run's own adapter
    for file in files:
        assert sha256_file(whole.path / file) == sha256_file(broken.path / file), file
    assert {p.name for p in whole.model_path.glob("*.safetensors")} == {"adapter_model.safetensors"}
    assert sha256_file(model_folder(letters_sft) / "model.safetensors") == before
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert not torch.allclose(load_model(whole.model_path)(ids), load_model(letters_sft)(ids), atol=1e-4)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_virtual_tokens_alone_teach_a_frozen_model_a_new_taste(
    kind: str, letters_sft: Path, tmp_path: Path
) -> None:
    """All demonstrations answer "bbb", and the frozen model answers with random letters. The loss falls, and with a
    prefix the greedy answers follow, over the base and from the adapter's folder alone. A prompt moves a model of two
    blocks less: it has no keys and values of its own."""
    shown = [one.model_copy(deep=True) for one in alphabet.demonstrations(200)]
    for one in shown:
        one.messages[-1] = one.messages[-1].with_content("bbb")
    settings = {
        "batch_tokens": 256,
        "text_share": 0.0,
        "trainable": kind,
        "prefix": {"tokens": 8, "lr_factor": 100.0},
        "train": {**TRAIN, "steps": 80, "lr_adam": 3e-3, "checkpoint_every_steps": 0},
    }
    config = sft_config(letters_sft, ("test", settings))
    run = Run.open(sft(config, letters_sft, shown, tmp_path / "sft-1"))
    rows = run.read_metrics()
    assert rows[-1]["loss"] < {"prefix": 0.6, "prompt": 0.85}[kind] * rows[0]["loss"]
    learned = json.loads((run.model_path / "adapter_config.json").read_text())
    assert learned["num_virtual_tokens"] == 8
    asked = [one.prompt for one in alphabet.prompts()]
    base = Chat.load(letters_sft, as_trained=True)
    chats = (base, Chat.load(run.path, as_trained=True), base.with_adapter(run.path))
    before, alone, over = (chat.complete_many(asked) for chat in chats)
    assert alone == over
    if kind == "prefix":
        liked = [sum(map(alphabet.likes, texts)) / len(texts) for texts in (before, over)]
        assert liked[1] > max(0.8, liked[0] + 0.3)


def test_the_numbers_that_learn_are_far_below_one_percent_of_a_real_model() -> None:
    sizes = {"layers": 30, "d_model": 576, "heads": 9, "kv_heads": 3, "d_head": 64, "d_ff": 1536}
    shape = ModelConfig(**sizes, vocab_size=49_152, context=2048, qk_norm=False)  # type: ignore[arg-type]
    whole = cost.total_parameters(shape)
    for kind, wanted in (("prefix", 16 * 2 * 30 * 3 * 64), ("prompt", 16 * 576)):
        found = cost.adapter_parameters(shape, TrainConfig(trainable=kind))
        assert found == wanted < 0.002 * whole


def test_what_virtual_tokens_cannot_do_is_said(letters_sft: Path, tmp_path: Path) -> None:
    run = of_sft(letters_sft, tmp_path / "sft-1", KINDS["prefix"], False)
    with pytest.raises(ConfigError, match="holds virtual tokens, from which no further training can begin"):
        of_kto(run, tmp_path / "kto-1", KINDS["lora"], False)
    with pytest.raises(ModelFolderError, match="cannot be worked into the weights"):
        export(str(run), "hf", tmp_path / "whole")
    with pytest.raises(ConfigError, match="states are not compared where virtual tokens learn"):
        of_distill(letters_sft, tmp_path / "distill-1", {**KINDS["prompt"], "hidden_weight": 1.0}, False)
