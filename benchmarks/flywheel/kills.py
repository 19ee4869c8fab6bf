"""Part 5: `kill -9` in each phase of a turn; it goes on to the same bytes, and the store verifies.

One turn runs without a kill and is the yardstick. Then the same turn is started again, and its command and all that it
started is killed as soon as each phase shows that it is under way (its log has lines, its run has steps); then the
command is given again and ends. The hashes of the weights' files of every phase are compared, and `store verify` is run
after each kill.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from lines import Line
from report import show
from server import begin, command, kill

LOOK_S = 0.05
WITHIN_S = 600.0


def weights(home: Path, turn: dict[str, Any], line: Line) -> dict[str, str]:
    """The hash of each weights file of the turn's candidate."""
    folder = line.loop.model_of(turn)
    files = sorted(folder.rglob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if "checkpoints" not in file.parts}


def killed_turn(line: Line, arguments: list[str], name: str, phases: int) -> tuple[dict[str, Any], list[str]]:
    """Start the turn, kill it once in each phase, let it end; the turn and what `store verify` said."""
    said = []
    for phase in range(1, phases + 1):
        process = begin(line.home, "flywheel", "turn", *arguments, "--name", name)
        until = time.monotonic() + WITHIN_S
        while not line.loop.under_way(name, phase) and process.poll() is None:
            if time.monotonic() > until:
                break
            time.sleep(LOOK_S)
        count = kill(process)
        said.append(f"phase {phase}: {count} processes killed; {command(line.home, 'store', 'verify').strip()}")
    return line.loop.resume(name), said


def kills(line: Line, arguments: list[str]) -> dict[str, Any]:
    whole = line.loop.turn_named("whole", *arguments)
    expected = weights(line.home, whole, line)
    phases = len(whole["recipe"]["phases"])
    turn, said = killed_turn(line, arguments, "killed", phases)
    found = weights(line.home, turn, line)
    same = found == expected
    show("kill -9 in each phase", ["what"], [[one] for one in [*said, f"the same bytes: {same}"]])
    return {"phases": phases, "same_bytes": same, "verify": said}
