"""Text to ids and back: byte-level BPE, the chat template with its mask, the tokenizer report."""
