"""The final exam of a climb on the town: every model answers it once, and the targets are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.dialogue.chat import Chat
from ziggurat.evaluation.bits import score_texts
from ziggurat.ladder.climb import Climb
from ziggurat.ladder.report import Exam
from ziggurat.town import examiner, tables
from ziggurat.town.controls import best_of, train_on
from ziggurat.town.documents import held_out_documents
from ziggurat.town.exam import Item, write_exam, write_first_words
from ziggurat.town.examiner import Answers
from ziggurat.town.grading import Grader
from ziggurat.town.people import Town
from ziggurat.town.targets import Findings, town_targets

BITS_DOCUMENTS = 200


@dataclass(kw_only=True)
class TownExam(Exam):
    """The report's parts, with what they were made of: the controls join these."""

    findings: Findings
    items: list[Item]


def sit_exam(climb: Climb, town: Town) -> TownExam:
    """Base, SFT and PPO answer the final exam; nothing is chosen by it."""
    items, first, grader = write_exam(town), write_first_words(town), Grader(town)
    texts = [d.text for d in held_out_documents(town, BITS_DOCUMENTS)]
    answers: dict[str, Answers] = {}
    first_words: dict[str, Answers] = {}
    bits: dict[str, float] = {}
    with climb.clock("exam"):
        for name, chat in climb.examined():
            bits[name] = score_texts(chat.model, chat.tokenizer, texts).bits_per_byte
            if name == "base":
                answers |= _sit_base(chat, items, grader)
            else:
                answers[name] = examiner.ask(name, chat, items, grader)
                examiner.measure_passing(chat, answers[name])
                first_words[name] = examiner.ask(name, chat, first, grader)
        findings = Findings(answers, bits, climb.card, climb.true_kinds, first_words)
        return describe(climb, town, findings, items)


def sit_controls(climb: Climb, town: Town, exam: TownExam) -> TownExam:
    """The same exam, with more SFT in PPO's time and the best of four by the reward model beside it."""
    grader, answers = Grader(town), exam.findings.answers
    with climb.clock("controls"):
        longer = Chat.load(train_on(climb, town))
        answers["sft_longer"] = examiner.ask("sft_longer", longer, exam.items, grader)
        answers["best_of"] = best_of(climb, exam.items, grader)
    return describe(climb, town, exam.findings, exam.items)


def describe(climb: Climb, town: Town, findings: Findings, items: list[Item]) -> TownExam:
    """The findings as tables, targets, figures and pages."""
    scores = tables.score_tables(findings)
    return TownExam(
        findings=findings,
        items=items,
        tables=[scores[0], tables.first_words_table(findings)],
        targets=town_targets(findings),
        figures={"town_seed": town.seed, **tables.figures(findings, items)},
        answers=tables.answer_rows(findings),
        intro=tables.intro(town.seed, climb.seed, items),
        plots=[tables.chart(findings)],
        sections=tables.sections(findings, items, scores[1:]),
        examples=tables.examples(items),
    )


def _sit_base(chat: Chat, items: Sequence[Item], grader: Grader) -> dict[str, Answers]:
    """A base model only continues text: it gets the bare question, and the question in an overheard dialogue."""
    facts = [item for item in items if item.section in ("known", "unknown")]
    return {
        f"base_{form}": examiner.ask(f"base_{form}", chat, facts, grader, form=form)
        for form in ("bare", "dialogue")
    }
