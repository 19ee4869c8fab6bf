"""torch's optimizers without its compiler compute what torch's own compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ziggurat.training.eager import KEPT_OUT, AdamW, leave_the_compiler_out


def three_steps(kind: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    torch.manual_seed(3)
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)
    optimizer = kind(layer.parameters(), lr=0.1, betas=(0.8, 0.95), weight_decay=0.1, fused=True)
    for step in range(3):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
        if step == 0:
            optimizer.load_state_dict(optimizer.state_dict())
    return layer.weight.detach(), optimizer.state_dict()


def test_adamw_steps_as_torchs_does() -> None:
    ours, theirs = three_steps(AdamW), three_steps(torch.optim.AdamW)
    assert torch.equal(ours[0], theirs[0])
    assert ours[1]["param_groups"] == theirs[1]["param_groups"]
    for number, state in theirs[1]["state"].items():
        assert all(torch.equal(ours[1]["state"][number][name], value) for name, value in state.items())


def test_each_method_that_torch_decorates_has_its_bare_one() -> None:
    """test_loop.py has a process that trains and never imports the compiler."""
    leave_the_compiler_out()
    for name in KEPT_OUT:
        assert "__dynamo_disable" in vars(getattr(torch.optim.Optimizer, name).__wrapped__), name
