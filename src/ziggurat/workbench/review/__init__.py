"""Expert review: no answer reaches a customer without a decision."""
