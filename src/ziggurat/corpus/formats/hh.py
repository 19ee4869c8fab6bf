"""HH-RLHF transcripts: `{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello", "rejected": "\\n\\nHuman: Hi ..."}`

The two share their beginning; what they share up to the last turn of the human is the prompt. Source:
anthropics/hh-rlhf (arXiv:2204.05862).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ziggurat.corpus.formats.cells import Unusable
from ziggurat.corpus.formats.common import Context, Format, as_completion, comparison, join_turns
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Message

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")


def transcript(text: str) -> list[Message]:
    """The turns of one transcript, neighbouring turns of one speaker joined."""
    pieces = _SPEAKER.split(text)
    turns = [
        Message(role="user" if speaker == "Human" else "assistant", content=said.strip())
        for speaker, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    return join_turns(turns)


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    chosen, rejected = transcript(row["chosen"]), transcript(row["rejected"])
    if not chosen or not rejected:
        raise Unusable("a transcript without turns")
    if chosen == rejected:
        raise Unusable("all completions are the same")
    shared = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
    shared = shared or min(len(chosen), len(rejected))
    if shared == 0 or chosen[shared - 1].role != "user":
        raise Unusable("transcripts that part at a turn of the human")
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise Unusable("a transcript that ends on the human")
    if max(len(chosen), len(rejected)) > shared + 1:
        context.mended["answers of several turns kept as conversations"] += 1
    answers = [as_completion(chosen[shared:]), as_completion(rejected[shared:])]
    yield comparison(chosen[:shared], answers, [1, 2], context, row)


def _recognises(row: Row) -> bool:
    texts = [row.get("chosen"), row.get("rejected")]
    return all(isinstance(text, str) and _SPEAKER.match(text) for text in texts)


HH = Format("hh-rlhf transcripts", _recognises, comparisons=_comparisons)
