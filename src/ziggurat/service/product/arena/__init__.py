"""The arena: blind battles between models, and what their votes say."""
