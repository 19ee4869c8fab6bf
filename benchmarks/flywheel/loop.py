"""The commands of the loop, `ziggurat flywheel build | turn | gate | promote | rollback`, as people type them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from people import Person
from server import command

CHANNEL = "assistant"
"""The model's name that people see, whatever release is behind it."""
NAMED = "$ZIGGURAT_HOME/"
WITHIN_S = 120.0
PASSED, NOT_PASSED = 0, 1
"""Exit statuses of the gate."""


@dataclass(frozen=True)
class Loop:
    home: Path

    def build(self, *more: str) -> dict[str, Any]:
        """A dataset version: id, ref, card ..."""
        return self._json("build", *more)

    def turn(self, dataset: dict[str, Any], *more: str) -> dict[str, Any]:
        return self._json("turn", str(dataset["ref"]), *more)

    def turn_of_files(self, kind: str, file: Path, held_out: Path, *more: str) -> dict[str, Any]:
        return self._json("turn", f"--{kind}", str(file), "--held-out", str(held_out), *more)

    def resume(self, name: str) -> dict[str, Any]:
        """Go on with a turn whose command was killed."""
        return self._json("turn", "--resume", name)

    def gate(self, turn: dict[str, Any], *more: str) -> dict[str, Any]:
        """The gate of a turn: verdict, sentence, criteria. Refused is an answer as well."""
        return self._json("gate", str(turn["name"]), *more, allowed=(PASSED, NOT_PASSED))

    def promote(self, gate: dict[str, Any]) -> str:
        """Sign a gate that is passed and let its release serve; the release's name."""
        return self._said("promote", str(gate["id"]), "--note", "the proof's owner")

    def first_release(self, model: str) -> str:
        return self._said("promote", "--from", model)

    def rollback(self) -> str:
        return self._said("rollback", "--note", "the proof's owner")

    def explain(self, release: str) -> dict[str, Any]:
        return self._json("explain", release)

    def _said(self, *arguments: str) -> str:
        return command(self.home, "flywheel", *arguments).strip().splitlines()[-1]

    def _json(self, *arguments: str, allowed: tuple[int, ...] = (PASSED,)) -> dict[str, Any]:
        printed = command(self.home, "flywheel", *arguments, "--json", allowed=allowed)
        found: dict[str, Any] = json.loads(printed[printed.index("{") :])
        return found

    # --- what the commands left ---------------------------------------------------------------------------------------

    def located(self, written: str) -> Path:
        return self.home / written.removeprefix(NAMED) if written.startswith(NAMED) else Path(written)

    def model_of(self, turn: dict[str, Any]) -> Path:
        """The candidate's folder."""
        return self.located(str(turn["candidate"]))

    def phase(self, turn: str, number: int) -> dict[str, Any] | None:
        """What phase NUMBER of a turn does and where; None before it has begun."""
        file = self.home / "runs" / "flywheel" / turn / f"phase-{number}.json"
        if not file.is_file():
            return None
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


def wait_until_served(person: Person, release: str | None = None) -> None:
    """Until the server offers the channel, and with `release` until that is what answers."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        names = {one["name"] for one in person.get("/api/models")["models"]}
        if CHANNEL in names and (release is None or release in said_by(person)):
            return
        time.sleep(0.2)
    raise TimeoutError(f"the server offers {CHANNEL} with {release or 'no release'} after {WITHIN_S:.0f} s.")


def said_by(person: Person) -> str:
    """What the server says of what serves on the channel."""
    found = person.get("/api/flywheel")
    return json.dumps(found.get("channels", found))
