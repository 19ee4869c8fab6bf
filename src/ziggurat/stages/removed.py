"""Settings of earlier versions, still read from recipes, `--set` and the config.yaml of old runs.

Each is translated into today's setting, whose source then names the old one ("recipe town, as steps"). To remove a
setting, add it here under its config class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ziggurat.console import err
from ziggurat.settings import nest

Replacement = Callable[[Any], Mapping[str, Any]]


def moved(*keys: str) -> Replacement:
    """The value is now under each of these dotted keys.

    >>> moved("train.steps")(3)
    {'train': {'steps': 3}}
    """
    return lambda value: nest(dict.fromkeys(keys, value))


def _last_blocks(number: Any) -> Mapping[str, Any]:
    return {"trainable": f"last:{number}" if number else "all"}


def _all_or_head(body_learns: Any) -> Mapping[str, Any]:
    return {"trainable": "all" if body_learns else "head"}


def _early_exit(value: Any) -> Mapping[str, Any]:
    """Recipes and half-finished runs with a second loss go on with that of the whole model."""
    if isinstance(value, Mapping) and value.get("blocks"):
        err.print(
            "Note: early_exit is no longer computed; the loss is that of the whole model (docs/log/town.md says why)."
        )
    return {}


REMOVED: dict[str, dict[str, Replacement]] = {
    "PretrainConfig": {"early_exit": _early_exit},
    "SftConfig": {"early_exit": _early_exit},
    "RewardConfig": {
        "body_learns": lambda value: {"train": _all_or_head(value)},
        "hears_doubt": lambda value: {"score_head": "confidence" if value else "linear"},
    },
    "PPOConfig": {
        "check_every_steps": moved("train.eval_every_steps", "train.checkpoint_every_steps"),
        **{
            name: moved(f"train.{name}")
            for name in (
                "steps",
                "seed",
                "dtype",
                "threads",
                "grad_clip",
                "warmup_steps",
                "schedule",
                "final_lr_factor",
            )
        },
    },
    "PolicyConfig": {"unfrozen_blocks": _last_blocks},
    "CriticConfig": {"body_learns": _all_or_head},
}
