"""Judgements out, in the formats of other tools (docs/agreement.md lists them)."""
