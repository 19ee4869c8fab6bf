"""The training room: one loop for every stage, its optimizers, schedules, precision and checkpoints."""

from ziggurat.training.config import LoopConfig, OptimizerConfig, TrainConfig
from ziggurat.training.learner import Learner
from ziggurat.training.loop import run_loop
from ziggurat.training.step import LossFn
from ziggurat.training.supervised import Batches, TrainResult, train

__all__ = [
    "Batches",
    "Learner",
    "LoopConfig",
    "LossFn",
    "OptimizerConfig",
    "TrainConfig",
    "TrainResult",
    "run_loop",
    "train",
]
