"""Labelling: projects, items, leases, answers, agreement, adjudication."""
