"""The Python API: `import ziggurat; ziggurat.sft("talks.jsonl", base="own/pretrain")`. docs/python.md has examples.

Each function of a stage does what the command of that name does. Data are files, or records in memory; settings are a
dictionary of dotted names; the result is the folder of the run, which the next function takes as its model. Every
error is one sentence, a subclass of `ziggurat.errors.ZigguratError`.

The names and signatures are kept: tests/api/signatures.txt lists them. Importing this module imports no torch.
"""

from ziggurat.api.available import available_families, available_formats, available_stages, available_worlds
from ziggurat.api.models import ChatModel, chat, evaluate, sample
from ziggurat.api.stages import (
    RunOptions,
    align,
    distill,
    dpo,
    grpo,
    kto,
    ppo,
    pretrain,
    promptsearch,
    raft,
    reward,
    rlaif,
    run_stage,
    selfinstruct,
    sft,
)
from ziggurat.api.worlds import climb

__all__ = [
    "ChatModel",
    "RunOptions",
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
