"""Questions with answers: `{"question": "Two and two?", "answer": "Four."}` (GSM8K and many others)

`answer` may be a list of texts (GAOKAO-Bench); they are joined by commas. GSM8K's worked solutions keep their form,
`#### 18` at the end included.
"""

from __future__ import annotations

from collections.abc import Iterator

from ziggurat.corpus.formats.common import Context, Format, Unusable, demonstration, text_of
from ziggurat.corpus.rows import Row
from ziggurat.records import Demonstration, Message


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    answer = row["answer"]
    if isinstance(answer, list):
        if not all(isinstance(part, str) for part in answer):
            raise Unusable("an answer that is not text")
        answer = ", ".join(answer)
    question = Message(role="user", content=text_of(row["question"]).strip())
    yield demonstration([question, Message(role="assistant", content=text_of(answer).strip())], context)


QUESTION_ANSWER = Format(
    "questions with answers", lambda row: {"question", "answer"} <= set(row), demonstrations=_demonstrations
)
