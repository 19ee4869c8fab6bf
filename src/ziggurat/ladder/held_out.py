"""The exam of a world that has none of its own: figures on held-out data, with intervals, for what there is.

    held-out documents        bits per byte                                  every model
    held-out demonstrations   loss, token accuracy, exact match of answers   every model
    held-out comparisons      accuracy of the reward model on pairs          the reward model
    held-out questions        reward of the greedy answers                   every model that answers

The reward is what PPO was trained for, so a higher reward says that PPO worked, not that people agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.bits import TextScore, score_texts
from ziggurat.evaluation.demonstrations import DemonstrationScore, score_demonstrations
from ziggurat.evaluation.report import Section, Table, html_table
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap, paired_bootstrap
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.report import Exam
from ziggurat.ladder.targets import Target, at_least, at_most
from ziggurat.records import Demonstration, Message
from ziggurat.stages.comparison_batches import conversation
from ziggurat.stages.judge import Judge

TEXTS, TEXT_CHARACTERS, DEMONSTRATIONS, QUESTIONS, ANSWER_TOKENS = 200, 4000, 200, 100, 64
SHOWN = 12
STAGE_1, BASE, STAGE_2, STAGE_4 = "stage 1", "base", "stage 2", "stage 4"


@dataclass
class Sheet:
    """What one model does with the held-out data, item by item."""

    texts: list[TextScore] = field(default_factory=list)
    answers_shown: list[DemonstrationScore] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    """Greedy answers to the questions; empty for a model that was not taught to answer."""
    rewards: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Interval]:
        """Every figure that there is data for."""
        found: dict[str, Interval] = {}
        if self.texts:
            bytes_ = [float(s.bytes) for s in self.texts]
            found["bits_per_byte"] = cluster_bootstrap([s.bits_per_byte for s in self.texts], weights=bytes_)
        if shown := self.answers_shown:
            tokens, turns = [float(s.tokens) for s in shown], [float(s.turns) for s in shown]
            found["loss"] = cluster_bootstrap([s.loss for s in shown], weights=tokens)
            found["token_accuracy"] = cluster_bootstrap([s.token_accuracy for s in shown], weights=tokens)
            found["exact_match"] = cluster_bootstrap([s.exact_match for s in shown], weights=turns)
        if self.rewards:
            found["reward"] = cluster_bootstrap(self.rewards)
        return found


FIGURES: dict[str, tuple[str, Callable[[Interval], str]]] = {
    "bits_per_byte": ("held-out text, bits per byte", lambda x: _decimal(x)),
    "loss": ("held-out answers, loss a token", lambda x: _decimal(x)),
    "token_accuracy": ("held-out answers, tokens right", lambda x: x.percent()),
    "exact_match": ("held-out answers, word for word", lambda x: x.percent()),
    "reward": ("own answers, reward", lambda x: _decimal(x)),
}


def examine(climb: Climb) -> Exam:
    """The world's own exam, else that on held-out data."""
    return climb.world.exam(climb) or held_out_exam(climb)


def held_out_exam(climb: Climb) -> Exam:
    """Every model of the climb on the held-out data; nothing is chosen by it."""
    with climb.clock("exam"):
        questions = _questions(climb)
        sheets = {name: _sheet(climb, name, run, questions) for name, run in _models(climb)}
        rewards = [name for name in climb.runs if name.startswith("reward")]
        if rewards:
            judge = Judge.load(climb.runs[rewards[-1]])
            for sheet in sheets.values():
                talks = [
                    conversation(q, a) for q, a in zip(questions, sheet.answers, strict=bool(sheet.answers))
                ]
                sheet.rewards = judge.score(judge.rows(talks, "answer")) if talks else []
    return Exam(
        tables=[_score_table(sheets), *_card_table(climb.card)],
        targets=_targets(climb, sheets),
        figures={
            "held_out": {
                name: {key: x.to_dict() for key, x in sheet.figures().items()}
                for name, sheet in sheets.items()
            }
        },
        answers=[
            {"model": name, "question": _asked(question), "answer": answer}
            for name, sheet in sheets.items()
            for question, answer in zip(questions, sheet.answers, strict=False)
        ],
        intro="<p>Figures on held-out data, which no stage learns from. Intervals are 95 %, by bootstrap.</p>",
        sections=[Section("Asked at every stage", html_table(_answer_table(questions, sheets)))],
    )


def _models(climb: Climb) -> list[tuple[str, Any]]:
    found: dict[str, Any] = {STAGE_1 if "pretrain" in climb.runs else BASE: climb.start}
    if "sft" in climb.runs:
        found[STAGE_2] = climb.runs["sft"]
    if climb.policy != climb.answering:
        found[STAGE_4] = climb.policy
    return list(found.items())


def _questions(climb: Climb) -> list[list[Message]]:
    """Held-out prompts: of comparisons, then of demonstrations; each once."""
    prompts = [list(one.prompt) for one in climb.judged]
    prompts += [d.messages[:-1] for d in _demonstrations(climb) if len(d.messages) > 1]
    return list({_asked(messages): messages for messages in prompts}.values())[:QUESTIONS]


def _demonstrations(climb: Climb) -> Sequence[Demonstration]:
    return (climb.world.held_out_demonstrations(climb) or [])[:DEMONSTRATIONS]


def _sheet(climb: Climb, name: str, run: str | Path, questions: Sequence[list[Message]]) -> Sheet:
    chat = Chat.load(run, as_trained=True)
    sheet, model = Sheet(), chat.model
    texts = [d.text[:TEXT_CHARACTERS] for d in climb.world.held_out_documents(climb)[:TEXTS]]
    sheet.texts = [score_texts(model, chat.tokenizer, [text]) for text in texts if text]
    shown = _demonstrations(climb)
    for one in chat.template.render_many([d.messages for d in shown], tools=[d.tools for d in shown]):
        if len(one.ids) <= model.config.context + 1 and any(one.mask[1:]):
            sheet.answers_shown.append(score_demonstrations(model, [one]))
    if name != STAGE_1 and questions:
        room = climb.recipe["ppo"].get("max_new_tokens", ANSWER_TOKENS)
        greedy = SamplingParams(temperature=0.0, max_tokens=room)
        answers = chat.answer_many(questions, greedy, last=chat.context - room)
        sheet.answers = [one.text.strip() for one in answers]
    return sheet


def _targets(climb: Climb, sheets: dict[str, Sheet]) -> list[Target]:
    """What each stage must reach on what was held out; only what there is data for."""
    targets = []
    (first, start), *_ = sheets.items()
    sft, ppo = sheets.get(STAGE_2), sheets.get(STAGE_4)
    if sft and sft.answers_shown:
        less = paired_bootstrap([s.loss for s in sft.answers_shown], [s.loss for s in start.answers_shown])
        name = f"loss of held-out answers, less that of {first}"
        targets.append(at_most("sft", name, less, 0.0, use_high=True, target="upper bound <= 0"))
    pairs = climb.card.get("pairs", {})
    if pairs.get("n"):
        accuracy = Interval(pairs["value"], pairs["low"], pairs["high"], pairs["n"], pairs["clusters"])
        targets.append(
            at_least("reward", "held-out pairs ordered as people did", accuracy, 0.5, use_low=True)
        )
    before = sft or start
    if ppo and ppo.rewards and before.rewards:
        more = paired_bootstrap(ppo.rewards, before.rewards)
        name = "reward of answers, more than before PPO"
        targets.append(at_least("ppo", name, more, 0.0, use_low=True, target="lower bound > 0"))
    if ppo and ppo.texts:
        worse = ppo.figures()["bits_per_byte"].value / before.figures()["bits_per_byte"].value - 1
        targets.append(at_most("ppo", "bits per byte against before PPO", worse, 0.05, target="<= +5%"))
    return targets


# ---- tables ------------------------------------------------------------------------------------------------------


def _score_table(sheets: dict[str, Sheet]) -> Table:
    found = {name: sheet.figures() for name, sheet in sheets.items()}
    rows = [
        [title, *(show(figures[key]) if key in figures else "–" for figures in found.values())]
        for key, (title, show) in FIGURES.items()
        if any(key in figures for figures in found.values())
    ]
    return Table("On held-out data", ["", *sheets], rows)


def _card_table(card: dict[str, Any]) -> list[Table]:
    if not card:
        return []
    found = {"all held-out pairs": card["pairs"], **card["kinds"]}
    rows = [[kind, Interval(**pairs).percent() if pairs["n"] else "no data"] for kind, pairs in found.items()]
    return [Table("The reward model", ["pairs", "ordered as people did"], rows)]


def _answer_table(questions: Sequence[list[Message]], sheets: dict[str, Sheet]) -> Table:
    answering = {name: sheet.answers for name, sheet in sheets.items() if sheet.answers}
    rows = [[_asked(q), *(a[i] for a in answering.values())] for i, q in enumerate(questions[:SHOWN])]
    return Table("", ["question", *answering], rows if answering else [])


def _asked(messages: Sequence[Message]) -> str:
    return " / ".join(str(m.content) for m in messages)


def _decimal(x: Interval) -> str:
    return f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]"
