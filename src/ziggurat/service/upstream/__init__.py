"""Models of other servers behind the same address."""
