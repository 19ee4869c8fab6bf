"""The climb of a world: plan, rounds, targets, report."""
