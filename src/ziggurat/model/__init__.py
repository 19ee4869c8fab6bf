"""The model: tensors only, no text. Import from its modules; this package itself imports nothing."""
