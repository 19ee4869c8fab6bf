"""Loaded models: finding and loading them, one thread for each, and stored responses."""
