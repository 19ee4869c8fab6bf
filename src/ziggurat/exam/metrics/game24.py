"""The game of 24: the answer's last line of arithmetic uses each given number once and gives 24.

Checked by evaluating it, not by comparing it with a solution. `row["numbers"]`; + - * / × ÷ x and brackets.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged

_EXPRESSION = re.compile(r"[\d(（][\d \t+\-*/×÷xX·()（）−]*[\d)）]")
_POINT = re.compile(r"^[ \t]*\d{1,2}[.)）、][ \t]+", re.MULTILINE)
"""The number of a point of a list is none of the arithmetic."""
_SIGNS = str.maketrans({"×": "*", "÷": "/", "x": "*", "X": "*", "·": "*", "（": "(", "）": ")", "−": "-"})


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    >>> mark(["(1 + 2 + 3) * 4 = 24"], Item(id="1", row={"numbers": [1, 2, 3, 4]}), {}).scores["score"]
    1.0
    """
    numbers = sorted(int(one) for one in item.row["numbers"])
    goal = int(item.row.get("goal", 24))

    def one(answer: str) -> Mark:
        found = [match[0].translate(_SIGNS) for match in _EXPRESSION.finditer(_POINT.sub("", answer))]
        found = [text for text in found if re.search(r"[+\-*/]", text)]
        legal = [text for text in found if sorted(map(int, re.findall(r"\d+", text))) == numbers]
        right = any(value(text) == goal for text in legal)
        why = (
            "" if right else "no arithmetic" if not found else "other numbers" if not legal else f"not {goal}"
        )
        return Mark({"score": float(right), "numbers_kept": float(bool(legal))}, why)

    return averaged(answers, one)


def value(text: str) -> Fraction | None:
    """The exact value of an expression; None for a division by zero or what is no expression.

    >>> value("8/(3-8/3)")
    Fraction(24, 1)
    """
    try:
        return _of(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError):
        return None


def _of(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_of(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _of(left) + _of(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _of(left) - _of(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _of(left) * _of(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _of(left) / _of(right)
    raise ValueError("another operation")
