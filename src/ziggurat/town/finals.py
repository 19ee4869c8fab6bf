"""The final exam of a climb: every model sits it once, the gates are judged. `ladder_report.py` tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.evaluation.bits import bits_per_byte
from ziggurat.ladder.climb import Policy, load_policy
from ziggurat.town import examiner
from ziggurat.town.climb import Climb
from ziggurat.town.controls import best_of, train_on
from ziggurat.town.documents import held_out_documents
from ziggurat.town.exam import Item, write_exam
from ziggurat.town.examiner import Answers
from ziggurat.town.gates import Findings, Gate, judge
from ziggurat.town.grading import Grader

BITS_DOCUMENTS = 200


@dataclass
class Result:
    findings: Findings
    gates: list[Gate]
    items: list[Item]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def sit_exam(climb: Climb) -> Result:
    """Base, SFT and PPO answer the final exam; nothing is chosen by it."""
    items, grader = write_exam(climb.town), Grader(climb.town)
    texts = [d.text for d in held_out_documents(climb.town, BITS_DOCUMENTS)]
    answers: dict[str, Answers] = {}
    bits: dict[str, float] = {}
    with climb.clock("exam"):
        models = {"base": climb.runs["pretrain"], "sft": climb.runs["sft"], "ppo": climb.policy}
        for name, run in models.items():
            model = load_policy(run)
            bits[name] = bits_per_byte(model.model, model.tokenizer, texts)
            if name == "base":
                answers |= _sit_base(model, items, grader)
            else:
                answers[name] = examiner.ask(name, model.model, model.tokenizer, items, grader)
                examiner.measure_passing(model.model, model.tokenizer, answers[name])
        findings = Findings(answers, bits, climb.card, climb.true_kinds)
        gates = judge(findings)
    return Result(findings, gates, items)


def sit_controls(climb: Climb, result: Result) -> None:
    """What else PPO's time might have bought sits the same exam: more SFT, and the best of four by the reward model."""
    grader, answers = Grader(climb.town), result.findings.answers
    with climb.clock("controls"):
        longer = load_policy(train_on(climb))
        answers["sft_longer"] = examiner.ask(
            "sft_longer", longer.model, longer.tokenizer, result.items, grader
        )
        answers["best_of"] = best_of(climb, result.items, grader)


def _sit_base(model: Policy, items: Sequence[Item], grader: Grader) -> dict[str, Answers]:
    """The base model cannot be asked; it is given the bare question, and the question as overheard."""
    facts = [item for item in items if item.section in ("known", "unknown")]
    return {
        f"base_{form}": examiner.ask(f"base_{form}", model.model, model.tokenizer, facts, grader, form=form)
        for form in ("bare", "dialogue")
    }
