"""One stage of the town's ladder (or some in a row) tried again with other settings, from the runs of a kept climb.

    ziggurat ladder --budget 9m --no-serve
    python benchmarks/town_stage.py ppo --climb town --set ppo.epochs=2 --set work.ppo_steps=60
    python benchmarks/town_stage.py sft reward ppo --climb town --set sft.train.lr_matrix=0.002 --name trial
    python benchmarks/town_stage.py ppo --climb town --true-points   no reward model: the labellers

Judged on residents D and on requests in the exam's words, never on C: what is tuned here must not have seen the exam.
Each step of PPO prints what its rollouts were. The trial's runs are kept in the runs folder `--name`; one line of JSON
with every figure comes last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import trial

from ziggurat.ladder import stages as ladder
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.policy import load_policy
from ziggurat.stages import ppo as stage4
from ziggurat.stages.rollouts import Rollout
from ziggurat.town import examiner
from ziggurat.town.chance import Chance
from ziggurat.town.exam import Item
from ziggurat.town.grading import Grade, Grader
from ziggurat.town.labellers import points
from ziggurat.town.people import Town
from ziggurat.town.phrases import LANGUAGES
from ziggurat.town.questions import (
    Question,
    ask_fact,
    ask_improper,
    ask_proper,
    ask_sort,
    ask_sum,
    assistant,
    tell,
)
from ziggurat.town.world import TownWorld

REQUESTS, SKILLS, WORDINGS = 150, 60, 3


def main() -> None:
    parser = trial.arguments(str(__doc__), "town")
    parser.add_argument("--town", type=int, default=1)
    parser.add_argument(
        "--true-points", action="store_true", help="PPO earns the labellers' points, noise-free"
    )
    options = parser.parse_args()
    world = TownWorld(options.town)
    climb = trial.begin(world, options)
    figures = run_stages(climb, world, options.stages, true_points=options.true_points)
    tried = {"stages": options.stages, "set": options.set}
    cost = {"seconds": climb.seconds, "peak_memory_bytes": climb.peaks}
    print(json.dumps({**tried, **cost, "figures": figures}))


def run_stages(climb: Climb, world: TownWorld, stages: list[str], *, true_points: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    made = ladder.gather(climb)
    trial.learn(climb, stages, made)
    if "reward" in stages:
        figures["reward"] = {
            "share_of_ceiling": climb.card["pairs"]["value"] / climb.card["labelling_ceiling"],
            **{kind: interval.value for kind, interval in climb.true_kinds.items()},
        }
        print(json.dumps(figures["reward"]))
    if "sft" in climb.runs:
        figures["sft"] = judge(world.town, climb.runs["sft"])
    if "ppo" in stages:
        judged = Judge(climb, world)
        watch_rollouts(judged)
        if true_points:
            give_true_points(judged)
        ladder.ppo(climb, 1, None, made)
        last = max(climb.runs["ppo-1"].glob("checkpoints/step-*"), key=lambda p: int(p.name[5:])) / "policy"
        figures["ppo"] = judge(world.town, climb.runs["ppo-1"])
        figures["ppo, last step"] = judge(world.town, last)
    return figures


# ---- the judgement -----------------------------------------------------------------------------------------------


def items_about_d(town: Town) -> list[Item]:
    items = []
    for language in LANGUAGES:
        chance = Chance(77, language)
        for fact in town.facts("D"):
            for w in range(WORDINGS):
                name = f"D{fact.resident.index}-{language}-{fact.attribute}:{w}"
                question = ask_fact(chance, fact, language, exam=True, wording=w)
                items.append(Item(name, "known" if fact.known else "unknown", question))
        for i in range(REQUESTS):
            items.append(Item(f"p{language}{i}", "proper", ask_proper(chance, language, exam=True)))
            items.append(Item(f"i{language}{i}", "improper", ask_improper(chance, language, exam=True)))
        for i in range(SKILLS):
            items.append(Item(f"s{language}{i}", "sum", ask_sum(chance, language, exam=True)))
            items.append(Item(f"o{language}{i}", "sort", ask_sort(chance, language)))
    return items


def second_questions_about_d(town: Town) -> list[Item]:
    """Questions after one about somebody else: the exam asks none."""
    facts = town.facts("D", known=True)
    items = []
    for language in LANGUAGES:
        for number, second in enumerate(facts):
            chance = Chance(78, language, number)
            first = chance.choice([fact for fact in facts if fact.resident is not second.resident])
            opening = ask_fact(chance, first, language, exam=True).messages
            asked = ask_fact(chance, second, language, exam=True)
            turns = (*opening, assistant(tell(first, language)), *asked.messages)
            items.append(Item(f"second {language}{number}", "known", replace(asked, messages=turns)))
    return items


def judge(town: Town, run: Path) -> dict[str, dict[str, float]]:
    """Every share of the exam for a model, by language, on D."""
    policy = load_policy(run)
    answers = examiner.ask(run.name, policy.model, policy.tokenizer, items_about_d(town), Grader(town))
    examiner.measure_passing(policy.model, policy.tokenizer, answers)
    later = examiner.ask(
        run.name, policy.model, policy.tokenizer, second_questions_about_d(town), Grader(town)
    )
    found = {}
    for language in LANGUAGES:
        row = {key: round(i.value, 3) for key, i in examiner.figures(answers)[language].items()}
        row["auroc"] = round(examiner.knowing(answers, language).value, 3)
        row["second"] = round(examiner.figures(later)[language]["known"].value, 3)
        found[language] = row
        print(run.name, language, found[language])
    return found


# ---- what PPO sees -------------------------------------------------------------------------------------------------


class Judge:
    """Grades rollouts, knowing which question each prompt is."""

    def __init__(self, climb: Climb, world: TownWorld) -> None:
        self.policy, self.grader = load_policy(climb.runs["sft"]), Grader(world.town)
        questions = world.ppo_questions(climb, 1)
        asked = [list(q.messages) for q in questions]
        rendered = self.policy.template.render_many(asked, add_generation_prompt=True)
        self.question = {tuple(one.ids): q for one, q in zip(rendered, questions, strict=True)}

    def grade(self, prompt: Sequence[int], completion: Sequence[int]) -> tuple[Question, Grade]:
        question = self.question[tuple(prompt)]
        stops = self.policy.template.stop_ids
        text = self.policy.tokenizer.decode([i for i in completion if i not in stops])
        return question, self.grader.grade(question, text.strip())


def watch_rollouts(judge_: Judge) -> None:
    """Prints, for each step, what became of answerable and unanswerable questions of fact in its rollouts."""
    plain, step = stage4.roll_out, 0

    def roll_out(*args: Any, **options: Any) -> list[Rollout]:
        nonlocal step
        made = plain(*args, **options)
        count: Counter[tuple[str, str, str]] = Counter()
        for one in made:
            question, grade = judge_.grade(one.prompt, one.completion)
            if question.kind in ("fact", "followup"):
                count[question.language, "known" if question.answerable else "unknown", grade.verdict] += 1
        told = []
        for language in LANGUAGES:
            for kind in ("known", "unknown"):
                total = sum(n for (a, b, _), n in count.items() if (a, b) == (language, kind)) or 1
                shares = [f"{v} {count[language, kind, v] / total:.2f}" for v in ("right", "pass")]
                told.append(f"{language} {kind}: {', '.join(shares)}")
        print(f"rollouts {step}", "; ".join(told), flush=True)
        step += 1
        return made

    stage4.roll_out = roll_out  # type: ignore[assignment]


def give_true_points(judge_: Judge) -> None:
    """PPO's reward model is replaced by the points that the labellers would give without noise."""
    plain = stage4.load_networks

    class Oracle(torch.nn.Module):
        def __init__(self, body: torch.nn.Module) -> None:
            super().__init__()
            self.body = body

        def score(self, ids: torch.Tensor, ends: torch.Tensor, _states: torch.Tensor) -> torch.Tensor:
            """As the reward model's, but it needs no states."""
            scores = []
            for row, end in zip(ids.tolist(), ends.tolist(), strict=True):
                start = next(k for k in range(end, 0, -1) if tuple(row[:k]) in judge_.question)
                scores.append(points(*judge_.grade(row[:start], row[start : end + 1])))
            return torch.tensor(scores)

    def load_networks(ready: Any) -> Any:
        nets = plain(ready)
        return replace(nets, reward=Oracle(nets.reward.body))

    stage4.load_networks = load_networks  # type: ignore[assignment]


if __name__ == "__main__":
    main()
