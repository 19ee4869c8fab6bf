"""Routes of the labelling workbench."""
