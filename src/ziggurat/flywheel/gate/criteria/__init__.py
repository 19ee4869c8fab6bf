"""The criteria of a gate, one a file."""
