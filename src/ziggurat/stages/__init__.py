"""The stages of the ladder: one file each, and their mathematics as pure functions beside them."""
