"""A whole climb: all stages, the exam, the report."""

from __future__ import annotations

from ziggurat.ladder.climb import Climb
from ziggurat.ladder.held_out import examine
from ziggurat.ladder.report import Exam, write_report
from ziggurat.ladder.stages import climb_stages


def complete(climb: Climb, *, resume: bool = False, controls: bool = False) -> Exam:
    """Train every stage that the world has data for, hold its exam, write exam/report.json and report.html.

    controls: also examine other uses of PPO's time; needs `World.has_controls`.
    """
    climb_stages(climb, resume=resume)
    exam = examine(climb)
    write_report(climb, exam)
    if controls:
        exam = climb.world.controls(climb, exam)
        write_report(climb, exam)
    return exam
