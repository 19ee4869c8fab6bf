"""Metrics of programs (`POST /v1/feedback`) as a criterion: where the policy names a bar for one."""

from __future__ import annotations

from ziggurat.evaluation.statistics import cluster_bootstrap
from ziggurat.flywheel.criterion import Bench, Finding, percent

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
            values = [float(one["value"]) for one in bench.metrics if one["metric"] == name]
            if len(values) < LEAST:
                verdict = "undecided" if verdict == "passed" else verdict
                said.append(f"{name} has {len(values)} values of the candidate, {LEAST} are needed")
                continue
            mean = cluster_bootstrap(values)
            good = mean.value >= bar
            verdict = verdict if good else "refused"
            said.append(f"{name} is {percent(mean.value)} ({percent(bar)} is asked)")
            rows[name] = mean.to_dict() | {"bar": bar}
        sentence = "; ".join(said) + "."
        return Finding(verdict=verdict, sentence=sentence, n=len(bench.metrics), detail=rows)  # type: ignore[arg-type]
