"""What a stage hands to the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ziggurat.errors import ConfigError
from ziggurat.training.optimizers import Optimizers

Row = dict[str, Any]
"""A row of metrics.jsonl."""


class Learner(ABC):
    """The models of a stage, and how they are measured and updated."""

    update_is_atomic = True
    """Whether an update that raises TrainingError has left models and optimizers as they were."""

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """The models that learn, by the name of their folder in a checkpoint."""

    @abstractmethod
    def optimizers(self) -> Mapping[str, Optimizers]:
        """Their optimizers, by the prefix of their tensors in a checkpoint."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What else a checkpoint needs (the data position, say); JSON-able."""

    @abstractmethod
    def restore(self, state: dict[str, Any], rows: list[Row]) -> None:
        """Go back to `state()`; `rows` are the metrics of the earlier steps."""

    def measure(self, step: int) -> Row:  # noqa: ARG002
        """Fields of row `step` that are known before the update."""
        return {}

    def conclude(self) -> Row:
        """Fields of the last row in place of the update's."""
        return {}

    def evaluate(self) -> Row:
        """Fields of an evaluation on held-out data, or of a gold check."""
        return {}

    def is_fatal(self, row: Row, note: Callable[[str], None]) -> bool:  # noqa: ARG002
        """Whether the run must end at its best checkpoint. May add fields to `row`; `note` prints a line."""
        return False

    def worth(self, row: Row) -> tuple[float, float] | None:  # noqa: ARG002
        """(higher is better, tolerance) of an evaluated row: the best checkpoint is the last one whose worth is above
        the highest so far minus the tolerance. None: no checkpoint is the best."""
        return None

    def sample(self) -> str | None:
        """One example of what the model writes, for the screen."""
        return None

    @abstractmethod
    def update(self, step: int) -> Row:
        """Update the models; returns the further fields of row `step`."""

    def skip_batch(self) -> int:
        """Never learn again from the batch of the last update, also after `restore`; returns how many are skipped."""
        raise ConfigError("spike_factor is set, but this stage cannot skip a batch; set it to 0.")

    def logged(self, row: Row) -> None:  # noqa: B027
        """Called with each complete row."""

    @abstractmethod
    def status(self, row: Row) -> list[str]:
        """The fields of the progress line."""
