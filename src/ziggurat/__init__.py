"""Ziggurat: a whole ChatGPT that you own, from corpus to conversation, in one package.

Importing the package costs nothing: it holds the version and no more. The rooms are imported by name
(`from ziggurat.dialogue.chat import Chat`), and each imports only rooms below it (docs: the design, section 3).
"""

__version__ = "0.1.0"
