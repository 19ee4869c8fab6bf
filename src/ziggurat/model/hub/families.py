"""The model families that can be loaded: the built-in ones, and those of other packages.

A family is one `Family` object (family.py): it translates config.json and names the stored tensors.
"""

from __future__ import annotations

from functools import cache

from ziggurat.extensions import load_all
from ziggurat.model.hub.family import Family
from ziggurat.model.hub.gemma3 import GEMMA3
from ziggurat.model.hub.gpt2 import GPT2
from ziggurat.model.hub.llama import LLAMA
from ziggurat.model.hub.native import NATIVE
from ziggurat.model.hub.neox import NEOX
from ziggurat.model.hub.phi3 import PHI3
from ziggurat.model.hub.qwen3 import QWEN3
from ziggurat.model.hub.qwen3_moe import QWEN3_MOE

GROUP = "ziggurat.families"
BUILT_IN = (QWEN3, QWEN3_MOE, LLAMA, GEMMA3, GPT2, NEOX, PHI3)


@cache
def families() -> tuple[Family, ...]:
    """Every family. A model is saved as the first one that can express it: built-in, installed, our own names last."""
    taken = {kind for family in (*BUILT_IN, NATIVE) for kind in family.model_types}

    def refuse(_: str, family: Family) -> str | None:
        both = sorted(taken & set(family.model_types))
        taken.update(family.model_types)
        return f"reads the model_type {both[0]!r} of another family" if both else None

    return (*BUILT_IN, *load_all(GROUP, Family, refuse).values(), NATIVE)


def by_model_type() -> dict[str, Family]:
    """The family of each `model_type` in config.json."""
    return {kind: family for family in families() for kind in family.model_types}
