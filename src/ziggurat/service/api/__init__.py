"""The page's endpoints, health, scores and administration."""
