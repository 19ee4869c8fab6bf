"""What the settings of PPO and GRPO have in common: a policy that is rolled out while the doctor watches every step."""

from __future__ import annotations

from typing import Any, Self

from pydantic import field_validator, model_validator

from ziggurat.stages import setup


class WatchedConfig(setup.RecordsConfig):
    """Refuses what does not go with the doctor. A class that inherits it has `train` and `max_new_tokens`."""

    @field_validator("max_new_tokens", check_fields=False)
    @classmethod
    def _some_tokens(cls, value: int) -> int:
        if value == 0:
            raise ValueError(
                "max_new_tokens is 0; give at least 1, or -1 to compute it from measured answers"
            )
        return value

    @model_validator(mode="after")
    def _loop_fits(self) -> Self:
        train: Any = getattr(self, "train")  # noqa: B009 - declared by the class that inherits this one
        if train.log_every_steps != 1:
            raise ValueError(
                f"train.log_every_steps is {train.log_every_steps}, but the doctor needs every row; set it to 1"
            )
        if train.spike_factor:
            method = type(self).__name__.removesuffix("Config")
            raise ValueError(f"train.spike_factor is not for {method}, which the doctor watches; set it to 0")
        return self
