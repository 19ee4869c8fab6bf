"""The measured machine is plausible and quickly measured; dtype choices give their reason."""

import time

import torch

from ziggurat.training.precision import choose_dtype, measure_machine


def test_explicit_choice_is_kept() -> None:
    assert choose_dtype("fp32")[0] is torch.float32
    assert choose_dtype("bf16")[0] is torch.bfloat16


def test_auto_gives_a_reason() -> None:
    dtype, reason = choose_dtype("auto")
    assert dtype in (torch.float32, torch.bfloat16)
    assert "CPU" in reason


def test_measuring_is_quick_and_plausible() -> None:
    t0 = time.process_time()  # others may use the processor too
    machine = measure_machine(budget_s=0.3)
    assert time.process_time() - t0 < 5
    assert 0.1 < machine.gflops_fp32 < 1e6
    assert 0.1 < machine.gflops_bf16 < 1e6
    assert 0.1 < machine.gb_per_s < 1e5
    assert machine.gflops in (machine.gflops_fp32, machine.gflops_bf16)
