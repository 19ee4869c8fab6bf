"""Questions with answers: `{"question": "Two and two?", "answer": "Four."}` (GSM8K and many others)

`answer` may be a list of texts (GAOKAO-Bench); they are joined by commas. GSM8K's worked solutions keep their form,
`#### 18` at the end included. A passage in `context` comes before the question, `choices` come after it as
`A. ...`; an answer that is the letter or the number of a choice (`answer` or ARC's `answerKey`) becomes `B. its text`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ziggurat.corpus.formats.cells import Unusable, choices_of, text_of, thought_and_said, with_context
from ziggurat.corpus.formats.common import Context, Format, demonstration
from ziggurat.corpus.rows import Row
from ziggurat.records import Demonstration, Message


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    question = Message(role="user", content=with_context(row, text_of(row["question"]).strip()))
    reasoning, said = thought_and_said(_answer(row).strip())
    answer = Message(role="assistant", content=said, reasoning=reasoning)
    yield demonstration([question, answer], context, row)


def _answer(row: Row) -> str:
    answer = row["answer"] if "answer" in row else row["answerKey"]
    if isinstance(answer, list):
        if not all(isinstance(part, str) for part in answer):
            raise Unusable("an answer that is not text")
        return ", ".join(answer)
    choices = choices_of(row)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return ". ".join(choices[answer])
    text = text_of(answer)
    return next((f"{letter}. {choice}" for letter, choice in choices if letter == text.strip()), text)


QUESTION_ANSWER = Format(
    "questions with answers",
    lambda row: "question" in row and bool({"answer", "answerKey"} & set(row)),
    demonstrations=_demonstrations,
)
