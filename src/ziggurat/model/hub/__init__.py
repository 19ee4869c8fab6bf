"""Models in Hugging Face layout: one short map per family, one loader, one saver."""

from ziggurat.model.hub.load import (
    check_model,
    is_scalar,
    load_config,
    load_gguf,
    load_model,
    load_scalar,
    stored_dtype,
)
from ziggurat.model.hub.save import save_model, save_scalar

__all__ = [
    "check_model",
    "is_scalar",
    "load_config",
    "load_gguf",
    "load_model",
    "load_scalar",
    "save_model",
    "save_scalar",
    "stored_dtype",
]
