"""How items are put to a candidate, and what is found: one file for each form of a task.

A form is `sit(candidate, task, items, switches) -> list[Found]`, in the order of the items. `switches.seed` is another
one for each batch of items.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ziggurat.exam.item import Found, Item

if TYPE_CHECKING:
    from ziggurat.exam.candidate import Candidate
    from ziggurat.exam.reading import Task
    from ziggurat.exam.switches import Switches

Sit = Callable[["Candidate", "Task", Sequence[Item], "Switches"], list[Found]]
FORMS = ("choice", "answer", "text", "dialogue", "code")


def form(name: str) -> Sit:
    """The function of a form."""
    found: Sit = importlib.import_module(f"ziggurat.exam.forms.{name}").sit
    return found
