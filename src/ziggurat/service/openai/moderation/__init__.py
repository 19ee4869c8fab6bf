"""`/v1/moderations`: a list of patterns and a small classifier."""
