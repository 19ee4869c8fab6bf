"""The commands of the loop, `ziggurat flywheel build | turn | gate | promote | rollback`, as people type them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server import command_json


@dataclass(frozen=True)
class Loop:
    home: Path

    def call(self, *arguments: str, timeout_s: float | None = None) -> dict[str, Any]:
        found: dict[str, Any] = command_json(self.home, "flywheel", *arguments, timeout_s=timeout_s)
        return found

    def build(self, *more: str) -> dict[str, Any]:
        return self.call("build", *more)

    def turn(self, *more: str) -> dict[str, Any]:
        return self.call("turn", *more)

    def gate(self, turn: str, *more: str) -> dict[str, Any]:
        return self.call("gate", turn, *more)
