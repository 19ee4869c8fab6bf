"""What makes a model fast on a CPU, applied from outside: compiled loops, packed matrices, int8 weights."""

from ziggurat.model.cpu.fast import accelerate

__all__ = ["accelerate"]
