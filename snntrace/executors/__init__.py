"""The orders in which the gradient sum is evaluated."""
