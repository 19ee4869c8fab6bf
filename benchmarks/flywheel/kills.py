"""Part 5: `kill -9` in each phase of a turn; it goes on to the same bytes, and the store verifies.

One turn runs without a kill and is the yardstick. The same turn is started again, and the command and all that it
started are killed as soon as each phase is under way: while its files are laid out, and once the run of a phase has
written a row of metrics. After each kill the command is given again (`--resume`) and killed in the next phase; the last
time it ends. The hashes of the candidate's weights are compared, and `ziggurat store verify` runs after each kill.
No server runs meanwhile: it would take the job over, which is another proof.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop import Loop
from report import show
from server import CommandFailed, begin, command, kill

LOOK_S = 0.05
WITHIN_S = 900.0


@dataclass
class Killed:
    """What happened to the turn that was killed."""

    turn: dict[str, Any] = field(default_factory=dict)
    said: list[tuple[str, int, str]] = field(default_factory=list)
    """(phase, processes killed, what `store verify` said)."""


def weights(folder: Path) -> dict[str, str]:
    """The hash of each weights file of a model's folder."""
    files = [file for file in sorted(folder.rglob("*.safetensors")) if "checkpoints" not in file.parts]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def under_way(loop: Loop, turn: str, number: int) -> bool:
    """Whether a phase (0: the files) has begun to leave something."""
    if number == 0:
        return (loop.home / "runs" / "flywheel" / turn).is_dir()
    phase = loop.phase(turn, number)
    return phase is not None and (loop.located(phase["out"]) / "metrics.jsonl").is_file()


def killed_turn(loop: Loop, dataset: dict[str, Any], name: str, phases: int, *more: str) -> Killed:
    found = Killed()
    for number in range(phases + 1):
        started = (
            ["turn", "--resume", name] if number else ["turn", str(dataset["ref"]), *more, "--name", name]
        )
        process = begin(loop.home, "flywheel", *started)
        until = time.monotonic() + WITHIN_S
        while not under_way(loop, name, number) and process.poll() is None and time.monotonic() < until:
            time.sleep(LOOK_S)
        phase = loop.phase(name, number) if number else None
        count = kill(process)
        found.said.append((phase["stage"] if phase else "files", count, verified(loop)))
    found.turn = loop.resume(name)
    return found


def verified(loop: Loop) -> str:
    try:
        return command(loop.home, "store", "verify").strip().splitlines()[-1]
    except CommandFailed as error:
        return f"does not verify: {error}"


def kills(loop: Loop, dataset: dict[str, Any], *more: str) -> dict[str, Any]:
    whole = loop.turn(dataset, *more, "--name", "whole")
    killed = killed_turn(loop, dataset, "killed", len(whole["recipe"]["phases"]), *more)
    expected, found = weights(loop.model_of(whole)), weights(loop.model_of(killed.turn))
    same = bool(expected) and found == expected
    show("kill -9 in each phase of a turn", ["in", "processes killed", "ziggurat store verify"], killed.said)
    show(
        "The candidate",
        ["", "weights"],
        [[name, *one.values()] for name, one in (("whole", expected), ("killed", found))],
    )
    return {"same_bytes": same, "kills": killed.said, "phases": len(killed.said)}
