"""The second layer: a small classifier that `ziggurat moderation train` trains on the operator's labels.

Logistic regression for each category; the features are the runs of 1 to 5 characters of a text, hashed into a fixed
number of buckets ("Feature Hashing for Large Scale Multitask Learning", arXiv:0902.2206). It depends on spelling, in
any script, and not on meaning. Its folder holds its measurement on held-out texts.

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
from ziggurat.safety.layers import CATEGORIES, Verdict, plain

BUCKETS = 1 << 16
SIZES = (1, 2, 3, 4, 5)
CLASSIFIER_FORMAT = 1
"""Version of classifier.json and of the weights beside it."""
DESCRIPTION, WEIGHTS = "classifier.json", "weights.safetensors"


def features(text: str) -> NDArray[np.int64]:
    """The buckets of a text's character runs, without repetition."""
    shown = f" {' '.join(plain(text).casefold().split())} "
    codes = np.frombuffer(shown.encode("utf-32-le", errors="replace"), dtype="<u4").astype(np.uint64)
    found = []
    for size in SIZES:
        count = max(len(codes) - size + 1, 0)
        hashed = np.full(count, size, dtype=np.uint64)
        for offset in range(size):
            hashed = (hashed ^ codes[offset : offset + count]) * np.uint64(
                0x100000001B3
            )  # FNV-1a over characters
        found.append(hashed)
    joined = np.concatenate(found)
    return np.unique((joined ^ (joined >> np.uint64(32))) % np.uint64(BUCKETS)).astype(np.int64)


class Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    categories: list[str]
    thresholds: list[float]
    measured: dict[str, Any] = {}  # on held-out texts


class Classifier:
    """Scores are estimated probabilities; each category has its own threshold."""

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

    def classify(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
        description = self.description
        return [
            {
                category: Verdict(float(score), bool(score >= threshold))
                for category, threshold, score in zip(
                    description.categories, description.thresholds, self.scores(text), strict=True
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
            ModelFolderError: a file is missing or malformed, or the files do not match.
        """
        try:
            described = read_json(folder / DESCRIPTION, CLASSIFIER_FORMAT)
            described.pop("version", None)  # written before every format had a version
            description = Description.model_validate(described)
            tensors = load_file(folder / WEIGHTS)
            weight, bias = tensors["weight"], tensors["bias"]
        except (OSError, RunError, ValidationError, SafetensorError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise ModelFolderError(
                f"{folder} is not a moderation classifier ({reason}); make one with `ziggurat moderation train`."
            ) from None
        count = len(description.categories)
        known = set(description.categories) <= set(CATEGORIES) and len(description.thresholds) == count
        if not known or weight.shape != (BUCKETS, count) or bias.shape != (count,):
            raise ModelFolderError(
                f"{DESCRIPTION} and {WEIGHTS} in {folder} do not match; train the classifier again."
            )
        return cls(description, weight, bias)
