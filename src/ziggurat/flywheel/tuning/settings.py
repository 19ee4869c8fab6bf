"""OpenAI's hyperparameters as settings of a stage; every other hyperparameter is a setting already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ziggurat.settings import nest
from ziggurat.stages.stage import Stage

if TYPE_CHECKING:  # it brings torch
    from ziggurat.stages.launch import Layers

AUTO = "auto"


def settings_of(
    stage: Stage, base: str, seed: int, hyperparameters: Mapping[str, Any], *, example_tokens: int = 64
) -> Layers:
    """The layers of settings. `example_tokens`: of one demonstration, by which a batch is counted.

    Raises:
        ConfigError: there is no such setting, or its value is not allowed.
    """
    given = {name: value for name, value in hyperparameters.items() if value != AUTO}
    configure = stage.function("configure")
    found: dict[str, Any] = {stage.seed: seed}
    if (epochs := given.pop("n_epochs", None)) is not None:
        found["epochs"] = float(epochs)
    if (beta := given.pop("beta", None)) is not None:
        found["beta"] = float(beta)
    if (size := given.pop("batch_size", None)) is not None:
        name = "batch_tokens" if stage.name == "sft" else "batch_comparisons"
        found[name] = max(64, int(size) * example_tokens) if stage.name == "sft" else max(1, int(size))
    if (times := given.pop("learning_rate_multiplier", None)) is not None:
        train = configure(base).config.train
        found |= {f"train.{name}": getattr(train, name) * times for name in ("lr_adam", "lr_matrix")}
    layers: Layers = [("the job", nest({**found, **given}))]
    configure(base, *layers)
    return layers
