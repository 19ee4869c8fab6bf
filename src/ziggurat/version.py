"""The version of Ziggurat, in a module of its own: the package itself refers to every room (`ziggurat.__all__`)."""

__version__ = "0.1.0"
