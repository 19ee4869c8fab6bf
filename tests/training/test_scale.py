"""docs/scale.md holds what the accounting computes; figures are near the published ones; its recipes are settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ziggurat.cli.main import run as ziggurat
from ziggurat.model.accounting import flops_per_token, total_parameters
from ziggurat.model.presets import PUBLISHED, preset
from ziggurat.settings import parse_sets
from ziggurat.stages.pretrain import pretrain_config
from ziggurat.stages.stage import declared
from ziggurat.training import TrainConfig
from ziggurat.training.cost import text_cost
from ziggurat.training.gpus import GPUS, gpu_named
from ziggurat.training.scale import FITS, PUBLISHED_FLOPS, PUBLISHED_GPU_HOURS, scaled, tables

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_page_holds_the_tables_that_are_computed() -> None:
    """After a change: put the output of `ziggurat plan scale` between the two marks."""
    assert PAGE.split("<!-- ziggurat plan scale -->\n")[1].split("\n<!-- end -->")[0] == tables()


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_within_two_percent_and_flops_within_one(name: str) -> None:
    counted = total_parameters(preset(name))
    assert counted == pytest.approx(PUBLISHED[name].parameters, rel=0.02)
    if name in PUBLISHED_FLOPS:
        assert 6 * counted * 300e9 == pytest.approx(PUBLISHED_FLOPS[name], rel=0.01)


def test_llama_takes_the_published_time_and_money() -> None:
    big = scaled("llama-65b")
    assert (big.gpus, big.gpu.name) == (2048, "A100")
    assert big.days == pytest.approx(21, rel=0.30)
    assert big.dollars == pytest.approx(5e6, rel=0.30)
    for name, hours in PUBLISHED_GPU_HOURS.items():
        one = scaled(name)
        assert one.days * 24 * one.gpus == pytest.approx(hours, rel=0.15)


def test_memory_and_network_by_hand() -> None:
    """llama-7b on 256: N = 6.738e9; state 16 N / 256; a block 202.4M; embeddings 2 x 131M, fp32 with gradient."""
    one = scaled("llama-7b")
    memory = one.memory_gb(1)
    assert memory["state"] == pytest.approx(16 * 6.738e9 / 256 / 1e9, rel=1e-3)
    assert memory["gathered"] == pytest.approx((202.4e6 * 10 + 262.1e6 * 8 + 131.1e6 * 2) / 1e9, rel=1e-3)
    assert one.rows_per_gpu == 8
    assert one.microbatches == 1
    assert one.network_gb == pytest.approx((8 * 32 * 202.4e6 + 4 * 262.1e6 * 2) * 255 / 256 / 1e9, rel=1e-3)
    assert one.compute_s == pytest.approx(
        flops_per_token(one.config, 2048) * 8 * 2048 / (0.46 * 312e12), rel=1e-9
    )
    assert scaled("gpt3-175b", 8).rows_at_once == 0  # eight are too few
    for name in PUBLISHED:
        one = scaled(name)
        assert one.rows_at_once
        assert sum(one.memory_gb(one.rows_at_once).values()) <= FITS * 80


def test_the_plan_of_a_run_in_shards_is_this_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ziggurat.training.cost.processes", lambda: 256)
    train = TrainConfig(
        optimizer="adamw", dtype="bf16", recompute=True, microbatch_tokens=8 * 2048, device="cpu"
    )
    one = scaled("llama-7b")
    planned, memory = text_cost(one.config, train, 2048, 8).memory, one.memory_gb(8)
    assert sum(planned[name] for name in ("parameters", "gradients", "optimizer")) == pytest.approx(
        memory["state"] * 1e9
    )
    assert planned["gathered"] == pytest.approx(memory["gathered"] * 1e9)
    assert planned["activations of 16,384 tokens"] == pytest.approx(memory["kept"] * 1e9)


def test_a_gpu_is_found_by_the_name_that_it_gives_itself() -> None:
    for name, entry in (
        ("NVIDIA H200", "H200"), ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"), ("Tesla V100-SXM2-32GB", "V100"), ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L4", "L4"), ("NVIDIA A10G", ""),
    ):  # fmt: skip
        found = gpu_named(name)
        assert (found.name if found else "") == entry
    assert len({one.name for one in GPUS}) == len(GPUS)


def test_the_recipes_are_commands_with_settings_that_are_read() -> None:
    commands = [
        " ".join(c.replace("\\\n", " ").split()) for c in re.findall(r"^torchrun (?:.*\\\n)*.*$", PAGE, re.M)
    ]
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command.partition(" -m ziggurat ")[2])
        stage = declared()[words[0]]
        assert stage.distributed
        sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        if stage.name != "pretrain":
            continue
        config = pretrain_config(None, ("--set", parse_sets(sets))).config
        row = PUBLISHED[config.model]
        assert config.train.lr_adam == row.lr
        assert config.batch_tokens == pytest.approx(row.batch_tokens, rel=0.05)
        assert config.tokenizer == preset(config.model).vocab_size


def test_the_command_prints_one_case_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert ziggurat(["plan", "scale"]) == 0
    assert capsys.readouterr().out == tables() + "\n"
    assert ziggurat(["plan", "scale", "--model", "llama-7b", "--gpus", "8", "--kind", "H100"]) == 0
    assert "| llama-7b | 8 |" in capsys.readouterr().out
    assert ziggurat(["plan", "scale", "--model", "llama-8b"]) == 2
