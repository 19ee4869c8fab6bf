"""Metrics of programs (`POST /v1/feedback`) as a criterion: where the policy names a bar for one.

A metric to make large reaches its bar if the whole interval of its mean is at or above it, one to make small if all of
it is at or below it. An interval that holds the bar decides nothing.
"""

from __future__ import annotations

from ziggurat.evaluation.statistics import cluster_bootstrap
from ziggurat.flywheel.gate.criterion import Bench, Finding

LEAST = 20


class Metrics:
    name = "metrics"

    def measure(self, bench: Bench) -> Finding:
        bars = bench.policy.metrics
        if not bars:
            return Finding(verdict="not_measured", sentence="The policy names no metric of programs.")
        rows, verdict = {}, "passed"
        said = []
        for name, bar in bars.items():
            found = [one for one in bench.metrics if one["metric"] == name]
            values = [float(one["value"]) for one in found]
            if len(values) < LEAST:
                verdict = "undecided" if verdict == "passed" else verdict
                said.append(f"{name} has {len(values)} values of the candidate, {LEAST} are needed")
                continue
            mean, least = cluster_bootstrap(values), found[0].get("optimize") == "min"
            worst, best = (-mean.high, -mean.low) if least else (mean.low, mean.high)
            wanted = -bar if least else bar
            if best < wanted:
                verdict = "refused"
            elif worst < wanted and verdict == "passed":
                verdict = "undecided"
            asked = f"at {'most' if least else 'least'} {bar:.4g} is asked"
            said.append(f"{name} is {mean.value:.4g} [{mean.low:.4g}, {mean.high:.4g}] ({asked})")
            rows[name] = mean.to_dict() | {"bar": bar, "optimize": "min" if least else "max"}
        sentence = "; ".join(said) + "."
        return Finding(verdict=verdict, sentence=sentence, n=len(bench.metrics), detail=rows)  # type: ignore[arg-type]
