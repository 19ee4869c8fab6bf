"""Settings of the training loop and of an optimizer. Every stage uses these two; only its defaults differ.

A stage with one optimizer (pretrain, sft, reward) has both in one section, `train`. PPO has the loop's settings in
`train` and an optimizer's settings in `policy` and in `critic`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from ziggurat.model.lora import LoraConfig
from ziggurat.model.prefix import PrefixConfig
from ziggurat.settings import Config
from ziggurat.training.device import DeviceSetting
from ziggurat.training.schedules import ScheduleKind, lr_factor

Trainable = Annotated[str, StringConstraints(pattern=r"^(all|head|lora|prefix|prompt|last:[1-9]\d*)$")]
"""all, head, last:k, lora, prefix or prompt; `ziggurat.training.trainable` applies it."""

ADAPTERS = ("lora", "prefix", "prompt")
"""Of these the frozen model is a base that an adapter stands over."""


SHORT: dict[str, Any] = {
    name: lambda value, name=name: {"train": {name: value}}
    for name in ("trainable", "lora", "prefix", "recompute")
}
"""`Config.short` of a stage whose optimizer is in `train`."""


class OptimizerConfig(Config):
    """One optimizer: which parameters it updates, and how."""

    trainable: Trainable = "all"
    """What learns. all: everything. last:k: the last k blocks, the last norm and the scalar heads. head: the scalar
    heads of a reward model or critic; the last norm and the unembedding of a language model. lora: an adapter beside
    the frozen model (section `lora`). prefix: keys and values of virtual tokens before every row; prompt: embeddings of
    such tokens (section `prefix`). With these three the scalar heads learn too, and the run saves the adapter alone."""

    lora: LoraConfig = LoraConfig()
    """The adapter, where `trainable` is lora."""

    prefix: PrefixConfig = PrefixConfig()
    """The virtual tokens, where `trainable` is prefix or prompt."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices of the blocks, AdamW for the rest. adamw: AdamW for everything, at `lr_adam`."""

    lr_matrix: float = Field(default=0.02, ge=0)
    """Peak learning rate of Muon's matrices (original scaling: times sqrt(max(1, rows / columns)))."""

    lr_adam: float = Field(default=0.003, ge=0)
    """Peak learning rate of the parameters that AdamW updates."""

    lr_head: float = Field(default=0.0, ge=0)
    """Peak learning rate of the scalar heads of a reward model or critic, where it is above `lr_adam`."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices and embeddings (never of gains and biases), times the learning rate."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's Nesterov momentum."""

    muon_beta2: float = Field(default=0.0, ge=0, lt=1)
    """Decay rate of NorMuon's second moment, kept per row of an update; 0: plain Muon."""

    newton_schulz_steps: int = Field(default=3, ge=1)
    """Iterations of Muon's orthogonalisation."""

    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""

    @property
    def adapts(self) -> bool:
        """Whether what learns is an adapter beside a frozen base."""
        return self.trainable in ADAPTERS


class LoopConfig(Config):
    """Settings of the loop. "Every" fields count steps; 0 means never, except at the end."""

    steps: int = Field(default=1000, ge=0)
    """Updates in all. A time budget is turned into this number before the first step."""

    seed: int = Field(default=0, ge=0)
    """Seeds torch, numpy and random before the first step."""

    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up. PPO's critic has no warm-up: it learns at its full rate from the first step."""

    schedule: ScheduleKind = "linear"
    """Shape of the learning rate's fall after the warm-up."""

    final_lr_factor: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the peak rate at which the fall ends."""

    grad_clip: float = Field(default=1.0, ge=0)
    """Largest allowed norm of a network's whole gradient; 0 switches clipping off."""

    spike_factor: float = Field(default=0.0, ge=0)
    """A loss or a gradient norm above this many times its recent median is a spike: training goes back to the last
    checkpoint and skips that step's batch. 0: off."""

    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Compute precision; master weights and losses are always fp32. auto: bf16 where the hardware multiplies it."""

    device: DeviceSetting = "auto"
    """Where the models that learn, and those beside them, compute. auto: the GPU where torch finds one, else the CPU.
    A run may be resumed with another."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Fuse the blocks by torch.compile. auto: on a GPU, where triton is there; the first step then takes a minute."""

    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 keeps torch's choice. A resumed run is equal byte for byte only with the same number."""

    checkpoint_every_steps: int = Field(default=0, ge=0)
    """Steps between two checkpoints."""

    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the last checkpoints are kept, beside the best one. Many of them make curves over training."""

    recompute: bool = False
    """Keep only what each block reads, and compute the block again in the backward pass: a third more computation, and
    a fraction of the memory of activations. Known as activation (gradient) checkpointing."""

    allow_low_memory: bool = False
    """Begin although the estimate of the memory that the run needs is above what is available."""

    eval_every_steps: int = Field(default=0, ge=0)
    """Steps between two evaluations, PPO's gold check among them. The best checkpoint is chosen among these."""

    sample_every_steps: int = Field(default=0, ge=0)
    """Steps between two samples of the model's answers on the screen."""

    log_every_steps: int = Field(default=1, ge=1)
    """Steps between two rows of metrics.jsonl."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> LoopConfig:
        if self.steps and self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and steps is {self.steps}, given or computed from the data; "
                f"set warmup_steps to {self.steps} or less, or train for more steps"
            )
        return self

    def lr_factor(self, step: int, *, warmup: bool = True) -> float:
        """Learning rate of the update after `step` updates, as a share of its peak."""
        warmup_steps = self.warmup_steps if warmup else 0
        return lr_factor(step, self.steps, warmup_steps, self.schedule, self.final_lr_factor)


class TrainConfig(LoopConfig, OptimizerConfig):
    """Settings of a stage that minimises one loss with one optimizer."""

    micro_batches: int = Field(default=1, ge=1)
    """Pieces, at least, in which one step's batch is computed, to save memory; the result is the same."""

    microbatch_tokens: int = Field(default=0, ge=0)
    """Tokens, padding included, that are computed at a time; a single row may be longer. 0: computed from the model's
    shape (`training.cost`). It bounds memory; the result is the same."""
