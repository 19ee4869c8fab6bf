"""The command line: each command parses, calls one function of a room below, and prints. See `main.py`."""
