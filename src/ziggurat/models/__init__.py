"""Models from elsewhere (DESIGN section 15): fetch, import, export, list, show, remove.

`$ZIGGURAT_HOME/models/<name>` holds a folder in Hugging Face layout with a card. Only `packages` and `hub` touch the
network, and only when `ziggurat models get` calls them. Nothing is unpickled.
"""
