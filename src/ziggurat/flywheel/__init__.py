"""The flywheel: judgements -> dataset version -> stages -> gate -> release, and back."""
