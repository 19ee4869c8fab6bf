"""One small file per foreign format; each says how its rows look and what they become."""
