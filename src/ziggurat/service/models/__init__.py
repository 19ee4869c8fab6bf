"""The models that are served: how they are loaded, and the thread that runs each."""
