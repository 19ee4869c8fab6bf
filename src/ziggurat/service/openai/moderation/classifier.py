"""The second layer: a small classifier of one's own, trained by `ziggurat moderation train` on one's own labels.

Logistic regression, one category at a time, over which runs of 1 to 5 characters a text holds (hashed into a fixed
number of buckets, "Feature Hashing for Large Scale Multitask Learning", arXiv:0902.2206). It knows how its labelled
texts are spelled, in any script, and not what they mean. What it was worth on texts that it had not seen stands in its
folder.

    classifier.json       categories, thresholds, and the measurement
    weights.safetensors   weight (buckets, categories), bias (categories,)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ziggurat.errors import ModelFolderError, RunError
from ziggurat.files import read_json, write_json
from ziggurat.service.openai.moderation.judges import CATEGORIES, Verdict, plain

BUCKETS = 1 << 16
SIZES = (1, 2, 3, 4, 5)
CLASSIFIER_FORMAT = 1
"""Version of classifier.json and of the weights beside it."""
DESCRIPTION, WEIGHTS = "classifier.json", "weights.safetensors"


def features(text: str) -> NDArray[np.int64]:
    """The buckets of a text's character runs, each once."""
    shown = f" {' '.join(plain(text).casefold().split())} "
    codes = np.frombuffer(shown.encode("utf-32-le", errors="replace"), dtype="<u4").astype(np.uint64)
    found = []
    for size in SIZES:
        count = max(len(codes) - size + 1, 0)
        hashed = np.full(count, size, dtype=np.uint64)
        for offset in range(size):
            hashed = (hashed ^ codes[offset : offset + count]) * np.uint64(
                0x100000001B3
            )  # FNV-1a, a character a step
        found.append(hashed)
    joined = np.concatenate(found)
    return np.unique((joined ^ (joined >> np.uint64(32))) % np.uint64(BUCKETS)).astype(np.int64)


class Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    categories: list[str]
    thresholds: list[float]
    measured: dict[str, Any] = {}  # on held-out texts, when it was trained


class Classifier:
    """Scores are probabilities as it sees them; what is flagged is decided by each category's own threshold."""

    name = "classifier"
    trouble = None

    def __init__(
        self, description: Description, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> None:
        self.description, self.weight, self.bias = description, weight, bias  # (buckets, C), (C,)

    @property
    def categories(self) -> frozenset[str]:
        return frozenset(self.description.categories)

    def scores(self, text: str) -> NDArray[np.float32]:
        """(categories,)"""
        found = features(text)
        logits = self.weight[found].sum(0) / math.sqrt(len(found)) + self.bias
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)

    def judge(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
        told = self.description
        return [
            {
                category: Verdict(float(score), bool(score >= threshold))
                for category, threshold, score in zip(
                    told.categories, told.thresholds, self.scores(text), strict=True
                )
            }
            for text in texts
        ]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": self.weight, "bias": self.bias}, folder / WEIGHTS)
        write_json(folder / DESCRIPTION, self.description.model_dump(), CLASSIFIER_FORMAT)

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """
        Raises:
            ModelFolderError: a file is missing or is not what it should be.
        """
        try:
            described = read_json(folder / DESCRIPTION, CLASSIFIER_FORMAT)
            described.pop("version", None)  # written before every format had a version
            told = Description.model_validate(described)
            tensors = load_file(folder / WEIGHTS)
            weight, bias = tensors["weight"], tensors["bias"]
        except (OSError, RunError, ValidationError, SafetensorError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelFolderError(
                f"{folder} is no moderation classifier ({reason}); make one with `ziggurat moderation train`."
            ) from None
        count = len(told.categories)
        known = set(told.categories) <= set(CATEGORIES) and len(told.thresholds) == count
        if not known or weight.shape != (BUCKETS, count) or bias.shape != (count,):
            raise ModelFolderError(
                f"the files of {folder} do not belong together; train the classifier again."
            )
        return cls(told, weight, bias)
