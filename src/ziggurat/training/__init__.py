"""The training room: one loop for every stage, its optimizers, schedules, precision and checkpoints."""

from ziggurat.training.config import TrainConfig
from ziggurat.training.loop import Batches, TrainResult, train
from ziggurat.training.step import LossFn

__all__ = ["Batches", "LossFn", "TrainConfig", "TrainResult", "train"]
