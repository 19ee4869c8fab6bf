"""Ziggurat's own endpoints: chat, administration, health, scores."""
