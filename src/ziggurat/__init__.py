"""Ziggurat: a whole ChatGPT that you own, from corpus to conversation, in one package.

    import ziggurat

    run = ziggurat.pretrain("book.txt", settings={"model": "tiny", "train.steps": 300})
    print(ziggurat.chat(run).complete("Once"))

The functions of `__all__` are the public API (api/, docs/python.md), imported when they are first used. Importing the
package itself imports nothing but its version, and sets one variable of the environment. Other modules are imported by
name (`from ziggurat.dialogue.chat import Chat`), and each imports only rooms below it (docs: the design, section 3).
"""

import os as _os
from typing import TYPE_CHECKING, Any

from ziggurat.version import __version__

if TYPE_CHECKING:
    from ziggurat.api import (
        ChatModel,
        RunOptions,
        align,
        available_families,
        available_formats,
        available_stages,
        available_worlds,
        chat,
        climb,
        distill,
        dpo,
        evaluate,
        grpo,
        kto,
        ppo,
        pretrain,
        promptsearch,
        raft,
        reward,
        rlaif,
        run_stage,
        sample,
        selfinstruct,
        sft,
    )

IDLE_THREADS = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "1"}
"""How long an idle OpenMP thread spins before it sleeps: some 0.1 ms (libgomp, Linux), 1 ms (libomp, macOS). By default
it spins for milliseconds, so that beside another busy process the threads of torch and numba take the processor from
one another: 16,000 tokens a second become a few hundred (benchmarks/busy_neighbour.py). OpenMP reads this when torch is
imported, so it has no effect where torch is imported first; what the user has set is kept."""

if not {"OMP_WAIT_POLICY", *IDLE_THREADS} & _os.environ.keys():
    _os.environ.update(IDLE_THREADS)

__all__ = [
    "ChatModel",
    "RunOptions",
    "__version__",
    "align",
    "available_families",
    "available_formats",
    "available_stages",
    "available_worlds",
    "chat",
    "climb",
    "distill",
    "dpo",
    "evaluate",
    "grpo",
    "kto",
    "ppo",
    "pretrain",
    "promptsearch",
    "raft",
    "reward",
    "rlaif",
    "run_stage",
    "sample",
    "selfinstruct",
    "sft",
]


def __getattr__(name: str) -> Any:
    """A name of the public API, imported now."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ziggurat import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
