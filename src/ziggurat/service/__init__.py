"""The HTTP floor: the chat page, its API and the OpenAI-compatible API, served from this machine.

Leaves out accounts, keys and history (a later floor); without them the server listens on loopback unless told
otherwise.
"""
