"""The rules of the product: people, rights, conversations, judgements, deletion.

Everything here is a plain function `f(store, principal, ...)` that returns a frozen object of `objects.py` or raises an
error of `errors.py`. It needs a database and nothing else: no HTTP, no torch.
"""
