"""CPU kernels, applied to a model from outside."""
