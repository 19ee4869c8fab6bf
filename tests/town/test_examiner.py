"""How the exam is put to a model: what it reads from where an answer ends."""

from types import SimpleNamespace

import pytest

from ziggurat.town import examiner
from ziggurat.town.exam import write_exam
from ziggurat.town.grading import Grader
from ziggurat.town.people import build_town
from ziggurat.town.questions import tell


@pytest.mark.parametrize(
    ("form", "finish", "verdict"),
    [
        ("chat", "stop", "right"),
        ("chat", "length", "malformed"),
        ("bare", "length", "right"),  # in plain text no token ends an answer
        ("dialogue", "length", "right"),
    ],
)
def test_only_in_a_chat_must_an_answer_end(form, finish, verdict):
    town = build_town(1)
    item = next(i for i in write_exam(town) if i.section == "known" and i.question.fact)
    said = SimpleNamespace(text=tell(item.question.fact, item.question.language), finish=finish)
    chat = SimpleNamespace(answer_many=lambda *_: [said], continue_many=lambda *_: [said])
    answers = examiner.ask("m", chat, [item], Grader(town), form=form)
    assert [grade.verdict for grade in answers.grades] == [verdict]
