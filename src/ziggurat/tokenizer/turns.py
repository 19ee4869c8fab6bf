"""A rendered conversation in parts: where the assistant's turns lie in it, and the runs of text to be encoded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ziggurat.tokenizer.bpe import Before
from ziggurat.tokenizer.contents import Content, Placed


@dataclass(slots=True)
class Run:
    """Ordinary text to be encoded in one go, with stretches of (characters, trained); or one special token."""

    text: str = ""
    stretches: list[tuple[int, bool]] = field(default_factory=list)
    special: int | None = None
    after: Before = "nothing"
    opens: bool = False
    """An assistant's turn begins here."""

    @property
    def trained(self) -> bool | None:
        """Whether its text is trained; None: some of it is."""
        flags = {flag for _, flag in self.stretches}
        return None if len(flags) > 1 else flags.pop() if flags else False


@dataclass(slots=True)
class Turn:
    """Where an assistant's turn begins and ends in the rendered text, and where its trained part begins."""

    start: int
    first: int
    """Where its first content begins."""
    trained_from: int
    end: int
    trained: bool


def opening(parts: list[Placed], first: int, prompt: str) -> int | None:
    """Where an answer begins in the template text before it: right after the generation prompt."""
    before = parts[first - 1] if first else None
    if not prompt or before is None or not isinstance(before.part, str):
        return None
    at = before.part.rfind(prompt)
    return before.start + at + len(prompt) if at >= 0 else None


def after_thinking(parts: list[Placed], turn: Turn) -> int:
    """Where the answer of a turn begins: after its reasoning and the text of the template that ends it."""
    found = turn.start
    for placed in parts:
        if placed.end <= turn.start or placed.start >= turn.end:
            continue
        if isinstance(placed.part, Content):
            if placed.part.kind != "reasoning":
                break
            found = placed.end
        elif (at := placed.part.rfind("</think>")) >= 0 and placed.start + at >= turn.start:
            rest = placed.part[at + len("</think>") :]
            found = placed.end - len(rest.lstrip())
    return found


def shared(one: str, other: str) -> int:
    """The number of characters with which both texts begin."""
    if other.startswith(one):
        return len(one)
    short = min(len(one), len(other))
    return next((at for at in range(short) if one[at] != other[at]), short)


def runs_of(
    parts: list[Placed], turns: list[Turn], special_pattern: re.Pattern[str], guarded: Mapping[str, int]
) -> list[Run]:
    """The parts as runs, each encoded in one go. A new run begins at each special token and at each turn's start."""
    starts = {turn.start for turn in turns}
    borders = sorted(starts | {t.trained_from for t in turns} | {t.end for t in turns})
    runs = [Run()]
    for placed in parts:
        for text, start, special in _pieces(placed, borders, special_pattern, guarded):
            trained = any(t.trained and t.trained_from <= start < t.end for t in turns)
            if start in starts and (runs[-1].text or runs[-1].special is not None):
                runs.append(Run(after="text" if runs[-1].special is None else "special"))
            if start in starts:
                starts.discard(start)
                runs[-1].opens = True
            if special is not None:
                if runs[-1].text or runs[-1].special is not None:
                    runs.append(Run())
                runs[-1].special = special
                runs[-1].stretches = [(1, trained)]
                continue
            if runs[-1].special is not None:
                runs.append(Run(after="special"))
            runs[-1].text += text
            runs[-1].stretches.append((len(text), trained))
    return runs


def _pieces(
    placed: Placed, borders: list[int], special_pattern: re.Pattern[str], guarded: Mapping[str, int]
) -> Iterator[tuple[str, int, int | None]]:
    """(text, place, special token) of a part; template text is cut at special tokens and at the borders."""
    part, at = placed.part, placed.start
    if isinstance(part, Content):
        yield part.text, at, None
        return
    done = 0
    cuts = [border - at for border in borders if 0 < border - at < len(part)]
    for match in special_pattern.finditer(part):
        yield from _cut(part, done, match.start(), cuts, at)
        yield "", at + match.start(), guarded[match[0].strip()]
        done = match.end()
    yield from _cut(part, done, len(part), cuts, at)


def _cut(part: str, start: int, end: int, cuts: list[int], at: int) -> Iterator[tuple[str, int, None]]:
    """The text between two places of a part, cut at the borders inside."""
    for border in [*(cut for cut in cuts if start < cut < end), end]:
        if border > start:
            yield part[start:border], at + start, None
        start = border
