"""Jobs in the store, the worker that does them, and the processes that it starts."""
