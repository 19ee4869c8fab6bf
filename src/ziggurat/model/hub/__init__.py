"""Models in Hugging Face layout: one short map per family, one loader, one saver."""

from ziggurat.model.hub.load import is_scalar, load_config, load_model, load_scalar
from ziggurat.model.hub.save import save_model, save_scalar

__all__ = ["is_scalar", "load_config", "load_model", "load_scalar", "save_model", "save_scalar"]
