"""`ziggurat runs watch`: a climb in the terminal, from its files, as the page shows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ziggurat.console import human_time, out
from ziggurat.errors import RunError
from ziggurat.ladder import watching
from ziggurat.places import ladder_folder, runs_home

EVERY_S = 1.0
BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 48
MARKS = {"waiting": "·", "running": "▶", "done": "✓", "failed": "✗", "stopped": "■"}


def watch_ladder(ladder: str | None, *, once: bool = False) -> None:
    """Show a ladder until it ends or Ctrl-C is pressed.

    Raises:
        RunError: there is no such ladder, or nothing has run yet.
    """
    shown = _found(ladder)
    if once or not out.is_terminal:
        out.print(_picture(shown))
        return
    with Live(_picture(shown), console=out, refresh_per_second=4, transient=False) as live:
        try:
            while shown.state == "running":
                time.sleep(EVERY_S)
                shown = _found(shown.name)
                live.update(_picture(shown))
        except KeyboardInterrupt:
            return


def _found(ladder: str | None) -> watching.ClimbView:
    if ladder is not None:
        one = watching.climb(ladder_folder(ladder))
        if one is None:
            raise RunError(
                f"There is no ladder {ladder} in {runs_home()}; `ziggurat runs list` shows what there is."
            )
        return one
    every = watching.climbs()
    if not every:
        raise RunError(f"Nothing has run yet in {runs_home()}; `ziggurat ladder` begins a climb.")
    return every[0]


def _picture(climb: watching.ClimbView) -> RenderableType:
    left = f", about {human_time(climb.left_s)} left" if climb.left_s is not None else ""
    stages = Table(box=None, pad_edge=False)
    for column in ("", "stage", "steps", "time", "left"):
        stages.add_column(column, justify="right" if column in ("steps", "time", "left") else "left")
    for stage in climb.stages:
        steps = f"{stage.step:,}/{stage.steps:,}" if stage.steps else f"{stage.step:,}"
        stages.add_row(
            MARKS[stage.state],
            stage.name,
            steps,
            human_time(stage.elapsed_s) if stage.elapsed_s else "",
            human_time(stage.left_s) if stage.left_s is not None else "",
        )
    parts: list[RenderableType] = [Text(f"{climb.name}: {climb.state}{left}", style="bold"), stages]
    parts += [
        Text(f"{stage.name} failed: {stage.error}", style="red") for stage in climb.stages if stage.error
    ]
    current = next((s for s in climb.stages if s.state == "running"), None) or next(
        (s for s in reversed(climb.stages) if s.run is not None), None
    )
    if current is not None and current.run is not None:
        parts += _run(watching.view(runs_home() / current.run))
    return Group(*parts)


def _run(view: dict[str, Any]) -> list[RenderableType]:
    """Curves as lines of blocks with their last value and their healthy range, the last sample, the remarks."""
    parts: list[RenderableType] = [Text("")]
    for name, points in view["series"].items():
        band = view["bands"].get(name)
        healthy = f"   healthy {band[0]:.3g} to {band[1]:.3g}" if band is not None else ""
        parts.append(Text(f"{name:>20} {line([value for _, value in points])} {points[-1][1]:.4g}{healthy}"))
    if view["samples"]:
        last = view["samples"][-1]
        parts += [Text(""), Text(f"step {last['step']:,} writes: {last['text']}", style="italic")]
    parts += [Text(f"doctor, step {one['step']:,}: {one['text']}", style="yellow") for one in view["doctor"]]
    return parts


def line(values: Sequence[float]) -> str:
    """A curve as one line of text, at most WIDTH characters."""
    size = max(1.0, len(values) / WIDTH)
    thinned = [values[int(i * size)] for i in range(min(WIDTH, len(values)))]
    low, high = min(thinned), max(thinned)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[int((value - low) * scale)] for value in thinned)
