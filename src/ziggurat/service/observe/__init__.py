"""What the operator sees: visits, metrics, the request log."""
