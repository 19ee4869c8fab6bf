"""The RLHF doctor: watches the rows of metrics.jsonl and names the cause of a PPO run going wrong, in words.

Every diagnosis is a pure function `(rows, limits) -> Diagnosis | None` over the rows so far, newest last, so that a
test is a handful of invented rows and any finished run can be examined again. A fatal diagnosis stops the run at its
best checkpoint. What it leaves out: cures applied by itself. It says what to change; a person (or a recipe) changes it.

"At the start" means the mean of the first rows: what a healthy run of this policy looks like is what it did before.
Sources of the symptoms: arXiv:2009.01325, section 4.3 (over-optimisation); arXiv:2203.02155, appendix C and E;
the collapses met in our own trials (docs/log/town.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field

from ziggurat.settings import Config

Row = Mapping[str, Any]
Rows = Sequence[Row]
START_ROWS = 3


class DoctorLimits(Config):
    """From where on a symptom is called by its name."""

    kl_factor: float = Field(default=3.0, gt=1)
    """KL blow-up: this many times the KL target, in each of the last 3 steps."""
    kl_max_nats: float = Field(default=40.0, gt=0)
    """KL blow-up whatever the target: nats a completion."""
    commonest_share: float = Field(default=0.6, gt=0, le=1)
    """Passing to everything: one completion on more than this share of the prompts."""
    commonest_rise: float = Field(default=0.25, ge=0)
    """...and this much more than at the start."""
    ending_share: float = Field(default=0.5, gt=0, le=1)
    """Repeated ending: the same last tokens on more than this share of the completions."""
    ending_rise: float = Field(default=0.3, ge=0)
    distinct_factor: float = Field(default=0.4, ge=0, le=1)
    """Mode collapse: different completions fell below this fraction of those at the start."""
    ended_share: float = Field(default=0.5, ge=0, le=1)
    """Truncated rollouts: fewer than this share ended by themselves, in each of the last 3 steps."""
    length_factor: float = Field(default=1.6, gt=1)
    """Length hack: completions this much longer than at the start while reward and length go together."""
    length_correlation: float = Field(default=0.4, ge=0, le=1)
    entropy_factor: float = Field(default=0.15, ge=0, le=1)
    """Entropy collapse: entropy below this fraction of that at the start."""
    reward_std_min: float = Field(default=1e-3, ge=0)
    """Zero reward variance: standard deviation of the rewards of one step, in each of the last 2."""
    value_lag_steps: int = Field(default=15, ge=1)
    """Value lag: explained variance below 0 on average over this many steps."""
    gold_drop: float = Field(default=0.05, ge=0)
    """Proxy up, gold down: the last two gold checks are lower than the best by more than this."""
    accuracy_min: float = Field(default=0.6, ge=0, le=1)
    """Weak reward model: the lower bound of its held-out pair accuracy."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found; `fatal` stops the run. The sentence says what was seen, the cure what to change."""

    name: str
    fatal: bool
    sentence: str
    cure: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence} {self.cure}"


Symptom = Callable[[Rows, DoctorLimits], "Diagnosis | None"]


def weak_reward_model(card: Mapping[str, Any], limits: DoctorLimits) -> Diagnosis | None:
    """Asked before the first step: a reward model near chance, or one that failed its report card, teaches noise."""
    pairs = card.get("pairs", {})
    low = pairs.get("low")
    if low is not None and low < limits.accuracy_min:
        seen = (
            f"on held-out pairs it is right {pairs['value']:.0%} of the time, but only {low:.0%} is certain."
        )
    elif card.get("passed") is False:
        seen = "it failed its report card: " + "; ".join(card.get("reasons", ["no reason given"])) + "."
    else:
        return None
    return Diagnosis(
        "weak reward model", True, seen, "Rank more of the policy's own completions, or train longer."
    )


def kl_blow_up(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """The policy ran away from its reference faster than beta could hold it."""
    last = _column(rows[-3:], "kl")
    if len(last) < 3:
        return None
    target = float(rows[-1].get("kl_target") or 0.0)
    limit = min(limits.kl_max_nats, limits.kl_factor * target if target > 0 else limits.kl_max_nats)
    if min(last) <= limit:
        return None
    seen = (
        f"KL was above {limit:.1f} nats in 3 steps running, {last[-1]:.1f} in the last (target {target:g})."
    )
    return Diagnosis(
        "KL blow-up",
        True,
        seen,
        "Lower policy.lr_adam (with Muon policy.lr_matrix too), or raise beta and kl_gain.",
    )


def passing_to_everything(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """One safe completion (often "I do not know") answers everything: its margin to right answers was not learned."""
    now, start = _last(rows, "share_commonest"), _start(rows, "share_commonest")
    if now is None or start is None or now <= limits.commonest_share or now - start < limits.commonest_rise:
        return None
    text = rows[-1].get("commonest", "")
    seen = f'"{text}" is the completion of {now:.0%} of the prompts ({start:.0%} at the start).'
    cure = "Add comparisons in which a right answer beats exactly this completion."
    return Diagnosis("passing to everything", True, seen, cure)


def repeated_ending(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """Completions differ but all close alike: the reward model reads its score near the end."""
    now, start = _last(rows, "share_ending"), _start(rows, "share_ending")
    if now is None or start is None or now <= limits.ending_share or now - start < limits.ending_rise:
        return None
    seen = f'{now:.0%} of the completions end in "{rows[-1].get("ending", "")}" ({start:.0%} at the start).'
    cure = "Rank completions with this ending against others, and run another round."
    return Diagnosis("repeated ending", True, seen, cure)


def mode_collapse(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """Few different completions remain, none of which needs to be the commonest of all."""
    now, start = _last(rows, "share_distinct"), _start(rows, "share_distinct")
    if now is None or not start or now >= limits.distinct_factor * start:
        return None
    seen = f"only {now:.0%} of the completions differ from one another ({start:.0%} at the start)."
    return Diagnosis("mode collapse", True, seen, "Raise beta, lower policy.lr_adam, or add comparisons.")


def truncated_rollouts(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """Completions do not end, so the reward model never sees most of them. A reward function does: not fatal then."""
    last = _column(rows[-3:], "share_ended")
    if len(last) < 3 or max(last) >= limits.ended_share:
        return None
    seen = f"only {last[-1]:.0%} of the completions ended by themselves in the last of 3 steps running."
    if "reward_function" in rows[-1] and "reward_model" not in rows[-1]:
        cure = "The reward function scores what is there; raise max_new_tokens, or set length_penalty."
        return Diagnosis("truncated rollouts", False, seen, cure)
    return Diagnosis("truncated rollouts", True, seen, "Raise max_new_tokens, or lower truncation_reward.")


def length_hack(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """Longer is taken for better."""
    now, start = _last(rows, "length"), _start(rows, "length")
    together = _mean(_column(rows[-5:], "reward_length_correlation"))
    if now is None or not start or together is None:
        return None
    if now < limits.length_factor * start or together < limits.length_correlation:
        return None
    seen = f"completions grew from {start:.1f} to {now:.1f} tokens; reward and length correlate at {together:.2f}."
    return Diagnosis("length hack", False, seen, "Add comparisons of long and short answers of equal worth.")


def entropy_collapse(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """The policy no longer explores."""
    now, start = _mean(_column(rows[-3:], "entropy")), _start(rows, "entropy")
    if now is None or not start or now >= limits.entropy_factor * start:
        return None
    seen = f"entropy fell from {start:.3f} to {now:.3f} nats a token."
    return Diagnosis("entropy collapse", False, seen, "Raise beta or lower policy.lr_adam.")


def value_lag(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """The critic is worse than a constant long after its warm-up."""
    trained = [row for row in rows if row.get("policy_trained", True)]
    last = _column(trained[-limits.value_lag_steps :], "explained_variance")
    mean = _mean(last)
    if mean is None or len(last) < limits.value_lag_steps or mean >= 0:
        return None
    seen = f"the critic explained {mean:.0%} of the returns' variance over {len(last)} steps."
    return Diagnosis("value lag", False, seen, "Raise critic.lr_adam, critic.epochs or critic_warmup_steps.")


def zero_reward_variance(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """All completions score alike: whitened advantages are then noise."""
    last = _column(rows[-2:], "reward_std")
    if len(last) < 2 or max(last) >= limits.reward_std_min:
        return None
    seen = f"all rewards of a step are equal (standard deviation {last[-1]:.1e})."
    return Diagnosis("zero reward variance", True, seen, "Check the reward model and that prompts differ.")


def proxy_up_gold_down(rows: Rows, limits: DoctorLimits) -> Diagnosis | None:
    """Over-optimisation: the reward model is pleased, the gold check is not."""
    checked = [row for row in rows if row.get("gold") is not None]
    if len(checked) < 3:
        return None
    best = max(checked, key=lambda row: float(row["gold"]))
    fallen = [float(best["gold"]) - float(row["gold"]) > limits.gold_drop for row in checked[-2:]]
    now, then = _last(checked, "reward"), float(best.get("reward") or 0.0)
    if not all(fallen) or now is None or now < then:
        return None
    seen = (
        f"the gold check fell from {float(best['gold']):.3f} at step {best['step']} to "
        f"{float(checked[-1]['gold']):.3f} while the reward went from {then:.2f} to {now:.2f}."
    )
    return Diagnosis(
        "proxy up, gold down", True, seen, "Rank this policy's completions and run another round."
    )


SYMPTOMS: tuple[Symptom, ...] = (
    kl_blow_up,
    passing_to_everything,
    repeated_ending,
    mode_collapse,
    truncated_rollouts,
    length_hack,
    entropy_collapse,
    value_lag,
    zero_reward_variance,
    proxy_up_gold_down,
)


def diagnose(rows: Rows, limits: DoctorLimits) -> list[Diagnosis]:
    """Every symptom that the newest row shows."""
    if not rows:
        return []
    found = (symptom(rows, limits) for symptom in SYMPTOMS)
    return [diagnosis for diagnosis in found if diagnosis is not None]


def _column(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _last(rows: Rows, name: str) -> float | None:
    return _mean(_column(rows[-1:], name))


def _start(rows: Rows, name: str) -> float | None:
    return _mean(_column(rows[:START_ROWS], name))
