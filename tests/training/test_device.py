"""One place decides the device; models, batches, optimizers and checkpoints follow it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.probe import Held, off_the_probe, on_the_probe
from tests.training.tiny import TINY, RandomRows, new_run, next_token_loss, tiny_model
from torch import Tensor

from ziggurat.errors import ConfigError
from ziggurat.model.compiled import compiles
from ziggurat.model.presets import preset
from ziggurat.model.transformer import Transformer
from ziggurat.training import TrainConfig, train
from ziggurat.training.device import choose_device, moved, place
from ziggurat.training.precision import choose_dtype, precision_of

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@WITHOUT_GPU
def test_without_a_gpu_the_cpu_computes_and_cuda_is_refused_in_a_sentence() -> None:
    assert choose_device("auto") == (torch.device("cpu"), "torch finds no GPU")
    assert choose_device("cpu") == (torch.device("cpu"), "the setting says so")
    with pytest.raises(ConfigError, match="finds no GPU here; set device=auto"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match="needs triton and a GPU"):
        compiles("on", torch.device("cpu"))
    assert not compiles("auto", torch.device("cpu"))


def test_a_gpu_is_chosen_by_the_process_and_its_precision_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a CUDA that only answers questions."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU number {number}")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device() == (torch.device("cuda", 1), "GPU number 1")
    assert choose_dtype() == (torch.bfloat16, "the GPU multiplies bf16")
    assert "CPU" in choose_dtype("auto", "cpu")[1]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert choose_dtype()[0] is torch.float32
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU"):
        choose_device()


@dataclass(frozen=True)
class Pair:
    ids: Tensor
    ranks: list[int]
    known: Tensor | None = None


def test_a_batch_moves_whole_and_what_holds_no_tensor_stays() -> None:
    meta, batch = torch.device("meta"), (Pair(torch.zeros(2), [1, 2]), "text", torch.ones(3))
    found = moved(batch, meta)
    assert (found[0].ids.is_meta, found[0].ranks, found[0].known, found[1]) == (True, [1, 2], None, "text")
    assert found[2].is_meta
    assert moved([1], meta) == [1]
    same = (1, Pair(torch.zeros(2, device="meta"), []))
    assert moved(same, meta) is same


@pytest.mark.parametrize("other", ["probe", pytest.param("cuda", marks=pytest.mark.cuda)])
@pytest.mark.parametrize("settings", [{"optimizer": "muon"}, {"optimizer": "adamw", "recompute": True}])
def test_another_device_computes_what_the_cpu_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], other: str
) -> None:
    """Two steps on each, plain; then two more on the other device from a checkpoint: states move both ways.

    Muon multiplies in bf16, where a last bit of its input may become a hundredth of an update of 0.02.
    """
    atol = 2e-3 if settings["optimizer"] == "muon" else 1e-5 if other == "probe" else 1e-4
    monkeypatch.setattr("ziggurat.training.loop.accelerate", lambda model: model)
    config = TrainConfig(steps=4, dtype="fp32", final_lr_factor=1.0, lr_adam=0.01, **settings)  # type: ignore[arg-type]
    half = config.model_copy(update={"steps": 2})

    def run(where: str, path: Path, config: TrainConfig, *, resume: bool = False) -> dict[str, Tensor]:
        with new_run(path, resume=resume) as run:
            if where != "probe":
                config = config.model_copy(update={"device": where})
                model = place(tiny_model(), where)
                train(run, model, RandomRows(), next_token_loss, config, resume=resume)
                return {name: t.cpu().clone() for name, t in model.state_dict().items()}
            with on_the_probe(monkeypatch):
                model = place(tiny_model())
                assert not off_the_probe([*model.named_parameters(), *model.named_buffers()])
                train(run, model, RandomRows(), next_token_loss, config, resume=resume)
                assert not off_the_probe(model.named_parameters())
                return {name: t.cpu() for name, t in model.state_dict().items()}

    whole = run("cpu", tmp_path / "whole", config)
    for first, second in (("cpu", other), (other, "cpu")):
        path = tmp_path / first
        run(first, path, half)
        found = run(second, path, config, resume=True)
        assert max(float((found[name] - whole[name]).abs().max()) for name in whole) < atol


def test_a_model_that_was_not_placed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        new_run(tmp_path / "r") as run,
        on_the_probe(monkeypatch),
        pytest.raises(RuntimeError, match="place it"),
    ):
        train(run, tiny_model(), RandomRows(), next_token_loss, TrainConfig(steps=1))


def test_the_probe_refuses_to_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests which use it can fail."""
    with on_the_probe(monkeypatch) as device:
        there = torch.zeros(3, device=device)
        assert isinstance(there + 1, Held)
        with pytest.raises(RuntimeError, match="met tensors on the CPU"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="met tensors on the CPU"):
            there[torch.tensor([0, 1])]
        with pytest.raises(RuntimeError):
            there.numpy()


def test_the_precision_sentence_says_what_is_held(tmp_path: Path) -> None:
    model = tiny_model()
    assert precision_of({"model": model}) == "trained weights and optimizer in fp32, losses in fp32"
    model.blocks[0].requires_grad_(False).to(torch.bfloat16)
    assert precision_of({"model": model}).startswith("frozen weights in bf16, trained weights")


def test_the_largest_presets_compute_without_memory() -> None:
    """A step of LLaMA-65B and of GPT-3 175B on the meta device: no tensor is made elsewhere on the way."""
    for name in ("llama-65b", "gpt3-175b"):
        with torch.device("meta"):
            model = Transformer(preset(name), seed=None)
        ids = torch.zeros(1, 32, dtype=torch.int64, device="meta")
        loss = model.nll(model.hidden(ids).flatten(0, 1), ids.flatten()).sum()
        loss.backward()
        assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())
    assert TINY.layers == 2
