"""The training room: one loop for every stage, its optimizers, schedules, precision and checkpoints."""

from ziggurat.training.config import TrainConfig
from ziggurat.training.loop import Batches, LossFn, TrainResult, train

__all__ = ["Batches", "LossFn", "TrainConfig", "TrainResult", "train"]
