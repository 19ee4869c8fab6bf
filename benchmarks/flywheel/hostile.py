"""Part 3: a fifth of the voters is hostile, or one floods. What does the candidate lose, with and without weights?

For each seed the same people ask the same questions of the same first release in five arms, each a home of its own:

    honest                 nobody is hostile
    inverted, weighted     every fifth voter says the opposite of what they see
    inverted, unweighted   the same, `build --set weights=false`
    longest, weighted      every fifth voter takes the longer answer
    longest, unweighted
    flood, weighted        one voter more, who says the opposite FLOOD times as often as the others judge

What the server samples differs from arm to arm, as it does from day to day. The gold score is the mean of the
noise-free points on the held-out prompts, from -1 to 1, times 50: one prompt in a hundred from wrong to right is a
point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from held_out import Sheet
from lines import Line, Plan
from report import show

from ziggurat.evaluation.statistics import student_interval

LEAST_LOSS = 4.0
"""Points of the gold score that hostile voters may move the candidate's, weighted."""
FLOOD = 10
SHARE = 0.2
SCALE = 50.0


def flagged(dataset: dict[str, Any]) -> dict[str, list[str]]:
    """Pseudonym -> why a person is in quarantine, by the card of a dataset version."""
    people = dataset["card"]["people"]
    return {name: person["flags"] for name, person in people.items() if person["flags"]}


@dataclass(frozen=True)
class Arm:
    name: str
    manner: str = "honest"
    weighted: bool = True
    flooder: bool = False

    def manners(self, voters: int) -> list[str]:
        """Every fifth is hostile: who is, does not depend on the arm."""
        step = round(1 / SHARE)
        found = [self.manner if i % step == step - 1 else "honest" for i in range(voters)]
        return [*found, "inverted"] if self.flooder else found

    def plan(self, plan: Plan) -> Plan:
        unweighted = () if self.weighted else ("--set", "weights=false")
        return replace(plan, build=(*plan.build, *unweighted))


ARMS = (
    Arm("honest"),
    Arm("inverted, weighted", "inverted"),
    Arm("inverted, unweighted", "inverted", weighted=False),
    Arm("longest, weighted", "longest"),
    Arm("longest, unweighted", "longest", weighted=False),
    Arm("flood, weighted", flooder=True),
)


def hostile(
    seeds: Sequence[int],
    open_line: Callable[[str, int, Plan], Any],
    sheet: Callable[[str, Line], Sheet],
    plan: Plan,
    arms: Sequence[Arm] = ARMS,
) -> dict[str, Any]:
    """One turn of each arm and seed; `open_line` gives a context with its line, `sheet` the candidate's answers."""
    gold: dict[str, list[float]] = {arm.name: [] for arm in arms}
    quarantined: dict[str, list[Any]] = {arm.name: [] for arm in arms}
    for seed in seeds:
        for arm in arms:
            with open_line(f"hostile-{seed}-{arm.name.replace(', ', '-')}", seed, arm.plan(plan)) as line:
                line.people(arm.manners(plan.voters))
                rates = [FLOOD if arm.flooder and i == plan.voters else 1 for i in range(len(line.voters))]
                step = line.candidate(0, rates=rates)
                gold[arm.name].append(SCALE * sheet(arm.name, line).figures["points"])
                quarantined[arm.name].append(flagged(step.dataset))
    rows, found = [], {}
    for arm in arms:
        moved = [one - honest for one, honest in zip(gold[arm.name], gold[arms[0].name], strict=True)]
        interval = student_interval(moved) if len(moved) > 1 and any(moved) else None
        mean = sum(moved) / len(moved)
        held = None if arm is arms[0] or not arm.weighted else abs(mean) <= LEAST_LOSS
        found[arm.name] = {
            "gold": gold[arm.name],
            "moved": moved,
            "mean": mean,
            "interval": interval.to_dict() if interval else None,
            "quarantined": quarantined[arm.name],
            "held": held,
        }
        spread = f"[{interval.low:+.2f}, {interval.high:+.2f}]" if interval else "–"
        rows.append(
            [
                arm.name,
                f"{sum(gold[arm.name]) / len(gold[arm.name]):.2f}",
                f"{mean:+.2f} {spread}",
                "" if held is None else "yes" if held else "no",
            ]
        )
    title = f"Hostile voters: gold score of the candidate over {len(seeds)} paired seeds"
    show(title, ["arm", "gold", "moved against honest", f"at most {LEAST_LOSS:g} points"], rows)
    return {"seeds": list(seeds), "arms": found}
