"""What the training loop can be told. One config for every stage; the stages choose other defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ziggurat.settings import Config
from ziggurat.training.schedules import ScheduleKind


class TrainConfig(Config):
    """Settings of one call of `train`. "Every" fields count optimizer steps; 0 means never (but at the end)."""

    steps: int = Field(default=1000, ge=0)
    """Optimizer steps in all. A time budget is turned into this number before the first step."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices of the blocks, AdamW for the rest. adamw: AdamW for everything, at `lr_adam`."""

    lr_matrix: float = Field(default=0.02, ge=0)
    """Peak learning rate of Muon's matrices (original scaling: times sqrt(max(1, rows / columns)))."""

    lr_adam: float = Field(default=0.003, ge=0)
    """Peak learning rate of whatever AdamW updates."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices and embeddings (never of gains and biases), times the learning rate."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's Nesterov momentum."""

    muon_beta2: float = Field(default=0.0, ge=0, lt=1)
    """Decay rate of what NorMuon remembers of an update's rows; 0: plain Muon."""

    newton_schulz_steps: int = Field(default=3, ge=1)
    """Iterations of Muon's orthogonalisation."""

    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""

    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up."""

    schedule: ScheduleKind = "linear"
    """Shape of the fall after the warm-up."""

    final_lr_factor: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the peak rate at which the fall ends."""

    grad_clip: float = Field(default=1.0, ge=0)
    """Largest allowed norm of the whole gradient; 0 switches clipping off."""

    seed: int = Field(default=0, ge=0)
    """Seeds torch, numpy and random before the first step."""

    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Compute precision; master weights and losses are always fp32. auto: bf16 where the hardware multiplies it."""

    micro_batches: int = Field(default=1, ge=1)
    """Pieces in which one step's batch is computed, to save memory; the result is the same."""

    checkpoint_every_steps: int = Field(default=0, ge=0)
    eval_every_steps: int = Field(default=0, ge=0)
    sample_every_steps: int = Field(default=0, ge=0)

    log_every_steps: int = Field(default=1, ge=1)
    """Distance between rows of metrics.jsonl."""

    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 leaves torch's choice. Part of what makes a resumed run equal byte for byte."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainConfig:
        if self.steps and self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} but steps is {self.steps}; warm up for fewer steps than there are"
            )
        return self


class EarlyExit(Config):
    """Whether the first blocks of a model must say the next token too, and at what weight (stages/losses.py)."""

    blocks: int = Field(default=0, ge=0)
    """How many; 0: none."""

    weight: float = Field(default=0.3, gt=0)
    """Of their loss, where that of the whole model weighs 1."""

    every: int = Field(default=1, ge=1)
    """They say one token in so many: the loss is estimated from these, and the logits of the others are spared."""
