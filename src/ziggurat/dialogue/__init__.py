"""Text in, text out: the chat template and the engine joined, decoding as tokens arrive, stop strings."""
