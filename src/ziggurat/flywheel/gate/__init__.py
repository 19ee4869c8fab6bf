"""May a candidate serve? Criteria, policy, verdict."""
