"""What a command may change of a task: each switch changes figures, so all of them belong to a result's settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Switches:
    """How a task is sat."""

    shots: int | None = None
    """Worked examples; None: as many as the task asks for."""
    think: bool = False
    """Ask for steps, and show those of the examples (chain of thought, arXiv:2201.11903; without examples
    arXiv:2205.11916)."""
    chat: bool = True
    """The conversation by the model's chat template; False: the same as raw text."""
    generate: bool = False
    """choice: let the model write, and read the letter from its answer."""
    limit: int | None = None
    """Items at most: the first of the task, the same for every model."""
    samples: int | None = None
    """Answers to each question; None: as many as the task asks for."""
    temperature: float | None = None
    """None: the task's; 0.7 where samples are asked for of a task that is answered once."""
    max_tokens: int | None = None
    seed: int = 0
    model: str = ""
    """The candidate's name, for a metric that reads what it learned from."""
    judge: str | None = None
    """The model that grades, of a task whose metric asks one."""
