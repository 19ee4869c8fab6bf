"""Judges of texts: a list of patterns and a small classifier, in OpenAI's thirteen categories."""
